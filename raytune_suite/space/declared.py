"""How a parameter is written in a study: Ray's type names and arguments, checked and turned into domains."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from raytune_suite.errors import Problem
from raytune_suite.nearest import did_you_mean, nearest
from raytune_suite.space.domains import Choice, Domain, Float, Grid, Int, Normal, distinct, identity

Number = TypeVar("Number", int, float)

MODIFIERS = ("when", "points")


class DeclarationError(ValueError):
    """A rule that a declaration breaks, and the way out."""

    def __init__(self, rule: str, value: Any = None, fix: str = "") -> None:
        self.rule, self.value, self.fix = rule, value, fix
        super().__init__(rule)

    def at(self, where: str) -> Problem:
        """The problem this is at a place of the study."""
        return Problem(where, self.rule, self.value, self.fix)


@dataclass(frozen=True)
class Kind:
    """A type of parameter: its arguments as Ray names them, an example, and what makes its domain."""

    arguments: tuple[str, ...]
    example: str
    build: Callable[..., Domain]
    defaults: tuple[Any, ...] = ()


def _float(*, log: bool) -> Callable[..., Domain]:
    def build(lower: Any, upper: Any, q: Any = None) -> Float:
        low, high = _number("lower", lower), _number("upper", upper)
        _ascending(low, high)
        if log:
            _positive(low)
        if q is None:
            return Float(low, high, log=log)
        step = _step(_number("q", q))
        for name, bound in (("lower", low), ("upper", high)):
            if not math.isclose(bound / step, round(bound / step), rel_tol=1e-9, abs_tol=1e-9):
                near = step * math.floor(bound / step), step * math.ceil(bound / step)
                fix = f"Use {max(near[0], step if log else near[0]):g} or {near[1]:g}."
                raise DeclarationError(f"{name} must be a multiple of q={step:g}", bound, fix)
        return Float(low, high, log=log, q=step)

    return build


def _integer(*, log: bool, quantised: bool) -> Callable[..., Domain]:
    def build(lower: Any, upper: Any, q: Any = 1) -> Int:
        low, high, step = _whole("lower", lower), _whole("upper", upper), _step(_whole("q", q))
        _ascending(low, high, exclusive=step == 1)
        if log:
            _positive(low)
        domain = Int(low, high - 1 if step == 1 else high, log=log, q=step)
        if quantised and domain.count < 1:
            raise DeclarationError(f"there is no multiple of q={step} between {low} and {high}", fix="Use a smaller q.")
        return domain

    return build


def _normal(mean: Any = 0.0, sd: Any = 1.0, q: Any = None) -> Normal:
    centre, deviation = _number("mean", mean), _number("sd", sd)
    if deviation <= 0:
        raise DeclarationError("sd must be greater than 0", sd)
    return Normal(centre, deviation, None if q is None else _step(_number("q", q)))


def _listed(kind: type[Choice]) -> Callable[..., Domain]:
    def build(*values: Any) -> Domain:
        if not values:
            raise DeclarationError("needs at least one value", list(values))
        for value in values:
            check_plain(value)
        if len(distinct(values)) < len(values):
            twice = next(v for i, v in enumerate(values) if identity(v) in map(identity, values[:i]))
            raise DeclarationError("lists a value twice", twice, "Leave one out.")
        return kind(tuple(values))

    return build


_BOUNDS, _STEPS = ("lower", "upper"), ("lower", "upper", "q")
KINDS: dict[str, Kind] = {
    "uniform": Kind(_BOUNDS, "{uniform: [0, 1]}", _float(log=False)),
    "quniform": Kind(_STEPS, "{quniform: [0, 1, 0.1]}", _float(log=False)),
    "loguniform": Kind(_BOUNDS, "{loguniform: [1e-5, 1e-1]}", _float(log=True)),
    "qloguniform": Kind(_STEPS, "{qloguniform: [0.1, 10, 0.1]}", _float(log=True)),
    "randint": Kind(_BOUNDS, "{randint: [1, 10]}", _integer(log=False, quantised=False)),
    "qrandint": Kind(_STEPS, "{qrandint: [32, 256, 32]}", _integer(log=False, quantised=True), (1,)),
    "lograndint": Kind(_BOUNDS, "{lograndint: [1, 1000]}", _integer(log=True, quantised=False)),
    "qlograndint": Kind(_STEPS, "{qlograndint: [8, 512, 8]}", _integer(log=True, quantised=True)),
    "randn": Kind(("mean", "sd"), "{randn: [0, 1]}", _normal, (0.0, 1.0)),
    "qrandn": Kind(("mean", "sd", "q"), "{qrandn: [0, 1, 0.5]}", _normal),
    "choice": Kind((), "{choice: [a, b]}", _listed(Choice)),
    "grid": Kind((), "{grid: [1, 2, 4]}", _listed(Grid)),
    "grid_search": Kind((), "{grid: [1, 2, 4]}", _listed(Grid)),
}
# what other frameworks call these types
_FOREIGN = {
    "categorical": "choice", "values": "choice", "options": "choice", "float": "uniform",
    "log_uniform": "loguniform", "log_uniform_values": "loguniform", "int": "randint", "integer": "randint",
    "int_uniform": "randint", "normal": "randn", "gauss": "randn", "range": "randint", "log": "loguniform",
    "q_uniform": "quniform", "sample_from": "choice",
}  # fmt: skip


def is_parameter(raw: Mapping[Any, Any]) -> bool:
    """Say whether a mapping of the space declares a parameter; any other mapping is a nested section.

    The type names are reserved: a section cannot have a key called ``choice``.

    Raises:
        DeclarationError: it looks like a parameter whose type is misspelt.
    """
    if any(key in KINDS for key in raw):
        return True
    keys = [key for key in raw if isinstance(key, str) and key not in MODIFIERS]
    lists = [key for key in keys if isinstance(raw[key], (list, tuple))]
    if len(keys) == 1 and lists and (meant := _FOREIGN.get(keys[0]) or nearest(keys[0], KINDS, 0.75)):
        raise _misspelt(keys[0], meant)
    if "when" not in raw:
        return False
    if len(keys) == 1 and lists:
        raise _misspelt(lists[0], nearest(lists[0], KINDS, 0.5))
    fix = "Write it on each parameter of the section; a constant cannot be conditional."
    raise DeclarationError("`when` belongs to a parameter, not to a section", raw["when"], fix)


def _misspelt(word: str, meant: str | None) -> DeclarationError:
    fix = f"Did you mean {meant}? As in {KINDS[meant].example}." if meant else f"Types: {', '.join(KINDS)}."
    return DeclarationError(f"{word} is not a type of parameter", fix=fix)


def domain_of(raw: Mapping[Any, Any]) -> Domain:
    """Turn ``{uniform: [0, 1], ...}`` into its domain.

    Raises:
        DeclarationError: more than one type, a key that is none, or arguments that the type does not take.
    """
    types = [key for key in raw if key in KINDS]
    if len(types) > 1:
        raise DeclarationError(f"has more than one type: {', '.join(types)}", fix="Keep one.")
    name = types[0]
    for key in raw:
        if key != name and key not in MODIFIERS:
            fix = f"{did_you_mean(str(key), MODIFIERS)} No entry of a section can be called {name}: it is a type."
            raise DeclarationError(f"unknown key {key} beside {name}", fix=fix)
    return _build(name, raw[name])


def _build(name: str, given: Any) -> Domain:
    kind = KINDS[name]
    try:
        return kind.build(*_arguments(name, kind, given))
    except DeclarationError as wrong:
        raise DeclarationError(f"{name}: {wrong.rule}", wrong.value, wrong.fix) from None


def _arguments(name: str, kind: Kind, given: Any) -> Sequence[Any]:
    """The positional arguments of a type, given as a list or by name."""
    if not kind.arguments:
        if isinstance(given, (list, tuple)):
            return given
        raise DeclarationError("takes a list of values", given, f"As in {kind.example}.")
    if isinstance(given, Mapping):
        return _by_name(kind, given)
    form = f"takes [{', '.join(kind.arguments)}]"
    if name == "randn" and given is None:
        return kind.defaults
    if not isinstance(given, (list, tuple)):
        raise DeclarationError(form, given, f"As in {kind.example}.")
    if not len(kind.arguments) - len(kind.defaults) <= len(given) <= len(kind.arguments):
        longer = f"q{name}"
        quantised = len(given) == 3 and longer in KINDS
        fix = f"Did you mean {longer}?" if quantised else f"As in {kind.example}."
        raise DeclarationError(form, list(given), fix)
    return given


def _by_name(kind: Kind, given: Mapping[Any, Any]) -> list[Any]:
    for key in given:
        if key not in kind.arguments:
            raise DeclarationError(f"has no argument {key}", fix=did_you_mean(str(key), kind.arguments))
    required = kind.arguments[: len(kind.arguments) - len(kind.defaults)]
    for key in required:
        if key not in given:
            raise DeclarationError(f"needs {key}", dict(given), f"As in {kind.example}.")
    padding = dict(zip(kind.arguments[len(required) :], kind.defaults, strict=True))
    return [given.get(key, padding.get(key)) for key in kind.arguments]


def check_plain(value: Any) -> None:
    """Refuse what YAML and JSON cannot hold.

    Raises:
        DeclarationError: ``value`` is or contains anything but None, booleans, numbers, strings, lists, mappings.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise DeclarationError("the keys of a mapping must be strings", key, f"Write '{key}' in quotes.")
            check_plain(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            check_plain(inner)
    elif value is not None and type(value) not in (bool, int, float, str):
        fix = "Use None, booleans, numbers, strings, lists and mappings; make objects from names in the trainable."
        raise DeclarationError("a value must be something that a file can hold", value, fix)


def _number(name: str, value: Any) -> float:
    if isinstance(value, str) and _reads_as_number(value):
        raise DeclarationError(f"{name} must be a number", value, "Leave the quotes out.")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DeclarationError(f"{name} must be a finite number", value)
    return float(value)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        raise DeclarationError(f"{name} must be a whole number", value, f"Write {int(value)}.")
    if isinstance(value, bool) or not isinstance(value, int):
        raise DeclarationError(f"{name} must be a whole number", value)
    return value


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _step(q: Number) -> Number:
    if q <= 0:
        raise DeclarationError("q must be greater than 0", q)
    return q


def _ascending(low: float, high: float, *, exclusive: bool = True) -> None:
    if low > high or (exclusive and low == high):
        fix = f"Swap them: [{high:g}, {low:g}]." if low > high else "For one value write a constant."
        raise DeclarationError("lower must be less than upper", [low, high], fix)


def _positive(low: float) -> None:
    if low <= 0:
        fix = "Start above 0; if the bounds are exponents, write the numbers themselves (1e-5, not -5)."
        raise DeclarationError("lower must be greater than 0 on a logarithmic scale", low, fix)
