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

from raytune_suite.search import drift, hosting
from raytune_suite.search.acquisition import Goal, Success, candidates, neighbours, polish
from raytune_suite.search.belief import Belief
from raytune_suite.search.curves import Linked
from raytune_suite.search.effects import Effect, effect
from raytune_suite.search.encoding import Encoder
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
_LOOKED_AT = 400
_MOST_NOISE = 2.0
_FEWEST_WHOLE = 3


@dataclass(frozen=True)
class History:
    """What a suggestion rests on.

    Attributes:
        units: of the trials with a value, shape (n, parameters).
        losses: shape (n,), on whatever scale.
        variances: what is known of the losses' variance beside the fitted noise, shape (n,).
        pending: units of trials without a value yet.
        failed: units of trials that ended without one.
        log_seconds: the log of the seconds per iteration, shape (n,); None if costs do not count.
        left: units of all points that can still be tried, where they are few enough to be listed.
        trials: how many there will be in all.
        known: losses of whole trainings and the metric's values, shapes (k,), to speak to the user in their terms.
        higher_is_better: of the metric.
    """

    units: Array
    losses: Array
    variances: Array
    pending: Array
    failed: Array
    log_seconds: Array | None = None
    left: Array | None = None
    trials: int | None = None
    known: tuple[Array, Array] = (np.empty(0), np.empty(0))
    higher_is_better: bool = False

    def distinct(self) -> History:
        """Trials at the same point as one, at the mean of their losses."""
        _, first, place = np.unique(np.nan_to_num(self.units, nan=-1.0), axis=0, return_index=True, return_inverse=True)
        if len(first) == len(self.units):
            return self
        counts = np.bincount(place)
        mean = np.bincount(place, self.losses) / counts
        variances = np.bincount(place, self.variances) / counts**2
        seconds = None if self.log_seconds is None else np.bincount(place, self.log_seconds) / counts
        order = np.argsort(first)
        return replace(
            self,
            units=self.units[first[order]],
            losses=mean[order],
            variances=variances[order],
            log_seconds=None if seconds is None else seconds[order],
        )

    def metric(self, loss: float) -> float | None:
        """The metric's value at a loss, read off whole trainings; None if there are too few of them.

        Ranks are matched, not trials: where curves were linked the order of the two may differ, and a better loss must
        not read as a worse value.
        """
        if len(self.known[0]) < _FEWEST_WHOLE:
            return None
        losses, values = np.sort(self.known[0]), np.sort(self.known[1])
        values = -np.sort(-values) if self.higher_is_better else values
        if loss < losses[0] and losses[-1] > losses[0]:
            slope = (values[len(values) // 2] - values[0]) / max(losses[len(losses) // 2] - losses[0], 1e-12)
            return float(values[0] + slope * (loss - losses[0]))
        return float(np.interp(loss, losses, values))


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

        def choose(_: Array, losses: Array) -> Array:
            self._decide(losses, history, rng, found)
            return _filled(found.units[0])

        with _one_thread():
            hosting.suggest(self._names, _filled(history.units), history.losses, choose)
        return Ranking((self.encoder.point(row) for row in found.units), found.note)

    def promising(self, count: int) -> list[dict[str, Any]]:
        """Points that other experiments make expect good values, not close together."""
        cloud = qmc.Sobol(len(self._names), scramble=True, seed=np.random.default_rng(0)).random(_CLOUD)
        units = self.encoder.snap(cloud)
        features = self.encoder.features(units)
        means = self.transfer.mean(features, self.transfer.weights(features[:0], np.empty(0)))
        return [self.encoder.point(row) for row in _spread(units[np.argsort(means, kind="stable")], count, 0.2)]

    def ahead(self, linked: Linked, points: Sequence[Mapping[str, Any]]) -> tuple[Array, Array]:
        """What whole trainings at ``points`` would give: losses and their variances, each shape (n,)."""
        units = self.encoder.snap(self.encoder.units(points))
        with _one_thread():
            return drift.ahead(linked, self.encoder.features(units), self.encoder.groups)

    def effects(self, history: History) -> list[Effect]:
        """What the model believes each parameter does; nothing if too few whole trainings tell the metric's scale."""
        history = history.distinct()
        units = self.encoder.snap(history.units)
        warped = warp(history.losses, crowding(units))
        plain = replace(history, pending=units[:0], failed=units[:0], log_seconds=None)

        def metric(value: float) -> float:
            return history.metric(warped.loss(value)) or 0.0

        if history.metric(0.0) is None:
            return []
        with _one_thread():
            goal, _ = self._goal(units, warped, plain)
            found = [effect(goal, units, self._names, name, metric) for name in self._names]
        return [one for one in found if one is not None]

    def _source(self, source: Earlier, sign: float) -> tuple[Array, Array]:
        known = [seen for seen in source.observations if seen.has_value]
        return self.encoder.units([seen.point for seen in known]), np.array([sign * (s.value or 0.0) for s in known])

    def _decide(self, losses: Array, history: History, rng: np.random.Generator, found: _Found) -> None:
        """Fill in snapped units of candidates, best first, and why the first one is."""
        units = self.encoder.snap(history.units)
        warped = warp(losses, crowding(units))
        goal, means = self._goal(units, warped, history)
        best = units[np.argsort(means, kind="stable")[:_BASES]]
        pool = history.left if history.left is not None else self._pool(best, rng)
        found.units, values = self._order(goal, pool, polished=history.left is None)
        found.note = self._note(goal, found.units[0], float(values[0]), warped, history)

    def _goal(self, units: Array, warped: Warped, history: History) -> tuple[Goal, Array]:
        """The acquisition function, and the model's means at the trials."""
        features, groups = self.encoder.features(units), self.encoder.groups
        extra = np.minimum(np.sqrt(history.variances) * warped.stretch, _MOST_NOISE) ** 2
        transfer, shift = None, np.zeros(len(units))
        if self.transfer:
            transfer = (self.transfer, self.transfer.weights(features, warped.values))
            shift = self.transfer.mean(features, transfer[1])
        rest = warped.values - shift
        objective = Posterior(fit(features, rest, groups, extra=extra), features, rest, extra)
        means = objective.mean(features) + shift
        goal = Goal(
            self.encoder,
            objective.believe(self.encoder.features(self.encoder.snap(history.pending))),
            float(means.min()) - _WORTH,
            success=self._success(features, history),
            belief=(self.belief, self.belief.weight(len(units), history.trials)) if self.belief else None,
            transfer=transfer,
            cost=self._cost(features, history),
        )
        return goal, means

    def _success(self, features: Array, history: History) -> Success | None:
        if not len(history.failed):
            return None
        failed = self.encoder.features(self.encoder.snap(history.failed))
        labels = np.append(np.ones(len(features)), np.zeros(len(failed)))
        return Success(np.vstack([features, failed]), labels, self.encoder.groups)

    def _cost(self, features: Array, history: History) -> Posterior | None:
        if history.log_seconds is None or np.ptp(history.log_seconds) < 0.05:
            return None
        centred = history.log_seconds - history.log_seconds.mean()
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

    def _note(self, goal: Goal, unit: Array, value: float, warped: Warped, history: History) -> dict[str, Any]:
        """Why the point is proposed, in the user's terms."""
        mean, deviation = (float(part[0]) for part in goal.predict(self.encoder.features(unit[None, :])))
        better = mean < goal.best + _WORTH
        deviation = math.hypot(deviation, math.sqrt(goal.objective.kernel.noise))  # what comes is noisy, too
        expected = [history.metric(warped.loss(mean + shift * deviation)) for shift in (0.0, -1.0, 1.0)]
        facts: dict[str, Any] = {"why": "exploit" if better else "explore"}
        numbers = [_short(value) for value in expected if value is not None]
        if numbers:
            facts |= {"predicted": numbers[0], "low": min(numbers[1:]), "high": max(numbers[1:])}
        counts = {"observations": len(history.units), "pending": len(history.pending), "failed": len(history.failed)}
        return facts | {"acquisition": _short(value)} | counts


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
