"""What is wrong with a study, in words: pydantic's findings and the suite's own as one list of problems."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from raytune_suite.errors import Problem
from raytune_suite.nearest import did_you_mean, nearest
from raytune_suite.space import DeclarationError

# what other frameworks call the fields of a study
SYNONYMS = {
    "num_samples": "num_trials", "n_trials": "num_trials", "trials": "num_trials", "max_trials": "num_trials",
    "epochs": "max_iterations", "max_epochs": "max_iterations", "max_t": "max_iterations",
    "iterations": "max_iterations", "direction": "mode", "goal": "mode", "objective": "metric",
    "monitor": "metric", "parameters": "space", "params": "space", "param_space": "space",
    "search_space": "space", "config": "space", "search_alg": "search", "searcher": "search",
    "sampler": "search", "algorithm": "search", "pruner": "scheduler", "time_budget_s": "stop: {time: ...}",
    "time_budget": "stop: {time: ...}", "timeout": "stop: {time: ...}", "early_stopping": "stop",
    "max_concurrent_trials": "max_concurrent", "max_failures": "retries", "random_state": "seed",
    "storage_path": "storage", "local_dir": "storage", "model": "trainable", "entrypoint": "trainable",
    "resources_per_trial": "resources", "env": "environment", "constraints": "constraint",
    "warm_start": "from",
}  # fmt: skip
EXAMPLES = {
    "trainable": "trainable: trainables.digits:DigitsCNN",
    "metric": "metric: validation/loss",
    "max_iterations": "max_iterations: 27",
    "space": "space: {learning_rate: {loguniform: [1e-5, 1e-1]}}",
    "search": "search: bayesian",
    "name": "name: digits",
    "patience": "patience: 5",
}
UNKNOWN_KEY = "unknown key"
_TYPES = {
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "finite_number": "must be a finite number",
}


def from_pydantic(error: ValidationError, model: type[BaseModel], at: Sequence[Any] = ()) -> Iterator[Problem]:
    """Yield what pydantic found wrong, with our words, near misses and places."""
    for detail in error.errors(include_url=False):
        where = [*at, *detail["loc"]]
        inner = detail.get("ctx", {}).get("error")
        if isinstance(inner, DeclarationError):
            yield inner.at(place(where))
        elif isinstance(inner, ValidationError):
            yield from from_pydantic(inner, _model_at(model, detail["loc"]) or model, where)
        elif detail["type"] == "extra_forbidden":
            yield _unknown(str(detail["loc"][-1]), place(where), _model_at(model, detail["loc"][:-1]))
        else:
            yield _finding(dict(detail), place(where))


def without_echoes(problems: Sequence[Problem]) -> list[Problem]:
    """Leave out what is missing only because its key is misspelt, which is a problem of its own."""
    meant = set()
    for problem in problems:
        near = re.fullmatch(r"Did you mean (\w+)\?", problem.fix)
        if problem.rule == UNKNOWN_KEY and near is not None:
            parent = problem.where.rpartition(".")[0]
            meant.add(f"{parent}.{near[1]}".removeprefix("."))
    return [p for p in problems if not (p.where in meant and p.rule.startswith("is required"))]


def place(path: Sequence[Any]) -> str:
    """Return ``("points", 0, "lr")`` as ``points[0].lr``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def with_lines(problems: Sequence[Problem], lines: Mapping[str, int]) -> list[Problem]:
    """Add to each place its line in the file, or that of the nearest enclosing entry; sorted by line."""
    located = [(_line(problem.where, lines), problem) for problem in problems]
    located.sort(key=lambda pair: pair[0] or 0)
    return [replace(p, where=f"line {n}, {p.where}" if n else p.where) for n, p in located]


def _line(where: str, lines: Mapping[str, int]) -> int | None:
    while where:
        if where in lines:
            return lines[where]
        where = where[: max(where.rfind("."), where.rfind("["), 0)]  # keys may hold either: it only gets shorter
    return None


def _unknown(key: str, where: str, model: type[BaseModel] | None) -> Problem:
    allowed = [field.alias or name for name, field in model.model_fields.items()] if model is not None else []
    top = "search" in allowed
    meant = SYNONYMS.get(key) if top else None
    if meant is None and top:
        meant = nearest(key, [*allowed, *SYNONYMS])
        meant = SYNONYMS.get(meant or "", meant)
    fix = f"Did you mean {meant}?" if meant else did_you_mean(key, allowed)
    return Problem(where, UNKNOWN_KEY, None, fix)


def _finding(detail: dict[str, Any], where: str) -> Problem:
    kind, value, context = detail["type"], detail.get("input"), detail.get("ctx", {})
    if kind == "missing":
        example = EXAMPLES.get(where.rpartition(".")[2], "")
        return Problem(where, "is required", None, f"Add {example}." if example else "")
    if value is None:
        return Problem(where, "has no value", None, "Give it one, or leave the key out.")
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"]) or [context["expected"]]
        near = nearest(value, allowed) if isinstance(value, str) else None
        fix = f"Did you mean {near}?" if near else ""
        return Problem(where, f"must be {' or '.join(allowed)}", value, fix)
    if kind in _TYPES:
        return Problem(where, _TYPES[kind], value, _type_fix(kind, value))
    for key, words in (("ge", "at least"), ("gt", "greater than"), ("le", "at most"), ("lt", "less than")):
        if key in context:
            return Problem(where, f"must be {words} {context[key]:g}", value)
    return Problem(where, str(detail["msg"]).removeprefix("Value error, "), value)


def _type_fix(kind: str, value: Any) -> str:
    """What to write instead of a value of the wrong type."""
    if isinstance(value, float) and kind.startswith("int") and value.is_integer():
        return f"Write {int(value)}."
    if isinstance(value, str) and kind.startswith(("int", "float", "finite")):
        return "Leave the quotes out." if re.fullmatch(r"[-+.\deE]+", value) else ""
    if kind == "list_type" and isinstance(value, (str, int, float)):
        return f"Write [{value}]."
    if kind == "string_type" and isinstance(value, (int, float)):
        return f'Write "{value}" in quotes.'
    return ""


def _model_at(model: type[BaseModel], path: Sequence[Any]) -> type[BaseModel] | None:
    """The model that describes the section at ``path``."""
    found: type[BaseModel] | None = model
    for part in path:
        field = found.model_fields.get(str(part)) if found is not None else None
        found = _model_in(field.annotation) if field is not None else None
    return found


def _model_in(annotation: Any) -> type[BaseModel] | None:
    candidates = [annotation, *get_args(annotation)]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
