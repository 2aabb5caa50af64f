"""Study files: YAML read by the rules of YAML 1.2, with line numbers and without repeated keys; and written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from raytune_suite.errors import Problem, StudyError
from raytune_suite.nearest import nearest

_SCALARS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
)
_BREAKS = "\x85\u2028\u2029\ufeff"


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2: ``1e-5`` is a number; ``no``, ``on``, ``1:30`` and dates are texts."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - pyyaml's own form


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would read as something else than the text it is."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """Escape the line breaks of Unicode, which a reader would fold into spaces."""
    style = '"' if any(mark in text for mark in _BREAKS) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _integer(loader: yaml.SafeLoader, node: yaml.Node) -> int:
    text = str(loader.construct_scalar(node))  # type: ignore[arg-type]
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)


for _name, _pattern, _first in _SCALARS:
    _tag, _regex = f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern})$")
    _starts = ["" if c == "\0" else c for c in _first]
    _Loader.add_implicit_resolver(_tag, _regex, _starts)
    _Dumper.add_implicit_resolver(_tag, _regex, _starts)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^(?:<<)$"), ["<"])
_Dumper.add_representer(str, _text)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def read_study_file(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read a study file: its mapping, and the line of every entry by its place (``space.lr``).

    Raises:
        StudyError: no such file, not YAML, not a mapping, or keys that occur twice.
    """
    source = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StudyError([_unreadable(path, error)], source) from None
    except UnicodeDecodeError as error:
        raise StudyError([Problem("file", f"must be UTF-8 text ({error.reason})")], source) from None
    try:
        return _read(text, source)
    except yaml.YAMLError as error:
        raise StudyError([_syntax(error)], source) from None


def read_yaml(text: str, source: str) -> dict[str, Any]:
    """Read a mapping by the rules of a study file; ``source`` is what errors call it.

    Raises:
        StudyError: not YAML, not a mapping, or keys that occur twice.
    """
    try:
        return _read(text, source)[0]
    except yaml.YAMLError as error:
        raise StudyError([_syntax(error)], source) from None


def write_yaml(data: Any) -> str:
    """Return ``data`` as YAML that :func:`read_study_file` reads back equal; short collections on one line."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110))


def _read(text: str, source: str) -> tuple[dict[str, Any], dict[str, int]]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[str, int] = {}
        problems = list(_walk(node, "", lines, ())) if node is not None else []
        if problems:
            raise StudyError(problems, source)
        data = loader.construct_document(node) if node is not None else None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise StudyError([Problem("file", "must be a mapping of keys to values", data)], source)
    return data, lines


def _walk(node: yaml.Node, where: str, lines: dict[str, int], above: tuple[int, ...]) -> Iterator[Problem]:
    """Note the line of every entry below a node; yield keys that occur twice and aliases that hold themselves."""
    if id(node) in above:
        yield Problem(f"line {node.start_mark.line + 1}, {where}", "an alias must not contain itself")
        return
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[f"{where}[{index}]"] = item.start_mark.line + 1
            yield from _walk(item, f"{where}[{index}]", lines, (*above, id(node)))
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        name = f"{where}.{key.value}".removeprefix(".")
        line = key.start_mark.line + 1
        if str(key.value) in seen and key.tag != "tag:yaml.org,2002:merge":
            first = seen[str(key.value)]
            yield Problem(f"line {line}, {name}", "this key occurs twice", None, f"It is on line {first} too.")
        seen.setdefault(str(key.value), line)
        lines.setdefault(name, line)
        yield from _walk(value, name, lines, (*above, id(node)))


def _syntax(error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}" if mark is not None else "file"
    reason = getattr(error, "problem", None) or str(error)
    fix = "Indent with spaces." if "\\t" in reason else ""
    return Problem(where, f"this is not YAML: {reason}", None, fix)


def _unreadable(path: Path, error: OSError) -> Problem:
    if path.is_dir():
        files = sorted(file.name for file in path.glob("*.y*ml"))
        return Problem("file", "is a folder", None, f"It has {', '.join(files)}." if files else "")
    if not isinstance(error, FileNotFoundError):
        return Problem("file", f"cannot be read: {error.strerror}")
    folder = path.parent
    known = [file.name for file in folder.glob("*.y*ml")] if folder.is_dir() else []
    near = nearest(path.name, known)
    return Problem("file", "does not exist", None, f"Did you mean {folder / near}?" if near else "")
