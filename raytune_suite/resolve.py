"""``module:attribute`` and back: how code is named in a study file.

Modules are looked for in the study's project folder first, wherever the process was started, so that a
study means the same on the command line, in a worker and on a cluster.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

from raytune_suite.errors import TrainableError
from raytune_suite.nearest import nearest

_NAME = r"[^\W\d]\w*"
REFERENCE = re.compile(rf"{_NAME}(\.{_NAME})*:{_NAME}(\.{_NAME})*")


def is_reference(text: object) -> bool:
    """Say whether ``text`` has the form ``package.module:Class``."""
    return isinstance(text, str) and REFERENCE.fullmatch(text) is not None


def resolve(reference: str, project: Path | str) -> Any:
    """Import what ``package.module:Class`` names, relative to the folder ``project``.

    The project folder is put at the front of ``sys.path`` and stays there: the module's own imports need it.

    Raises:
        TrainableError: not of that form, no such module or attribute (naming near misses), or the
            module fails while it is imported (the original error is chained).
    """
    if not is_reference(reference):
        raise TrainableError(f"{reference!r} must have the form package.module:Class, as trainables.digits:DigitsCNN")
    project = Path(project).resolve()
    _put_first(str(project))
    module_name, _, path = reference.partition(":")
    module = _import(module_name, reference, project)
    return _attribute(module, path, reference)


def reference_to(found: object) -> str:
    """Return the ``module:attribute`` that names a class or function.

    Raises:
        ValueError: it cannot be written down (a lambda, something local, or defined in the script that
            is running), with the way out.
    """
    name = getattr(found, "__qualname__", None)
    module = getattr(found, "__module__", None)
    if name is None or module is None:
        raise ValueError(
            f"an object of type {type(found).__name__} cannot be written down. "
            "Give a class or function of a module as 'module:name'."
        )
    if "<" in name:
        kind = "a lambda" if "<lambda>" in name else "something defined inside a function"
        raise ValueError(
            f"{kind} cannot be written down, so the study could not be resumed. "
            "Define it at the top level of a module and give 'module:name'."
        )
    if module == "__main__":
        raise ValueError(
            f"{name} is defined in the script that is running, where no worker can import it. "
            "Move it into a module of its own and give 'module:name'."
        )
    return f"{module}:{name}"


def find_project(file: Path) -> Path:
    """Return the project folder of a file: the nearest above it with pyproject.toml or .git, else its own."""
    folder = file.resolve().parent
    for candidate in (folder, *folder.parents):
        if (candidate / "pyproject.toml").is_file() or (candidate / ".git").exists():
            return candidate
    return folder


def _put_first(folder: str) -> None:
    if sys.path[:1] != [folder]:
        sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]
        importlib.invalidate_caches()


def _import(name: str, reference: str, project: Path) -> Any:
    _forget_namesake(name.partition(".")[0], project)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise TrainableError(
                f"{reference}: importing {name} failed: it needs {error.name}, which is not installed"
            ) from error
        raise TrainableError(_missing_module(error.name, reference, project)) from None
    except Exception as error:
        raise TrainableError(f"{reference}: importing {name} failed: {type(error).__name__}: {error}") from error


def _forget_namesake(top: str, project: Path) -> None:
    """Drop a package of this name that came from elsewhere if the project has one of its own.

    Two projects may both have a ``trainables``; the one imported first must not win for ever.
    """
    module = sys.modules.get(top)
    own = [project / f"{top}.py", project / top / "__init__.py"]
    origin = getattr(module, "__file__", None)
    if top == "raytune_suite" or origin is None or not any(path.is_file() for path in own):
        return
    if not any(path.is_file() and path.samefile(origin) for path in own):
        for name in [name for name in sys.modules if name == top or name.startswith(f"{top}.")]:
            del sys.modules[name]


def _missing_module(missing: str, reference: str, project: Path) -> str:
    parent, _, last = missing.rpartition(".")
    folder = project.joinpath(*parent.split(".")) if parent else project
    near = nearest(last, _modules_in(folder))
    hint = f"Did you mean {parent + '.' if parent else ''}{near}? " if near else ""
    searched = ", ".join(entry or "." for entry in sys.path[:6])
    return f"{reference}: there is no module {missing} in {folder}. {hint}Searched: {searched}"


def _modules_in(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    files = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    packages = [path.name for path in folder.iterdir() if path.is_dir() and any(path.glob("*.py"))]
    return files + packages


def _attribute(module: Any, path: str, reference: str) -> Any:
    found = module
    for part in path.split("."):
        if not hasattr(found, part):
            public = [name for name in dir(found) if not name.startswith("_")]
            near = nearest(part, public)
            hint = f"Did you mean {near}?" if near else f"It has: {', '.join(public[:12]) or 'nothing public'}."
            raise TrainableError(f"{reference}: {_shown(found)} has no {part}. {hint}")
        found = getattr(found, part)
    return found


def _shown(found: Any) -> str:
    file = getattr(found, "__file__", None)
    return f"{getattr(found, '__name__', found)}{f' ({file})' if file else ''}"
