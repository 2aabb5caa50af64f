"""Bayesian search: a Gaussian process over the space, expected improvement, points in flight.

Hosted on bayesian-optimization (:mod:`raytune_suite.search.hosting`). What a suggestion rests on:

* every trial as far as it has come. Where some were stopped early or still run, one model of (configuration,
  iterations) says where each would end (:mod:`raytune_suite.search.fidelity`): a stopped trial's value is never taken
  for a final one;
* trials in flight, believed to come out as predicted, so that the next point is another one;
* trials that failed, in a model of their own that keeps away from where trials fail;
* the user's belief in some values (:mod:`raytune_suite.search.belief`) and other experiments
  (:mod:`raytune_suite.search.transfer`), for as long as results do not contradict them.

A space with few points is listed instead of sampled, so that none is overlooked; one that fits into the budget is tried
whole, the most promising first. While all values are equal there is nothing to learn, and the space is filled evenly.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from raytune_suite.errors import StudyError
from raytune_suite.search.core import Observation, Point, Searcher, SearchOptions, Suggestion
from raytune_suite.search.random import SobolCover
from raytune_suite.search.thinning import bounded, budget, levels, thin
from raytune_suite.space import Space

if TYPE_CHECKING:
    from raytune_suite.search.effects import Effect
    from raytune_suite.search.engine import Ranking

Array = npt.NDArray[np.float64]

_MOST = 400
"""More results than this are thinned out: time per suggestion stays bounded."""
_MOST_REPORTS = 500
"""The same for what trials of different lengths reported."""
_FEWEST = 3
_SPARED = 40
"""A searcher that spares time fits its model again once there is a new result for so many old ones."""
_LISTED = 3000
"""A space with at most so many points is listed."""


class BayesianOptions(SearchOptions):
    """Options of the Bayesian searcher.

    ``initial_points``: trials spread evenly before the model is asked (default: up to 10, fewer in small spaces or
    studies). ``prior``: values believed to be good, by parameter. ``cost_aware``: prefer configurations whose
    iterations are quick, by improvement per second (default: in studies that end by the clock, ``stop: {time: ...}``).
    """

    initial_points: int | None = Field(default=None, ge=1)
    prior: dict[str, Any] = Field(default_factory=dict)
    cost_aware: bool = False


class BayesianSearcher(Searcher):
    """Gaussian-process search; see the module."""

    name: ClassVar[str] = "bayesian"
    learns: ClassVar[bool] = True
    uses_earlier: ClassVar[bool] = True
    Options: ClassVar[type[SearchOptions]] = BayesianOptions
    options: BayesianOptions

    def __init__(self, space: Space, **settings: Any) -> None:
        super().__init__(space, **settings)
        _check_prior(space, self.options.prior)
        self._cover = SobolCover(space, self.seed)
        self._levels = levels(self.max_iterations)
        self._curves: dict[int, dict[int, tuple[int, float]]] = {}
        self._begun: dict[int, tuple[int, float]] = {}  # iteration and seconds of each trial's first report
        self._engine: Any = None
        self._listed: dict[str, Array] | None = None
        self._ranking: Ranking | None = None
        self._spares, self._fit_again_at = False, 0

    def prepare(self) -> None:
        """Import the model and the package that hosts it (over a second)."""
        from raytune_suite.search import hosting  # noqa: F401
        from raytune_suite.search.engine import Engine

        sign = -1.0 if self.mode == "max" else 1.0
        self._engine = self._engine or Engine(self.space, self.options.prior, self.earlier, sign)

    @property
    def initial_points(self) -> int:
        """How many trials come from the design rather than from the model."""
        if self.options.initial_points is not None:
            return self.options.initial_points
        wanted = (
            min(10, 2 * len(self.space.parameters) + 2) if self.num_trials is None else self._share(self.num_trials)
        )
        return max(_FEWEST, wanted // 2) if self.earlier else wanted

    def observe(self, observation: Observation) -> None:
        """Keep the curve: of the reports between two levels the last one."""
        if observation.has_value and observation.iteration > 0:
            level = bisect_left(self._levels, observation.iteration)
            value = self.loss(observation.value or 0.0)
            self._curves.setdefault(observation.number, {})[level] = (observation.iteration, value)
            self._begun.setdefault(observation.number, (observation.iteration, observation.seconds))

    def suggest(self, number: int, rng: np.random.Generator) -> Point | Suggestion | None:
        """A point of the design at first, then the one of the largest expected improvement."""
        known = [found for found in self.observed.values() if found.has_value]
        if number < self.initial_points or len(known) < _FEWEST or not self.space.parameters or _flat(known):
            return self._design(number, rng)
        ranking = self._ranked(known, number, rng)
        for point in ranking.points:
            if not self.seen(point) and self.space.feasible(point):
                return Suggestion(number, point, "model", ranking.note)
        return self._random(number, rng)

    def spare(self) -> None:
        """Go down the last ranking for a while, the longer the more is known; up to 80 results nothing changes."""
        self._spares = True

    def _ranked(self, known: list[Observation], number: int, rng: np.random.Generator) -> Ranking:
        if self._ranking is None or not self._spares or number >= self._fit_again_at:
            self.prepare()
            fresh: Ranking = self._engine.rank(self._history(known), rng)
            self._ranking = fresh
            self._fit_again_at = number + max(1, len(known) // _SPARED)
        return self._ranking

    def effects(self) -> list[Effect]:
        """What the model believes each parameter does; nothing while too few trials tell (see Engine.effects)."""
        known = [found for found in self.observed.values() if found.has_value]
        if len(known) < _FEWEST or not self.space.parameters or _flat(known):
            return []
        self.prepare()
        found: list[Effect] = self._engine.effects(self._history(known))
        return found

    def _share(self, trials: int) -> int:
        return max(4, min(10, trials // 4, 2 * len(self.space.parameters) + 2))

    def _design(self, number: int, rng: np.random.Generator) -> Suggestion | None:
        """The next point of an even cover; every other one from what others found or the user believes."""
        guided = number % 2 == 0 and bool(self.earlier or self.options.prior)
        if guided:
            self.prepare()
        if guided and self._engine.transfer:
            for point in self._engine.promising(number // 2 + 8):
                if self.space.feasible(point) and not self.seen(point):
                    return Suggestion(number, point, "transfer")
        units = self._cover.units(number)
        if guided and self.options.prior:
            units = self._engine.belief.pull(units)
        point = self.space.from_unit(units)
        if self.space.feasible(point) and not self.seen(point):
            return Suggestion(number, point, "prior" if guided and self.options.prior else "design")
        return self._random(number, rng)

    def _random(self, number: int, rng: np.random.Generator) -> Suggestion | None:
        point = self.unseen(rng)
        return None if point is None else Suggestion(number, point, "random")

    def _history(self, known: list[Observation]) -> Any:
        from raytune_suite.search.engine import History

        failed = [found.point for found in self.observed.values() if _failed(found)]
        waiting = [point for number, point in self.pending.items() if number not in {found.number for found in known}]
        units = self._engine.encoder.units
        results = self._results(known)
        rates = self._log_seconds(known)[results.trials] if self.options.cost_aware else None
        return History(
            units=units([known[trial].point for trial in results.trials]),
            budgets=results.budgets,
            losses=results.losses,
            variances=results.variances,
            pending=units(waiting),
            failed=units(failed[-_MOST:]),
            log_seconds=rates,
            left=self._left(),
            trials=self.num_trials,
            sign=-1.0 if self.mode == "max" else 1.0,
        )

    def _results(self, known: list[Observation]) -> _Results:
        """The last value of each trial if all are of whole trainings, else what all reported on their way."""
        finals = np.array([self.loss(found.value or 0.0) for found in known])
        variances = np.array([found.error or 0.0 for found in known]) ** 2
        if all(self._whole(found) for found in known):
            kept = thin(finals, _MOST)
            return _Results(kept, np.ones(len(kept)), finals[kept], variances[kept])
        rows: list[tuple[int, int, float, float, float]] = []
        for trial, found in enumerate(known):
            curve = sorted(self._curves.get(found.number, {0: (found.iteration, finals[trial])}).items())
            for level, (iteration, loss) in curve:
                last = level == curve[-1][0]
                at = 1.0 if last and self._whole(found) else budget(iteration, self.max_iterations)
                rows.append((trial, level, at, loss, variances[trial] if last else 0.0))
        trials, reached, budgets, losses, errors = (np.array(column) for column in zip(*rows, strict=True))
        kept = bounded(reached.tolist(), losses, _MOST_REPORTS)
        return _Results(trials[kept], budgets[kept], losses[kept], errors[kept])

    def _log_seconds(self, known: list[Observation]) -> Array:
        """The log of each trial's seconds per iteration, shape (n,); NaN where it is not known.

        They are taken between a trial's first report and its last: what comes before the first, such as the start of a
        worker, would pass for the cost of whatever is tried first. Where hardly a trial reports twice the whole counts.
        """
        steps = np.array([self._step(found) for found in known])
        if np.isfinite(steps).sum() < _FEWEST:
            steps = np.array([found.seconds / max(found.iteration, 1) for found in known])
        return np.log(np.where(steps > 0.0, steps, np.nan))

    def _step(self, found: Observation) -> float:
        iteration, seconds = self._begun.get(found.number, (found.iteration, 0.0))
        later = found.iteration - iteration
        return (found.seconds - seconds) / later if later > 0 and found.seconds > seconds else math.nan

    def _whole(self, found: Observation) -> bool:
        return found.state == "completed" or found.iteration >= self.max_iterations

    def _left(self) -> Array | None:
        """Units of the points nobody has, shape (m, parameters), if the space is small enough to be listed."""
        if self.size is None or self.size > _LISTED:
            return None
        if self._listed is None:
            points = list(self.space.enumerate())
            units = self._engine.encoder.units(points)
            self._listed = dict(zip(map(self.space.key, points), self._engine.encoder.snap(units), strict=True))
        left = [unit for key, unit in self._listed.items() if key not in self._seen]
        return np.array(left) if left else None


class _Results(NamedTuple):
    """What the model learns from, shape (n,) each: the index of the trial, its budget then, the loss, its variance."""

    trials: npt.NDArray[np.intp]
    budgets: Array
    losses: Array
    variances: Array


def _check_prior(space: Space, prior: dict[str, Any]) -> None:
    if prior:
        from raytune_suite.search.belief import problems

        found = problems(space, prior)
        if found:
            raise StudyError(found)


def _flat(known: list[Observation]) -> bool:
    return len({found.value for found in known}) == 1


def _failed(found: Observation) -> bool:
    """A trial that ended without a usable value, whatever its state says."""
    return found.state.ended and not found.has_value
