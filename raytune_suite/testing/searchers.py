"""What every searcher must do, as tests to inherit.

    from raytune_suite.testing import SearcherContract

    class TestMine(SearcherContract):
        def make(self, space, **settings):
            return MySearcher(space, **settings)

``settings`` are the keyword arguments of :class:`raytune_suite.search.Searcher`.
"""

from __future__ import annotations

import contextlib
import io
import math
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from raytune_suite.search.core import Observation, Searcher, Suggestion
from raytune_suite.space import Space
from raytune_suite.states import State

__all__ = ["SPACES", "SearcherContract", "play"]

_CONTINUOUS: dict[str, Any] = {"uniform": [-1.0, 2.0], "points": 5}
_CONDITIONAL: dict[str, Any] = {
    "optimizer": {"choice": ["sgd", "adamw"]},
    "momentum": {"uniform": [0.5, 0.99], "points": 3, "when": "optimizer == 'sgd'"},
    "beta": {"uniform": [0.8, 0.999], "points": 3, "when": "optimizer == 'adamw'"},
    "learning_rate": {"loguniform": [1e-5, 1e-1], "points": 5},
}
_MIXED: dict[str, Any] = {
    "model": {
        "width": {"qrandint": [8, 64, 8]},
        "depth": {"randint": [1, 5]},
        "gate": {"choice": [True, False]},
    },
    "learning_rate": {"loguniform": [1e-5, 1e-1], "points": 3},
    "warmup": {"lograndint": [1, 1000]},
    "activation": {"choice": ["relu", "tanh", "gelu", None]},
    "dropout": {"quniform": [0.0, 0.5, 0.1]},
    "epochs_per_step": 1,
}

_WIDE: list[dict[str, Any]] = [
    {"grid": [0.0, 0.5]},
    {"choice": ["a", "b"]},
    {"randint": [1, 3]},
    {"choice": [True, False]},
    {"grid": [1e-3, 1e-1]},
]

_FINITE = {"finite": 9, "single": 1}

SPACES: dict[str, Space] = {}
"""The spaces of the contract by name; filled at first use by :func:`spaces`."""


def spaces() -> dict[str, Space]:
    """Mixed types, one parameter, conditions, a constraint, a finite space, a single value, fifty parameters."""
    if not SPACES:
        boxes = {"a": {"randint": [1, 11]}, "b": {"randint": [1, 11]}, "x": _CONTINUOUS}
        SPACES.update(
            mixed=Space.parse(_MIXED),
            one=Space.parse({"x": _CONTINUOUS}),
            conditional=Space.parse(_CONDITIONAL),
            constrained=Space.parse(boxes, "a * b <= 16"),
            finite=Space.parse({"a": {"choice": ["p", "q", "r"]}, "b": {"randint": [0, 3]}}),
            single=Space.parse({"a": {"choice": ["only"]}, "b": 3}),
            wide=Space.parse({f"x{i}": _WIDE[i % len(_WIDE)] for i in range(50)}),
        )
    return SPACES


def objective(space: Space, point: Mapping[str, Any]) -> float:
    """A smooth value of any point of any space, lowest inside."""
    units = np.nan_to_num(space.to_unit(dict(point)), nan=0.9)
    return float(((units - 0.37) ** 2).sum())


def play(
    searcher: Searcher,
    trials: int,
    *,
    in_flight: int = 1,
    tell: Callable[[Suggestion], Observation] | None = None,
) -> list[Suggestion]:
    """Ask for trials 0, 1, ... with ``in_flight`` of them open at a time; the oldest ends first.

    ``tell`` makes the end of a trial; without it, it completes with :func:`objective`. None ends it.
    """
    sign = -1.0 if searcher.mode == "max" else 1.0

    def completed(s: Suggestion) -> Observation:
        return Observation(s.number, s.point, sign * objective(searcher.space, s.point), 9, State.COMPLETED)

    given: list[Suggestion] = []
    for number in range(trials):
        if number >= in_flight:
            searcher.tell((tell or completed)(given[number - in_flight]))
        suggestion = searcher.ask(number)
        if suggestion is None:
            break
        given.append(suggestion)
    return given


def expect(holds: bool, rule: str, found: Any = None) -> None:
    """Fail the test with the rule that is broken."""
    if not holds:
        raise AssertionError(rule if found is None else f"{rule}; found {found!r}")


class SearcherContract:
    """Inherit, write :meth:`make`, and every method ``test_...`` is a rule your searcher keeps."""

    trials = 14
    rebuilds = True
    """Whether telling what a journal holds restores the searcher exactly (not so for hosted foreign ones)."""
    unbounded = True
    """Whether it can search parameters without bounds (randn)."""

    def make(self, space: Space, **settings: Any) -> Searcher:
        """A fresh searcher over ``space``."""
        raise TypeError(f"{type(self).__name__} must define make(self, space, **settings)")

    def fresh(self, space: Space, **settings: Any) -> Searcher:
        """A searcher with the contract's defaults."""
        return self.make(space, **{"seed": 3, "num_trials": self.trials, "max_iterations": 9, **settings})

    def test_points_are_feasible_and_in_bounds_with_exact_types(self) -> None:
        """Every point passes the space's own check and holds python values, never numpy's."""
        for name, space in spaces().items():
            for suggestion in play(self.fresh(space), self.trials):
                problems = space.check(suggestion.point)
                expect(not problems, f"{name}: points are in bounds", [str(p) for p in problems])
                expect(space.feasible(suggestion.point), f"{name}: points meet the constraint", suggestion.point)
                for key, value in suggestion.point.items():
                    plain = value is None or type(value) in (int, float, bool, str)
                    expect(plain, f"{name}: {key} is a plain python value", type(value))
                whole = space.point(space.config(suggestion.point))
                expect(whole == suggestion.point, f"{name}: a point has its active parameters", suggestion.point)

    def test_unbounded_parameters_are_searched(self) -> None:
        """A randn parameter gets finite floats."""
        if not self.unbounded:
            return
        space = Space.parse({"shift": {"randn": [1.0, 2.0]}, "x": {"uniform": [0, 1]}})
        for suggestion in play(self.fresh(space), self.trials):
            expect(math.isfinite(suggestion.point["shift"]), "randn gives finite floats", suggestion.point)

    def test_the_seed_decides_everything(self) -> None:
        """Equal seeds give equal points, whatever the global random state, which stays as it was."""
        for name, space in spaces().items():
            random.seed(1)
            np.random.seed(1)
            before = random.getstate(), repr(np.random.get_state())
            first = play(self.fresh(space), self.trials)
            after = random.getstate(), repr(np.random.get_state())
            expect(before == after, f"{name}: global random state is untouched")
            random.seed(2)
            np.random.seed(2)
            expect(play(self.fresh(space), self.trials) == first, f"{name}: the seed alone decides")

    def test_points_in_flight_are_distinct(self) -> None:
        """Eight trials at a time never hold the same point twice."""
        for name, space in spaces().items():
            given = play(self.fresh(space), self.trials, in_flight=8)
            keys = [space.key(s.point) for s in given]
            expect(len(set(keys)) == len(keys), f"{name}: no point is given twice", keys)

    def test_the_number_of_trials_is_exact(self) -> None:
        """``num_trials`` points, or all of a finite space if it has fewer; after that None, for good."""
        for name, space in spaces().items():
            searcher = self.fresh(space)
            count = len(play(searcher, self.trials + 5, in_flight=3))
            expect(count == searcher.total, f"{name}: it gives as many points as it says", count)
            if name in _FINITE:
                expect(count == _FINITE[name], f"{name}: a finite space is given whole", count)
            expect(searcher.ask(count) is None, f"{name}: None is for good")
            expect(searcher.ask(count + 7) is None, f"{name}: None is for good")

    def test_a_finite_space_ends_without_a_limit_on_trials(self) -> None:
        """Nine points are given as nine points when nobody says how many."""
        given = play(self.fresh(spaces()["finite"], num_trials=None), 30, in_flight=4)
        expect(len({spaces()["finite"].key(s.point) for s in given}) == 9 == len(given), "nine points, once each")

    def test_failures_and_missing_values_do_not_stop_the_search(self) -> None:
        """NaN, infinities, None and every kind of failure are taken, from the first trial on."""
        states = [s for s in State if s.ended]
        values = [None, math.nan, math.inf, -math.inf, 1.0, 2.0, 3.0]

        def bad(s: Suggestion) -> Observation:
            return Observation(s.number, s.point, values[s.number % 7], 1, states[s.number % len(states)])

        def hopeless(s: Suggestion) -> Observation:
            return Observation(s.number, s.point, None, 0, State.FAILED)

        for name, space in spaces().items():
            for tell in (bad, hopeless):
                searcher = self.fresh(space)
                count = len(play(searcher, self.trials, in_flight=2, tell=tell))
                expect(count == searcher.total, f"{name}: failures do not cost trials", count)

    def test_late_reports_change_nothing(self) -> None:
        """A report that arrives after its trial's end is ignored."""
        for name in ("mixed", "conditional"):
            space = spaces()[name]
            prompt, late = self.fresh(space), self.fresh(space)
            given = play(prompt, self.trials - 2)
            play(late, self.trials - 2)
            for s in given[:3]:
                late.tell(Observation(s.number, s.point, -1e6, 2, State.RUNNING))
            number = self.trials - 2
            expect(prompt.ask(number) == late.ask(number), f"{name}: late reports change nothing")

    def test_maximising_mirrors_minimising(self) -> None:
        """Negated values under ``max`` give the points that ``min`` gives."""
        for name, space in spaces().items():
            low = play(self.fresh(space, mode="min"), self.trials, in_flight=2)
            high = play(self.fresh(space, mode="max"), self.trials, in_flight=2)
            expect([s.point for s in low] == [s.point for s in high], f"{name}: max mirrors min")

    def test_the_default_is_trial_0_and_given_points_follow(self) -> None:
        """Partial points keep what was given; the rest is drawn; nobody gives them twice."""
        space = spaces()["mixed"]
        given = [{"learning_rate": 1e-3, "model": {"depth": 2}}, {"activation": None, "model.gate": True}]
        default = {**self.fresh(space).space.sample(np.random.default_rng(0)), "learning_rate": 1e-2}
        first = play(self.fresh(space, default=default, points_to_evaluate=given), self.trials, in_flight=4)
        expect(first[0].point == default and first[0].origin == "default", "trial 0 is the default", first[0])
        expect(first[1].point["learning_rate"] == 1e-3 and first[1].point["model.depth"] == 2, "trial 1 is given")
        expect(first[2].point["activation"] is None and first[2].point["model.gate"] is True, "trial 2 is given")
        expect({s.origin for s in first[1:3]} == {"given"}, "given points say so")
        expect(len(first) == self.trials, "given points count as trials", len(first))
        expect(len({space.key(s.point) for s in first}) == self.trials, "given points are not repeated")

    def test_a_journal_is_enough_to_go_on(self) -> None:
        """A fresh searcher that is only told what happened continues as the old one would have."""
        if not self.rebuilds:
            return
        for name, space in spaces().items():
            old, new = self.fresh(space), self.fresh(space)
            count = self.trials - 3
            given = play(old, count, in_flight=3, tell=_mixed_ends(space))
            if len(given) < count:
                continue
            old.tell(Observation(count - 1, given[-1].point, 0.5, 4, State.RUNNING))
            for number, s in reversed(list(enumerate(given))):
                known = old.observed.get(number)
                new.tell(known or Observation(number, s.point, None, 0, State.PENDING))
            for number in range(count, self.trials):
                expect(old.ask(number) == new.ask(number), f"{name}: trial {number} is the same after a restart")

    def test_asking_again_for_a_number_gives_the_same_answer(self) -> None:
        """A driver that lost the answer may ask for it again."""
        searcher = self.fresh(spaces()["mixed"])
        expect(searcher.ask(0) == searcher.ask(0), "the same number, the same suggestion")

    def test_nothing_is_printed(self) -> None:
        """Standard output belongs to the program."""
        with contextlib.redirect_stdout(io.StringIO()) as out:
            play(self.fresh(spaces()["finite"], default={"a": "p", "b": 1}), self.trials, in_flight=2)
            play(self.fresh(spaces()["mixed"]), self.trials, in_flight=2)
        expect(out.getvalue() == "", "nothing is printed", out.getvalue()[:200])


def _mixed_ends(space: Space) -> Callable[[Suggestion], Observation]:
    """Ends of many kinds: whole, stopped early, failed."""

    def tell(s: Suggestion) -> Observation:
        value = objective(space, s.point)
        if s.number % 5 == 3:
            return Observation(s.number, s.point, None, 0, State.FAILED)
        if s.number % 3 == 1:
            return Observation(s.number, s.point, value + 0.5, 3, State.STOPPED)
        return Observation(s.number, s.point, value, 9, State.COMPLETED)

    return tell
