"""Whether the files of a checkpoint are still what was written: their sizes and SHA-256 sums.

A sum costs about a second a gigabyte, less than writing does. It finds what a disk, a copy or a person broke; it
protects from nobody who can write in the folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Sums = dict[str, list[Any]]
"""Relative path of each file: its size in bytes and the hexadecimal SHA-256 of its content."""


def sums(folder: Path) -> Sums:
    """The sums of every file in ``folder``, subfolders included."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): [path.stat().st_size, _sha256(path)] for path in files}


def damage(folder: Path, expected: Mapping[str, Any]) -> str | None:
    """What is wrong with the files in ``folder``, in words; None if all are there and as ``expected``."""
    for name, (size, digest) in expected.items():
        path = folder / name
        try:
            found = path.stat().st_size
            if found != size:
                return f"{name} has {found} bytes, {size} were written"
            if _sha256(path) != digest:
                return f"the content of {name} is not what was written"
        except FileNotFoundError:
            return f"{name} is gone"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
