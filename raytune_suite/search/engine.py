"""One decision of the Bayesian searcher: fit, predict, rank candidates; a function of data and seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from raytune_suite.search import hosting
from raytune_suite.search.acquisition import Goal, Success, candidates, log_improvement, neighbours, polish
from raytune_suite.search.belief import Belief
from raytune_suite.search.effects import Effect, effect
from raytune_suite.search.encoding import Encoder
from raytune_suite.search.fidelity import Whole
from raytune_suite.search.gp import Posterior, fit
from raytune_suite.search.transfer import Transfer
from raytune_suite.search.warping import Warped, crowding, warp
from raytune_suite.space import Space

if TYPE_CHECKING:
    from raytune_suite.search.core import Earlier

Array = npt.NDArray[np.float64]

_CLOUD = 1024
_AROUND = 512
_POLISHED = 4
_BASES = 5
_NEAR = 3
_WORTH = 0.01
"""An improvement smaller than this part of the objective's spread is none: without it, a search goes on refining its
best point for ever, in steps nobody would notice, while it could look elsewhere."""
_LUCK = 2.0
"""Where some trainings were stopped, an improvement below so many standard deviations of the noise is none either.
There, the warping stretches differences of the best some ten times, and a search would go on comparing configurations
that differ by no more than what luck makes of each."""
_LEAP = 0.3
_LEAPS = 1 / 3
"""The part of suggestions that go for an improvement of at least :data:`_LEAP`. The least improvement alone settles in
the first good basin: for that reason Jones (2001, "A taxonomy of global optimization methods") has several targets."""
_LOOKED_AT = 400
_MOST_NOISE = 2.0
_FEWEST_WHOLE = 3
"""Of fewer whole trainings than this nothing is said in the metric's terms."""
_COMPARED = 5
_SETTLED = 250
"""At most so many trials that did not go all the way are believed to end as foreseen, those that draw the search most.
Another trial beside one that was stopped would be stopped as well: without this, what the model cannot know of whole
trainings there would draw the search to the same place for ever."""
_BUDGET = "the budget of the training"


@dataclass(frozen=True)
class History:
    """What a suggestion rests on.

    Attributes:
        units: of the trial of each result, shape (n, parameters).
        budgets: how long it had trained, shape (n,): 1 is a whole training (:func:`fidelity.budget`).
        losses: shape (n,).
        variances: what is known of the losses' variance beside the fitted noise, shape (n,).
        pending: units of trials without a value yet.
        failed: units of trials that ended without one.
        log_seconds: the log of the seconds per iteration, shape (n,), NaN where unknown; None if costs do not count.
        left: units of all points that can still be tried, where they are few enough to be listed.
        trials: how many there will be in all.
        sign: of the metric: 1 if smaller values are better, else -1.
    """

    units: Array
    budgets: Array
    losses: Array
    variances: Array
    pending: Array
    failed: Array
    log_seconds: Array | None = None
    left: Array | None = None
    trials: int | None = None
    sign: float = 1.0

    @property
    def whole(self) -> bool:
        """Whether all results are of whole trainings."""
        return bool((self.budgets == 1.0).all())

    def distinct(self) -> History:
        """Results of the same point after the same time as one, at the mean of their losses."""
        first, place = _distinct(np.column_stack([self.units, self.budgets]))
        if len(first) == len(self.units):
            return self
        counts = np.bincount(place)
        return replace(
            self,
            units=self.units[first],
            budgets=self.budgets[first],
            losses=np.bincount(place, self.losses) / counts,
            variances=np.bincount(place, self.variances) / counts**2,
            log_seconds=None if self.log_seconds is None else np.bincount(place, self.log_seconds) / counts,
        )

    @property
    def speaks(self) -> bool:
        """Whether there are enough whole trainings to say what others would come to."""
        return int((self.budgets == 1.0).sum()) >= _FEWEST_WHOLE

    def metric(self, loss: float) -> float:
        """The metric's value at a loss."""
        return self.sign * loss


@dataclass(frozen=True)
class Ranking:
    """Points to try, best first (made one by one), and facts about how they were found."""

    points: Iterator[dict[str, Any]]
    note: dict[str, Any]


@dataclass
class _Found:
    """What the engine answers bayes_opt with, and what it thought."""

    units: Array = field(default_factory=lambda: np.empty((0, 0)))
    note: dict[str, Any] = field(default_factory=dict)


class Engine:
    """The model of one space.

    Args:
        space: what is searched.
        belief: in values of some parameters.
        earlier: what other experiments found.
        sign: 1 if smaller values of the metric are better, else -1.
    """

    def __init__(self, space: Space, belief: Mapping[str, Any], earlier: Sequence[Earlier], sign: float) -> None:
        self.encoder = Encoder(space)
        self.belief = Belief(space, belief)
        self.transfer = Transfer(self.encoder, [self._source(source, sign) for source in earlier])
        self._names = space.names

    def rank(self, history: History, rng: np.random.Generator) -> Ranking:
        """Candidates by acquisition value; the first is what bayes_opt was answered."""
        history = history.distinct()
        found = _Found()
        names, rows = list(self._names), _filled(history.units)
        if not history.whole:
            names, rows = [*names, _BUDGET], np.column_stack([rows, history.budgets])

        def choose(_: Array, losses: Array) -> Array:
            self._decide(losses, history, rng, found)
            return np.append(_filled(found.units[0]), np.ones(len(names) - len(self._names)))

        with _one_thread():
            hosting.suggest(names, rows, history.losses, choose)
        return Ranking((self.encoder.point(row) for row in found.units), found.note)

    def promising(self, count: int) -> list[dict[str, Any]]:
        """Points that other experiments make expect good values, not close together."""
        cloud = qmc.Sobol(len(self._names), scramble=True, seed=np.random.default_rng(0)).random(_CLOUD)
        units = self.encoder.snap(cloud)
        features = self.encoder.features(units)
        means = self.transfer.mean(features, self.transfer.weights(features[:0], np.empty(0)))
        return [self.encoder.point(row) for row in _spread(units[np.argsort(means, kind="stable")], count, 0.2)]

    def effects(self, history: History) -> list[Effect]:
        """What the model believes each parameter does; nothing if too few whole trainings tell."""
        history = history.distinct()
        if not history.speaks:
            return []
        units = self.encoder.snap(history.units)
        warped = self._warped(units, history, history.losses)
        plain = replace(history, pending=units[:0], failed=units[:0], log_seconds=None)

        def metric(value: float) -> float:
            return history.metric(warped.loss(value))

        with _one_thread():
            goal, tried, _ = self._goal(units, warped, plain)
            found = [effect(goal, tried, self._names, name, metric) for name in self._names]
        return [one for one in found if one is not None]

    def _source(self, source: Earlier, sign: float) -> tuple[Array, Array]:
        known = [seen for seen in source.observations if seen.has_value]
        return self.encoder.units([seen.point for seen in known]), np.array([sign * (s.value or 0.0) for s in known])

    def _decide(self, losses: Array, history: History, rng: np.random.Generator, found: _Found) -> None:
        """Fill in snapped units of candidates, best first, and why the first one is."""
        units = self.encoder.snap(history.units)
        warped = self._warped(units, history, losses)
        goal, tried, means = self._goal(units, warped, history)
        if rng.random() < _LEAPS:
            goal = replace(goal, best=goal.best - _LEAP)
        best = tried[np.argsort(means, kind="stable")[:_BASES]]
        pool = history.left if history.left is not None else self._pool(best, rng)
        found.units, values = self._order(goal, pool, polished=history.left is None)
        found.note = self._note(goal, found.units[0], float(values[0]), float(means.min()), warped, history)

    def _warped(self, units: Array, history: History, losses: Array) -> Warped:
        return warp(losses, crowding(np.column_stack([units, history.budgets])), bent=not history.whole)

    def _goal(self, units: Array, warped: Warped, history: History) -> tuple[Goal, Array, Array]:
        """The acquisition function, the units of the trials, and the model's means of whole trainings there."""
        features = self.encoder.features(units)
        extra = np.minimum(np.sqrt(history.variances) * warped.stretch, _MOST_NOISE) ** 2
        transfer, shift = None, np.zeros(len(units))
        if self.transfer:
            compared = _compared(history.budgets)
            weights = self.transfer.weights(features[compared], warped.values[compared])
            transfer, shift = (self.transfer, weights), self.transfer.mean(features, weights)
        objective = self._process(features, warped.values - shift, extra, history)
        first, place = _distinct(units)
        tried = units[first]
        goal = Goal(
            self.encoder,
            objective,
            0.0,
            success=self._success(tried, history),
            belief=(self.belief, self.belief.weight(len(tried), history.trials)) if self.belief else None,
            transfer=transfer,
            cost=self._cost(units, history),
        )
        means, deviations = goal.predict(self.encoder.features(tried))
        best = float(means.min()) - self._worth(objective, history)
        draws = np.argsort(-log_improvement(means, deviations, best), kind="stable")
        short = draws[_reached(place, history.budgets)[draws] < history.budgets.max()]
        settled = np.vstack([self.encoder.snap(history.pending), tried[short[:_SETTLED]]])
        # what is believed was not seen: the deviation falls to nothing there, but what a trial would give stays open;
        # where points are listed none comes twice, elsewhere the search would stay at one place for the sake of luck
        noise = 0.0 if history.whole or history.left is None else objective.kernel.noise
        objective = objective.believe(self.encoder.features(settled))
        return replace(goal, objective=objective, best=best, noise=noise), tried, means

    @staticmethod
    def _worth(objective: Posterior | Whole, history: History) -> float:
        """The least that counts as an improvement; where points are listed none comes twice and nothing is refined."""
        if history.whole or history.left is not None:
            return _WORTH
        return max(_WORTH, _LUCK * math.sqrt(objective.kernel.noise))

    def _process(self, features: Array, values: Array, extra: Array, history: History) -> Posterior | Whole:
        groups = self.encoder.groups
        if history.whole:
            return Posterior(fit(features, values, groups, extra=extra), features, values, extra)
        rows = np.column_stack([features, history.budgets])
        groups = np.append(groups, len(np.unique(groups)))
        process = Posterior(fit(rows, values, groups, extra=extra), rows, values, extra)
        return Whole(process, float(history.budgets.max()))

    def _success(self, tried: Array, history: History) -> Success | None:
        if not len(history.failed):
            return None
        features = self.encoder.features(tried)
        failed = self.encoder.features(self.encoder.snap(history.failed))
        labels = np.append(np.ones(len(features)), np.zeros(len(failed)))
        return Success(np.vstack([features, failed]), labels, self.encoder.groups)

    def _cost(self, units: Array, history: History) -> Posterior | None:
        if history.log_seconds is None:
            return None
        timed = np.isfinite(history.log_seconds)
        if not timed.any() or np.ptp(history.log_seconds[timed]) < 0.05:
            return None
        units, logs = units[timed], history.log_seconds[timed]
        first, place = _distinct(units)
        features = self.encoder.features(units[first])
        seconds = np.bincount(place, logs) / np.bincount(place)
        centred = seconds - seconds.mean()
        return Posterior(fit(features, centred, self.encoder.groups), features, centred)

    def _pool(self, best: Array, rng: np.random.Generator) -> Array:
        cloud = qmc.Sobol(best.shape[1], scramble=True, seed=rng).random(_CLOUD)
        cloud = np.vstack([cloud, neighbours(self.encoder, best[:_NEAR])])
        return candidates(self.encoder, cloud, best, rng, _AROUND)

    def _order(self, goal: Goal, pool: Array, polished: bool) -> tuple[Array, Array]:
        values = goal(pool)
        order = np.argsort(-values, kind="stable")
        pool, values = pool[order], values[order]
        if not polished:
            return pool, values
        climbed = polish(goal, np.array(_spread(pool, _POLISHED)))
        pool, values = np.vstack([climbed, pool]), np.append(goal(climbed), values)
        order = np.argsort(-values, kind="stable")
        return pool[order], values[order]

    def _note(
        self, goal: Goal, unit: Array, value: float, best: float, warped: Warped, history: History
    ) -> dict[str, Any]:
        """Why the point is proposed, in the user's terms."""
        mean, deviation = (float(part[0]) for part in goal.predict(self.encoder.features(unit[None, :])))
        better = mean < best
        deviation = math.hypot(deviation, math.sqrt(goal.objective.kernel.noise))  # what comes is noisy, too
        expected = [_short(history.metric(warped.loss(mean + shift * deviation))) for shift in (0.0, -1.0, 1.0)]
        facts: dict[str, Any] = {"why": "exploit" if better else "explore"}
        if history.speaks:
            facts |= {"predicted": expected[0], "low": min(expected[1:]), "high": max(expected[1:])}
        counts = {
            "observations": len(_distinct(history.units)[0]),
            "pending": len(history.pending),
            "failed": len(history.failed),
        }
        return facts | {"acquisition": _short(value)} | counts


def _distinct(rows: Array) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where each different row stands first, in that order, and for all rows which of those it is."""
    filled = np.nan_to_num(rows, nan=-1.0)
    _, first, place = np.unique(filled, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[place.reshape(-1)]


def _reached(place: npt.NDArray[np.intp], budgets: Array) -> Array:
    """The largest budget of each trial; ``place``: of which trial each result is."""
    most = np.zeros(int(place.max()) + 1)
    np.maximum.at(most, place, budgets)
    return most


def _compared(budgets: Array) -> npt.NDArray[np.bool_]:
    """The results after the longest time that several trials have come to: those can be put in an order."""
    times, counts = np.unique(budgets, return_counts=True)
    several = times[counts >= _COMPARED]
    chosen: npt.NDArray[np.bool_] = budgets == (several[-1] if len(several) else times[np.argmax(counts)])
    return chosen


def _short(number: float) -> float:
    return float(f"{number:.6g}")


def _filled(units: Array) -> Array:
    """Units with a neutral number where a parameter is inactive: what bayes_opt can hold."""
    return np.where(np.isnan(units), 0.5, units)


def _spread(rows: Array, count: int, gap: float = 0.05) -> list[Array]:
    """The first ``count`` rows that do not lie on top of each other."""
    kept: list[Array] = []
    for row in rows[:_LOOKED_AT]:
        if all(np.nanmax(np.abs(_filled(row) - _filled(other))) > gap for other in kept):
            kept.append(row)
        if len(kept) == count:
            break
    return kept


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped,unused-ignore]

    return ThreadpoolController()


def _one_thread() -> AbstractContextManager[Any]:
    """One BLAS thread: small matrices want no more, trials want the rest, and sums keep their order."""
    limit: AbstractContextManager[Any] = _blas().limit(limits=1, user_api="blas")
    return limit
