"""One decision of the Bayesian searcher: fit, predict, rank candidates; a function of data and seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from raytune_suite.search import hosting
from raytune_suite.search.acquisition import Goal, Success, candidates, polish, scores, warp
from raytune_suite.search.encoding import Encoder
from raytune_suite.search.gp import Posterior, fit
from raytune_suite.space import Space

if TYPE_CHECKING:
    from raytune_suite.search.bayesian import History

Array = npt.NDArray[np.float64]

_CLOUD = 1024
_AROUND = 512
_POLISHED = 4
_BASES = 5


@dataclass(frozen=True)
class Ranking:
    """Points to try, best first (made one by one), and facts about how they were found."""

    points: Iterator[dict[str, Any]]
    note: dict[str, Any]


class Engine:
    """The model of one space."""

    def __init__(self, space: Space) -> None:
        self.encoder = Encoder(space)
        self._names = space.names

    def rank(self, history: History, rng: np.random.Generator) -> Ranking:
        """Candidates by acquisition value; the first is what bayes_opt was answered."""
        found: list[tuple[Array, Array]] = []

        def choose(rows: Array, losses: Array) -> Array:
            units, values = self._decide(rows, losses, history, rng)
            found.append((units, values))
            return _filled(units[0])

        rows = _filled(history.units)
        with _one_thread():
            first = hosting.suggest(self._names, rows, history.losses, choose)
        units, values = found[0]
        units[0] = self.encoder.snap(first[None, :])[0]
        note = {"acquisition": round(float(values[0]), 4), "observations": len(rows)}
        note |= {"pending": len(history.pending), "failed": len(history.failed)}
        return Ranking((self.encoder.point(row) for row in units), note)

    def _decide(self, rows: Array, losses: Array, history: History, rng: np.random.Generator) -> tuple[Array, Array]:
        """Snapped units of candidates and their acquisition values, best first."""
        units = self.encoder.snap(rows)
        features = self.encoder.features(units)
        values = scores(losses) if history.partial else warp(losses)
        posterior = Posterior(fit(features, values, self.encoder.groups), features, values)
        means = posterior.mean(features)
        goal = self._goal(posterior, float(means.min()), features, history)
        best = units[np.argsort(means, kind="stable")[:_BASES]]
        cloud = qmc.Sobol(units.shape[1], scramble=True, seed=rng).random(_CLOUD)
        pool = candidates(self.encoder, cloud, best, rng, _AROUND)
        return self._order(goal, pool)

    def _goal(self, posterior: Posterior, best: float, features: Array, history: History) -> Goal:
        pending = self.encoder.features(self.encoder.snap(history.pending))
        believed = posterior.believe(pending)
        success = None
        if len(history.failed):
            failed = self.encoder.features(self.encoder.snap(history.failed))
            labels = np.append(np.ones(len(features)), np.zeros(len(failed)))
            success = Success(np.vstack([features, failed]), labels, self.encoder.groups)
        return Goal(believed, best, success)

    def _order(self, goal: Goal, pool: Array) -> tuple[Array, Array]:
        values = goal(self.encoder.features(pool))
        order = np.argsort(-values, kind="stable")
        starts = _spread(pool[order], _POLISHED)
        polished = np.array([polish(goal, self.encoder, start) for start in starts])
        pool = np.vstack([polished, pool[order]])
        values = np.append(goal(self.encoder.features(polished)), values[order])
        order = np.argsort(-values, kind="stable")
        return pool[order], values[order]


def _filled(units: Array) -> Array:
    """Units with a neutral number where a parameter is inactive: what bayes_opt can hold."""
    return np.where(np.isnan(units), 0.5, units)


def _spread(rows: Array, count: int) -> list[Array]:
    """The first ``count`` rows that do not lie on top of each other."""
    kept: list[Array] = []
    for row in rows[:200]:
        if all(np.nanmax(np.abs(_filled(row) - _filled(other))) > 0.05 for other in kept):
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
