"""The protocol every searcher speaks: ask for a point, tell what became of it.

A searcher's answer depends only on its seed, the number asked for, and what it was asked and told
before: there is no stream of random numbers to save. Telling a fresh searcher what a journal holds
therefore puts it exactly where the old one stood.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from raytune_suite.errors import Problem, SpaceExhaustedError, StudyError
from raytune_suite.nearest import did_you_mean
from raytune_suite.space import Space
from raytune_suite.states import State

Point = dict[str, Any]

ENUMERABLE = 1_000_000
"""Finite spaces up to this size are searched exhaustively for the last unseen points."""

_DRAWS = 100
"""So many repeats in a row mean that nearly all points are taken."""


@dataclass(frozen=True)
class Observation:
    """What is known of a trial now: ``value`` is its metric (the user's sign) at ``iteration``.

    ``state`` RUNNING is a report of a running trial, PENDING a trial that exists (again) without a
    result; an ended state is the end. ``value`` None or NaN means that there is none. ``error`` is the standard error
    of ``value`` where repeats tell one, ``seconds`` how long the trial has trained.
    """

    number: int
    point: Mapping[str, Any]
    value: float | None
    iteration: int
    state: State
    error: float | None = None
    seconds: float = 0.0

    @property
    def has_value(self) -> bool:
        """Whether the value is a finite number and the trial did not fail."""
        return self.value is not None and math.isfinite(self.value) and not self.state.failure


@dataclass(frozen=True)
class Earlier:
    """What another experiment found, on its own scale: its values may be shifted or stretched against ours.

    ``observations``: the last value of each of its trials that ended with one. Their points are restricted to this
    space and valid in it; their numbers are those of the other experiment and say nothing about trials here.
    """

    name: str
    observations: tuple[Observation, ...]


@dataclass(frozen=True)
class Suggestion:
    """A point to try: ``origin`` says where it comes from, ``note`` why (JSON-able facts)."""

    number: int
    point: Point
    origin: str
    note: dict[str, Any] = field(default_factory=dict)


class SearchOptions(BaseModel):
    """The options of a searcher that has none; searchers subclass it. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Searcher(ABC):
    """Base of all searchers: a subclass writes :meth:`suggest` and nothing else.

    The base answers trial 0 with ``default``, the next ones with ``points_to_evaluate`` (partial
    points are completed), asks the subclass for the rest, and sees to it that points are feasible,
    never repeated, and that there are ``num_trials`` of them unless a finite space ends before.

    Args:
        space: what to search.
        mode: "min" or "max".
        seed: of the study; trial n draws from ``SeedSequence(seed, spawn_key=(n,))``.
        num_trials: how many points to give in all; None only for finite spaces.
        max_iterations: the budget of a whole trial, to tell a final value from an early one.
        default: trial 0, possibly partial.
        points_to_evaluate: points to try first, possibly partial.
        options: this searcher's own options, checked against :attr:`Options`.
        earlier: what other experiments found, kept as :attr:`earlier`; a searcher that looks at it says so in
            ``uses_earlier``, since a user is told where it is ignored.

    Raises:
        StudyError: wrong options or given points, all of them at once.
    """

    name: ClassVar[str]
    learns: ClassVar[bool] = False
    replayable: ClassVar[bool] = True
    uses_earlier: ClassVar[bool] = False
    Options: ClassVar[type[SearchOptions]] = SearchOptions

    def __init__(
        self,
        space: Space,
        *,
        mode: Literal["min", "max"] = "min",
        seed: int = 0,
        num_trials: int | None = None,
        max_iterations: int = 1,
        default: Mapping[str, Any] | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] = (),
        options: Mapping[str, Any] | None = None,
        earlier: Sequence[Earlier] = (),
    ) -> None:
        self.space = space
        self.mode = mode
        self.seed = seed
        self.num_trials = num_trials
        self.max_iterations = max_iterations
        self.options = parse_options(type(self), options or {})
        self.earlier = tuple(earlier)
        self._given = [("default", default)] if default is not None else []
        self._given += [("given", point) for point in points_to_evaluate]
        _check_given(space, self._given)
        self._asked: dict[int, Suggestion] = {}
        self._latest: dict[int, Observation] = {}
        self._seen: set[str] = set()
        self._exhausted = False

    @abstractmethod
    def suggest(self, number: int, rng: np.random.Generator) -> Point | Suggestion | None:
        """Propose a point for trial ``number``, drawing only from ``rng``; None ends the search.

        A proposal that is infeasible or was given before is replaced by a random one.
        """

    def prepare(self) -> None:  # noqa: B027 - a hook that most searchers do not need
        """Import what :meth:`ask` will need; a driver calls it while workers start."""

    def spare(self) -> None:  # noqa: B027 - a hook that quick searchers do not need
        """From now on take less time for suggestions, if need be at the cost of their quality: for forecasts."""

    def ask(self, number: int) -> Suggestion | None:
        """The point of trial ``number``, or None for good when there are no more.

        Asking again for a number gives the same answer again.
        """
        if number in self._asked:
            return self._asked[number]
        if self._exhausted or (self.num_trials is not None and number >= self.num_trials):
            return None
        rng = self.rng(number)
        suggestion = self._first(number, rng) or self._proposed(number, rng)
        if suggestion is None:
            self._exhausted = True
            return None
        self._remember(suggestion)
        return suggestion

    def tell(self, observation: Observation) -> None:
        """Take note of a trial, also of one that this instance was never asked for.

        Reports that arrive after the end of their trial are ignored; PENDING opens it again (a retry).
        """
        number = observation.number
        if number not in self._asked:
            self._remember(Suggestion(number, dict(observation.point), "told"))
        before = self._latest.get(number)
        late = before is not None and before.state.ended and observation.state is State.RUNNING
        if not late:
            self._latest[number] = self._clean(observation)
            self.observe(self._latest[number])

    def observe(self, observation: Observation) -> None:  # noqa: B027 - a hook
        """Called by :meth:`tell` with everything that is not late."""

    @property
    def observed(self) -> Mapping[int, Observation]:
        """The latest observation of every trial that was told of, by number, numbers ascending."""
        return MappingProxyType(dict(sorted(self._latest.items())))

    @property
    def pending(self) -> Mapping[int, Point]:
        """The points in flight: asked for (or told of) and not ended, by number, numbers ascending."""
        return {n: s.point for n, s in sorted(self._asked.items()) if not self._ended(n)}

    @property
    def total(self) -> int | None:
        """How many points there will be in all, None if nothing bounds them."""
        size = self.size
        bounds = [bound for bound in (self.num_trials, size) if bound is not None]
        return min(bounds) if bounds else None

    @property
    def size(self) -> int | None:
        """How many points the space has (or an upper bound), None if there is no end of them.

        The ``points`` of a continuous parameter are for a grid; they do not make it finite for others.
        """
        endless = any(parameter.domain.count is None for parameter in self.space.parameters)
        return None if endless else self.space.size()

    def rng(self, number: int) -> np.random.Generator:
        """The random generator of trial ``number``, fresh at each call."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(number,)))

    def loss(self, value: float) -> float:
        """``value`` with the sign that makes smaller better."""
        return -value if self.mode == "max" else value

    def seen(self, point: Mapping[str, Any]) -> bool:
        """Whether a trial has this point already."""
        return self.space.key(dict(point)) in self._seen

    def _ended(self, number: int) -> bool:
        return number in self._latest and self._latest[number].state.ended

    def _clean(self, observation: Observation) -> Observation:
        """The observation with the point we gave (a caller may have dropped or reordered entries)."""
        value = observation.value
        number = None if value is None or not math.isfinite(value) else float(value)
        return replace(observation, point=self._asked[observation.number].point, value=number)

    def _remember(self, suggestion: Suggestion) -> None:
        self._asked[suggestion.number] = suggestion
        self._seen.add(self.space.key(suggestion.point))

    def _first(self, number: int, rng: np.random.Generator) -> Suggestion | None:
        """The given point of this number, unless an earlier trial has it already."""
        if number >= len(self._given):
            return None
        point = self._given_point(number, rng)
        return None if self.seen(point) else Suggestion(number, point, self._given[number][0])

    def _given_point(self, number: int, rng: np.random.Generator) -> Point:
        return self.space.complete(self._given[number][1], rng)

    def _proposed(self, number: int, rng: np.random.Generator) -> Suggestion | None:
        proposal = self.suggest(number, rng)
        if proposal is None:
            return None
        if not isinstance(proposal, Suggestion):
            proposal = Suggestion(number, proposal, self.name)
        if not self.seen(proposal.point) and self.space.feasible(proposal.point):
            return proposal
        point = self.unseen(rng)
        return None if point is None else Suggestion(number, point, "random")

    def unseen(self, rng: np.random.Generator) -> Point | None:
        """A random feasible point that no trial has, or None if there is none left.

        Raises:
            SpaceExhaustedError: no feasible point can be found, and none was ever given.
        """
        listable = self.size is not None and self.size <= ENUMERABLE
        try:
            for _ in range(_DRAWS):
                point = self.space.sample(rng)
                if not self.seen(point):
                    return point
        except SpaceExhaustedError:
            if not listable:
                raise
        last = self._one_left(rng) if listable else None
        if last is None and not self._seen:
            self.space.sample(rng)
        return last

    def _one_left(self, rng: np.random.Generator) -> Point | None:
        """One of the unseen points of a space that can be listed, all equally likely."""
        chosen = None
        for met, point in enumerate(point for point in self.space.enumerate() if not self.seen(point)):
            if rng.integers(met + 1) == 0:
                chosen = point
        return chosen


def parse_options(searcher: type[Searcher], options: Mapping[str, Any]) -> SearchOptions:
    """``options`` checked against the searcher's model.

    Raises:
        StudyError: every unknown or wrong option, with the allowed ones.
    """
    try:
        return searcher.Options.model_validate(dict(options))
    except ValidationError as error:
        raise StudyError(option_problems(searcher, error)) from None


def option_problems(searcher: type[Searcher], error: ValidationError) -> list[Problem]:
    """What pydantic found wrong, as problems of ``search``."""
    allowed = list(searcher.Options.model_fields)
    problems = []
    for detail in error.errors():
        key = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            problems.append(
                Problem(f"search.{key}", f"{searcher.name} has no such option", None, did_you_mean(key, allowed))
            )
        else:
            problems.append(Problem(f"search.{key}", detail["msg"], detail.get("input")))
    return problems


def _check_given(space: Space, given: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    problems: list[Problem] = []
    first = sum(origin == "default" for origin, _ in given)
    for index, (origin, point) in enumerate(given):
        where = "default" if origin == "default" else f"points_to_evaluate[{index - first}]"
        found = space.check(point, partial=True)
        problems.extend(replace(p, where=f"{where}: {p.where}" if p.where else where) for p in found)
    if problems:
        raise StudyError(problems)
