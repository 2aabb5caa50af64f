"""From the ``space`` section of a study to parameters and constants, every problem at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raytune_suite.errors import Problem
from raytune_suite.expression import Expression, ExpressionError
from raytune_suite.nearest import nearest
from raytune_suite.space.declared import KINDS, DeclarationError, check_plain, domain_of, is_parameter
from raytune_suite.space.domains import Choice, Domain, identity, listing
from raytune_suite.space.written import written


@dataclass(frozen=True)
class Parameter:
    """One tunable parameter.

    Attributes:
        name: dotted path in the config.
        domain: its values.
        when: the condition under which it exists; None: always.
        points: how many values a grid takes from it; None: all of them.
    """

    name: str
    domain: Domain
    when: Expression | None = None
    points: int | None = None

    def values(self) -> tuple[Any, ...] | None:
        """The values a grid takes; None if they are not finite."""
        count = self.domain.count
        if self.points is not None and (count is None or count > self.points):
            return self.domain.spread(self.points)
        return self.domain.values()

    @property
    def count(self) -> int | None:
        """How many values a grid takes; None if they are not finite."""
        if self.points is None:
            return self.domain.count
        return len(self.values() or ())


class Parser:
    """Walks a raw space and collects parameters, constants and problems."""

    def __init__(self) -> None:
        self.parameters: dict[str, Parameter] = {}
        self.constants: dict[str, Any] = {}
        self.problems: list[Problem] = []

    def parse(
        self, raw: Mapping[str, Any], constraint: str | Callable[..., Any] | None
    ) -> Expression | Callable[..., Any] | None:
        """Read everything; returns the constraint ready for use."""
        self._section(raw, "")
        self._order()
        if not isinstance(constraint, str):
            return constraint
        return self._expression("constraint", constraint, set(self.parameters))

    def _section(self, raw: Mapping[Any, Any], prefix: str) -> None:
        for key, value in raw.items():
            name = f"{prefix}{key}"
            try:
                _check_key(key)
                self._entry(name, value)
            except DeclarationError as error:
                self.problems.append(error.at(f"space.{name}"))

    def _entry(self, name: str, raw: Any) -> None:
        value = raw if isinstance(raw, Mapping) else written(raw)
        if not isinstance(value, Mapping) or not value:
            check_plain(value)
            self.constants[name] = value
        elif is_parameter(value):
            self._parameter(name, value)
        else:
            self._section(value, f"{name}.")

    def _parameter(self, name: str, raw: Mapping[str, Any]) -> None:
        # the name exists for conditions of others even if the declaration is wrong
        self.parameters[name] = Parameter(name, Choice((None,)))
        domain = domain_of(written(raw))
        self.parameters[name] = Parameter(name, domain)
        points = _points(domain, raw.get("points"))
        when = raw.get("when")
        if when is not None:
            if not isinstance(when, str):
                raise DeclarationError("`when` must be an expression", when, "As in when: \"optimizer == 'sgd'\".")
            self.parameters[name] = Parameter(name, domain, self._condition(name, when), points)
        else:
            self.parameters[name] = Parameter(name, domain, None, points)

    def _condition(self, name: str, text: str) -> Expression | None:
        try:
            return Expression(text)
        except ExpressionError as error:
            self.problems.append(Problem(f"space.{name}.when", str(error)))
            return None

    def _expression(self, where: str, text: str, names: set[str]) -> Expression | None:
        try:
            expression = Expression(text)
        except ExpressionError as error:
            self.problems.append(Problem(where, str(error)))
            return None
        self.problems += self._unknown(where, expression, names)
        return expression

    def _order(self) -> None:
        """Check the names in conditions and put every parameter after those it depends on."""
        for parameter in self.parameters.values():
            if parameter.when is not None:
                names = set(self.parameters) - {parameter.name}
                self.problems += self._unknown(f"space.{parameter.name}.when", parameter.when, names)
        ordered: dict[str, Parameter] = {}
        waiting = dict(self.parameters)
        while waiting:
            ready = [p for p in waiting.values() if not _needs(p) & (set(waiting) - {p.name})]
            if not ready:
                fix = "Make one of them unconditional."
                circle = Problem("space", f"the conditions of {', '.join(waiting)} depend on each other", None, fix)
                self.problems.append(circle)
                ready = list(waiting.values())
            # one at a time keeps the order of the file wherever it can be kept
            for parameter in ready if len(ready) == len(waiting) else ready[:1]:
                ordered[parameter.name] = waiting.pop(parameter.name)
        self.parameters = ordered

    def _unknown(self, where: str, expression: Expression, names: set[str]) -> Iterable[Problem]:
        known = names | set(self.constants)
        for name in sorted(expression.names - known):
            yield Problem(where, f"{name} is not a parameter or constant of the space", None, self._hint(name, known))
        for name, literal in expression.compared:
            parameter = self.parameters.get(name)
            if parameter is not None and name in names and (fix := _never(parameter.domain, literal)):
                yield Problem(where, f"{name} is never {literal!r}", None, fix)

    def _hint(self, name: str, known: set[str]) -> str:
        inside = [other for other in known if other.endswith(f".{name}")]
        if inside:
            return f"Write the whole path: {inside[0]}."
        if self._is_value(name):
            return f"A text stands in quotes: '{name}'."
        near = nearest(name, known)
        return f"Did you mean {near}?" if near else f"Known: {', '.join(sorted(known)) or 'none'}."

    def _is_value(self, word: str) -> bool:
        domains = (parameter.domain for parameter in self.parameters.values())
        return any(word in domain.listed for domain in domains if isinstance(domain, Choice))


def _needs(parameter: Parameter) -> frozenset[str]:
    return parameter.when.names if parameter.when is not None else frozenset()


def _never(domain: Domain, literal: Any) -> str:
    """Say what to write instead of a literal that a listed parameter cannot have; empty if it can."""
    if not isinstance(domain, Choice) or domain.listed == (None,):
        return ""
    if any(identity(literal) == identity(value) or literal == value for value in domain.listed):
        return ""
    near = nearest(str(literal), [str(value) for value in domain.listed])
    return f"Did you mean {near!r}?" if near else f"It is one of {listing(domain.listed)}."


def _check_key(key: Any) -> None:
    if not isinstance(key, str):
        raise DeclarationError("a name must be a string", key, f'Write "{key}" in quotes.')
    if not key or "." in key:
        fix = "Write a nested section: " + key.replace(".", ": {", 1) + ": ...}." if key else ""
        raise DeclarationError("a name must not be empty or contain a dot", key, fix)
    if key in KINDS:
        fix = f"Name the parameter, as in learning_rate: {KINDS[key].example}."
        raise DeclarationError("this is a type, a parameter needs a name", None, fix)


def _points(domain: Domain, points: Any) -> int | None:
    if points is None:
        return None
    if isinstance(points, bool) or not isinstance(points, int) or points < 1:
        raise DeclarationError("`points` must be a whole number of at least 1", points)
    if isinstance(domain, Choice):
        raise DeclarationError("`points` is for ranges; a list has its values", points, "Leave `points` out.")
    return points
