"""The search space: parameters, constants, conditions and a constraint.

A *point* is a flat mapping of dotted names to values, active parameters only; a *config* is what a trainable
gets: nested, constants included.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from raytune_suite.errors import Problem, SpaceExhaustedError, StudyError
from raytune_suite.expression import Expression, ExpressionError
from raytune_suite.nearest import nearest
from raytune_suite.space.domains import identity
from raytune_suite.space.parse import Parameter, Parser

MOST_DRAWS = 10_000
"""Draws after which a space without a feasible one counts as empty."""

ENUMERABLE = 100_000
"""Spaces up to this size are counted exactly under a constraint."""

Point = dict[str, Any]
Constraint = Expression | Callable[[dict[str, Any]], Any]


@dataclass(frozen=True)
class Space:
    """A checked search space.

    Attributes:
        parameters: what is tuned; a parameter comes after those its ``when`` names.
        constants: what is not, by dotted name.
        constraint: an expression over names, or a function of the config; true where it may be trained.
    """

    parameters: tuple[Parameter, ...]
    constants: dict[str, Any] = field(default_factory=dict)
    constraint: Constraint | None = None

    @classmethod
    def parse(cls, raw: Mapping[str, Any], constraint: str | Callable[[dict[str, Any]], Any] | None = None) -> Space:
        """Read a space as a study writes it; values may be ``ray.tune`` domains.

        Raises:
            StudyError: everything that is wrong with it.
        """
        parser = Parser()
        ready = parser.parse(raw, constraint)
        if parser.problems:
            raise StudyError(parser.problems, "the space")
        return cls(tuple(parser.parameters.values()), parser.constants, ready)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters, in order."""
        return tuple(self._by_name)

    # --- drawing

    def sample(self, rng: np.random.Generator) -> Point:
        """Draw one feasible point.

        Raises:
            SpaceExhaustedError: none of many draws is feasible.
        """
        for _ in range(MOST_DRAWS):
            point = self._draw(rng)
            if self.feasible(point):
                return point
        raise SpaceExhaustedError(self._empty())

    def complete(self, partial: Mapping[str, Any], rng: np.random.Generator) -> Point:
        """Fill in what a flat or nested ``partial`` point lacks, so that all it gives is active and feasible.

        Raises:
            StudyError: unknown names, values outside their domains, or no point has them all.
        """
        given = self._given(self._flat(partial))
        problems = self.check(partial, partial=True)
        if problems:
            raise StudyError(problems, "the point")
        complete = len(given) == len(self.parameters)
        for _ in range(1 if complete else MOST_DRAWS):
            drawn = {p.name: p.domain.sample(rng) for p in self.parameters if p.name not in given}
            point = self.activate({**drawn, **given})
            if given.keys() <= point.keys() and self.feasible(point):
                return point
        raise StudyError([self._contradiction(given)], "the point")

    def feasible_share(self, rng: np.random.Generator, draws: int = 1000) -> float:
        """Estimate the share of draws that satisfy the constraint."""
        if self.constraint is None:
            return 1.0
        return sum(self.feasible(self._draw(rng)) for _ in range(draws)) / draws

    # --- conditions and the constraint

    def activate(self, values: Mapping[str, Any]) -> Point:
        """Keep of an assignment to all parameters those that exist: the others' conditions are false."""
        known = dict(self.constants)
        point: Point = {}
        for parameter in self.parameters:
            if parameter.name in values and self._holds(parameter, known):
                known[parameter.name] = point[parameter.name] = values[parameter.name]
        return point

    def feasible(self, point: Mapping[str, Any]) -> bool:
        """Say whether the constraint holds.

        Raises:
            StudyError: it cannot be computed.
        """
        if self.constraint is None:
            return True
        try:
            if isinstance(self.constraint, Expression):
                return bool(self.constraint.evaluate({**self.constants, **point}))
            return bool(self.constraint(self.config(point)))
        except ExpressionError as error:
            raise StudyError([Problem("constraint", str(error))]) from None
        except Exception as error:
            rule = f"raised {type(error).__name__}: {error}"
            raise StudyError([Problem("constraint", rule, dict(point), "It must return true or false.")]) from error

    def check(self, point: Mapping[str, Any], partial: bool = False) -> list[Problem]:
        """List what is wrong with a point (flat or nested), each with the parameter's name as its place.

        With ``partial`` parameters may be missing; only what is certain is then reported.
        """
        flat = self._flat(point)
        problems = [p for name, value in flat.items() if (p := self._value_problem(name, value)) is not None]
        given = self._given(flat)
        undecided = {problem.where for problem in problems}
        known = {**self.constants, **given}
        for parameter in self.parameters:
            problems += self._presence(parameter, given, known, undecided, partial)
        if not problems and not undecided and not self.feasible(given):
            problems.append(Problem("", f"does not satisfy the constraint {self._constraint_text}", given))
        return problems

    # --- forms of a point

    def config(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return the nested config of a point: what the trainable gets, its own copy."""
        config: dict[str, Any] = {}
        for name, value in (*self.constants.items(), *point.items()):
            *sections, key = name.split(".")
            level = config
            for section in sections:
                level = level.setdefault(section, {})
            level[key] = copy.deepcopy(value)
        return config

    def point(self, config: Mapping[str, Any]) -> Point:
        """Return the point of a config: the inverse of :meth:`config`."""
        found = self._flat(config)
        return {name: found[name] for name in self._by_name if name in found}

    def key(self, point: Mapping[str, Any]) -> str:
        """Return a text that is the same exactly for the same point; 1, 1.0 and True differ."""
        return identity(dict(point))

    def to_unit(self, point: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        """Map a point into the unit cube, shape (parameters,); NaN where a parameter is inactive."""
        units = [p.domain.to_unit(point[p.name]) if p.name in point else math.nan for p in self.parameters]
        return np.array(units, dtype=np.float64)

    def from_unit(self, vector: npt.ArrayLike) -> Point:
        """Map a vector of the unit cube to a point; conditions are applied, the constraint is not."""
        units = np.asarray(vector, dtype=np.float64).tolist()
        pairs = zip(self.parameters, units, strict=True)
        return self.activate({p.name: p.domain.from_unit(0.5 if math.isnan(u) else u) for p, u in pairs})

    # --- counting

    def size(self) -> int | None:
        """Return the number of distinct feasible points, None if there is no end of them.

        A continuous parameter counts with its ``points``. Under a constraint, a space larger than 100 000
        is given by its size without it, an upper bound.
        """
        return self._size

    def enumerate(self) -> Iterator[Point]:
        """Yield every feasible point once, the last parameter fastest.

        Raises:
            StudyError: a parameter is not finite and has no ``points``.
        """
        endless = [p for p in self.parameters if p.values() is None]
        if endless:
            fix = "Add points, as in {uniform: [0, 1], points: 5}, or list the values: {grid: [...]}."
            rule = "has no end of values, a grid needs a number of points"
            raise StudyError([Problem(f"space.{p.name}", rule, None, fix) for p in endless])
        return filter(self.feasible, self._walk(self.parameters, 0, {}, dict(self.constants)))

    def describe(self) -> list[dict[str, Any]]:
        """Return the parameters as plain data: name, kind, lower, upper, log, q, values, when, points."""
        return [
            {"name": p.name, **p.domain.describe(), "when": str(p.when) if p.when else None, "points": p.points}
            for p in self.parameters
        ]

    # --- inside

    @cached_property
    def _by_name(self) -> dict[str, Parameter]:
        return {parameter.name: parameter for parameter in self.parameters}

    @cached_property
    def _size(self) -> int | None:
        counts = {p.name: p.count for p in self.parameters}
        if any(count is None for count in counts.values()):
            return None
        bound = self._unconstrained({name: count or 0 for name, count in counts.items()})
        if self.constraint is None or bound > ENUMERABLE:
            return bound
        return sum(1 for _ in self.enumerate())

    def _unconstrained(self, counts: dict[str, int]) -> int:
        """Count with conditions: walk the parameters that others depend on, multiply the rest."""
        deciding = {name for p in self.parameters if p.when is not None for name in p.when.names}
        gates = tuple(p for p in self.parameters if p.name in deciding)
        rest = [p for p in self.parameters if p.name not in deciding]
        if math.prod(counts[p.name] for p in gates) > ENUMERABLE:
            return math.prod(counts.values())
        total = 0
        for point in self._walk(gates, 0, {}, dict(self.constants)):
            known = {**self.constants, **point}
            total += math.prod(counts[p.name] for p in rest if self._holds(p, known))
        return total

    def _walk(self, parameters: tuple[Parameter, ...], at: int, point: Point, known: Point) -> Iterator[Point]:
        if at == len(parameters):
            yield dict(point)
            return
        parameter = parameters[at]
        if not self._holds(parameter, known):
            yield from self._walk(parameters, at + 1, point, known)
            return
        for value in parameter.values() or ():
            added = {parameter.name: value}
            yield from self._walk(parameters, at + 1, {**point, **added}, {**known, **added})

    def _draw(self, rng: np.random.Generator) -> Point:
        return self.activate({p.name: p.domain.sample(rng) for p in self.parameters})

    def _holds(self, parameter: Parameter, known: Mapping[str, Any]) -> bool:
        if parameter.when is None:
            return True
        try:
            return bool(parameter.when.evaluate(known))
        except ExpressionError as error:
            raise StudyError([Problem(f"space.{parameter.name}.when", str(error))]) from None

    def _flat(self, values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for key, value in values.items():
            name = f"{prefix}{key}"
            known = name in self._by_name or name in self.constants
            if isinstance(value, Mapping) and not known:
                flat.update(self._flat(value, f"{name}."))
            else:
                flat[name] = value
        return flat

    def _given(self, flat: Mapping[str, Any]) -> Point:
        """The parameters among ``flat`` that have a value of their domain, as that value."""
        good = [n for n, v in flat.items() if n in self._by_name and self._value_problem(n, v) is None]
        return {name: self._by_name[name].domain.cast(flat[name]) for name in good}

    def _value_problem(self, name: str, value: Any) -> Problem | None:
        if name in self.constants:
            if identity(self.constants[name]) == identity(value):
                return None
            fix = f"Leave it out, or give {name} a range in the space."
            return Problem(name, f"is a constant ({self.constants[name]!r})", value, fix)
        if name not in self._by_name:
            near = nearest(name, self.names)
            fix = f"Did you mean {near}?" if near else f"Parameters: {', '.join(self.names) or 'none'}."
            return Problem(name, "is not a parameter of the space", None, fix)
        try:
            self._by_name[name].domain.cast(value)
        except ValueError as error:
            return Problem(name, str(error), value, _value_fix(self._by_name[name], value))
        return None

    def _presence(
        self, parameter: Parameter, given: Point, known: Point, undecided: set[str], partial: bool
    ) -> Iterator[Problem]:
        """Yield a parameter that is there and must not be, or the reverse.

        ``undecided`` collects the names whose value is open, so that conditions on them are left alone.
        """
        name = parameter.name
        if name in undecided:
            return
        if parameter.when is not None and parameter.when.names & undecided:
            if name not in given:
                undecided.add(name)
            return
        active = self._holds(parameter, known)
        if name in given and not active:
            yield Problem(name, f"exists only when {parameter.when}", given[name], "Leave it out.")
        elif name not in given and active:
            undecided.add(name)
            if not partial:
                yield Problem(name, "is missing", None, "Give it a value.")

    @property
    def _constraint_text(self) -> str:
        if isinstance(self.constraint, Expression):
            return repr(self.constraint.text)
        return str(getattr(self.constraint, "__name__", self.constraint))

    def _empty(self) -> str:
        text = (
            f"none of {MOST_DRAWS} draws satisfies the constraint {self._constraint_text}: the feasible share "
            f"is below about {3 / MOST_DRAWS:.4f}. Loosen the constraint or narrow the ranges."
        )
        conditional = [p.name for p in self.parameters if p.when is not None]
        if isinstance(self.constraint, Expression) and (shared := self.constraint.names & set(conditional)):
            text += f" Where {', '.join(sorted(shared))} does not exist, comparisons with it are false."
        return text

    def _contradiction(self, given: Point) -> Problem:
        conditions = [f"{n} exists only when {self._by_name[n].when}" for n in given if self._by_name[n].when]
        if self.constraint is not None:
            conditions.append(f"the constraint is {self._constraint_text}")
        return Problem("", "no configuration has these values", given, f"{'; '.join(conditions)}.")


def _value_fix(parameter: Parameter, value: Any) -> str:
    domain = parameter.domain
    if isinstance(value, str):
        values = [v for v in (domain.values() or ())[:1000] if isinstance(v, str)]
        near = nearest(value, values)
        return f"Did you mean {near}?" if near else ""
    if isinstance(value, float) and value.is_integer() and domain.contains(int(value)):
        return f"Write {int(value)}."
    return ""
