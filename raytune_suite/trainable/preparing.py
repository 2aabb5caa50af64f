"""Data prepared once per machine: downloaded, decoded or split by one process, memory-mapped by all others.

A trainable declares it with one classmethod; what comes out lies in a folder named by everything that decides its
content: the class, the method's source, the settings it takes, and a key of the user's own::

    @classmethod
    def prepare_data(cls, folder, path):      # ``path`` is a constant of the study
        np.save(folder / "pixels.npy", read(path))

The writer holds a lock that dies with it, works in a folder of its own and renames it when all is done, so a
killed writer leaves nothing that could be mistaken for data, and the next process starts over.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import shutil
import textwrap
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raytune_suite.durable import sync_tree
from raytune_suite.errors import TrainableError

MARKER = "complete.json"
_LONGEST_LISTING = 10_000

# POSIX locks exclude other processes and are not inherited by forks; threads of one process need this as well.
_THREADS = threading.Lock()


def prepare(cls: Any, data_dir: Path, config: Mapping[str, Any] | None = None) -> Path | None:
    """The folder with what ``cls.prepare_data`` writes, made by this call or by an earlier one.

    None if the class prepares nothing, or if its method takes settings and no ``config`` is given to find them in.
    Raises :class:`TrainableError` if a setting is missing from ``config``, and whatever the method raises.
    """
    method = getattr(cls, "prepare_data", None)
    if method is None:
        return None
    settings = _settings(method, config)
    if settings is None:
        return None
    folder = Path(data_dir) / f"{cls.__name__}-{_key(cls, method, settings)}"
    if (folder / MARKER).is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f"{folder.name}.lock")):
        if not (folder / MARKER).is_file():
            _make(method, settings, folder)
    return folder


def _settings(method: Any, config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    wanted = list(inspect.signature(method).parameters.values())[1:]
    values = dict(config or {})
    missing = [p.name for p in wanted if p.name not in values and p.default is p.empty]
    if missing and config is None:
        return None
    if missing:
        raise TrainableError(
            f"prepare_data takes {', '.join(missing)}, which the configuration does not have "
            f"(it has {', '.join(map(str, values)) or 'nothing'}). Add it to the study's space as a constant"
        )
    return {p.name: values.get(p.name, p.default) for p in wanted}


def _key(cls: Any, method: Any, settings: Mapping[str, Any]) -> str:
    facts = {
        "class": cls.__qualname__,
        "source": _source(method),
        "data_key": cls.data_key,
        "settings": {name: [value, _stamp(value)] for name, value in settings.items()},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()[:16]


def _source(method: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(method))
    except (OSError, TypeError):  # typed into a console: the compiled code stands in for its source
        code = method.__func__.__code__
        return f"{code.co_code.hex()} {code.co_consts!r} {code.co_names!r}"


def _stamp(value: Any) -> Any:
    """Sizes and times of the files that a setting names, so that changed data is prepared anew."""
    if not isinstance(value, (str, Path)) or not str(value):
        return None
    path = Path(value)
    try:
        if path.is_file():
            found = [path]
        elif path.is_dir():
            found = sorted(p for p in path.iterdir() if p.is_file())[:_LONGEST_LISTING]
        else:
            return None
        return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in found]
    except OSError:
        return None  # not readable as a path: then it is just a text


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with _THREADS, path.open("a+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield  # closing the file, or the death of this process, lets go


def _make(method: Any, settings: Mapping[str, Any], folder: Path) -> None:
    draft = folder.with_name(f"{folder.name}.partial")
    for leftover in (draft, folder):
        if leftover.exists():
            shutil.rmtree(leftover)
    draft.mkdir()
    method(draft, **settings)
    files = sorted(p for p in draft.rglob("*") if p.is_file())
    for file in files:
        file.chmod(0o444)
    sizes = {str(file.relative_to(draft)): file.stat().st_size for file in files}
    (draft / MARKER).write_text(json.dumps({"files": sizes}, indent=1))
    sync_tree(draft)
    draft.rename(folder)
    sync_tree(folder)
