"""Changes to a study for one run: ``--set key=value`` and the options that are short for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raytune_suite.errors import Problem, StudyError
from raytune_suite.resolve import find_project
from raytune_suite.study import Study
from raytune_suite.study.file import read_study_file, read_yaml


def load(path: Path, options: Mapping[str, Any] | None = None, changes: Sequence[str] = ()) -> Study:
    """Read a study file, changed by ``options`` (None: not given) and then by ``key=value`` texts.

    Dots in a key lead into sections; a value is YAML, read as in the file.

    Raises:
        StudyError: everything that is wrong with the file as changed, or with a change.
    """
    given = {key: value for key, value in (options or {}).items() if value is not None}
    if not given and not changes:
        return Study.load(path)
    data, _ = read_study_file(path)
    data |= given
    for change in changes:
        key, value = read_change(change)
        _put(data, key, value)
    source = f"{path} as changed on the command line"
    try:
        return Study.from_dict(data, find_project(path))
    except StudyError as error:
        raise StudyError(error.problems, source) from None


def read_change(change: str) -> tuple[str, Any]:
    """Return the key and the value, read as in a study file, of ``key=value``.

    Raises:
        StudyError: it is no such text.
    """
    key, sign, text = change.partition("=")
    if not sign or not key.strip():
        raise StudyError([Problem("--set", "must be KEY=VALUE", change, "As in --set seed=1.")], "the command line")
    return key.strip(), read_yaml(f"value: {text}", f"--set {key}")["value"]


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    """Put ``value`` where ``key`` leads; sections on the way are made, copied, never shared."""
    *sections, last = key.split(".")
    for section in sections:
        below = data.get(section, {})
        if isinstance(below, str) and section in ("search", "scheduler"):
            below = {"name": below}
        if not isinstance(below, dict):
            raise StudyError([Problem(f"--set {key}", f"{section} is no section", below)], "the command line")
        data[section] = dict(below)
        data = data[section]
    data[last] = value
