"""Bayesian search: a Gaussian process over the space, expected improvement, points in flight.

Hosted on bayesian-optimization (:mod:`raytune_suite.search.hosting`). What a suggestion rests on:

* the latest value of every trial, running ones too. As soon as some of them are not of whole trials only their order
  counts, as normal scores of the ranks (warped outputs: Snelson et al., 2004; by rank: Salinas et al., 2020): how far
  a value of iteration 1 lies from a final one means nothing, that it is worse does. A region whose trials are stopped
  at the first rung therefore looks as bad as it is. A model with the budget as an input predicts how such trials
  would end instead, is never contradicted, and proposes them again and again. The price: a metric that worsens with
  the iterations makes trials look good that were stopped early;
* trials in flight, believed to come out as predicted, so that the next point is another one;
* trials that failed, in a model of their own that keeps away from where trials fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from raytune_suite.search.core import Observation, Point, Searcher, SearchOptions, Suggestion
from raytune_suite.search.random import SobolCover
from raytune_suite.space import Space

Array = npt.NDArray[np.float64]

_MOST = 400
"""More results than this are thinned out: time per suggestion stays bounded."""
_FEWEST = 3


class BayesianOptions(SearchOptions):
    """``initial_points``: trials spread evenly before the model is asked (default: 10, a quarter of few)."""

    initial_points: int | None = Field(default=None, ge=1)


@dataclass(frozen=True)
class History:
    """What the model knows: units (n, parameters), losses (n,); pending and failed units.

    ``partial``: some of the losses are of trials that were stopped early or still run.
    """

    units: Array
    losses: Array
    partial: bool
    pending: Array
    failed: Array


class BayesianSearcher(Searcher):
    """Gaussian-process search; see the module."""

    name: ClassVar[str] = "bayesian"
    learns: ClassVar[bool] = True
    Options: ClassVar[type[SearchOptions]] = BayesianOptions
    options: BayesianOptions

    def __init__(self, space: Space, **settings: Any) -> None:
        super().__init__(space, **settings)
        self._cover = SobolCover(space, self.seed)
        self._engine: Any = None

    def prepare(self) -> None:
        """Import the model and the package that hosts it (over a second)."""
        from raytune_suite.search import hosting  # noqa: F401
        from raytune_suite.search.engine import Engine

        self._engine = self._engine or Engine(self.space)

    @property
    def initial_points(self) -> int:
        """How many trials come from the design rather than from the model."""
        if self.options.initial_points is not None:
            return self.options.initial_points
        return 10 if self.num_trials is None else max(4, min(10, self.num_trials // 4))

    def suggest(self, number: int, rng: np.random.Generator) -> Point | Suggestion | None:
        """A point of the design at first, then the one of the largest expected improvement."""
        known = [found for found in self.observed.values() if found.has_value]
        if number < self.initial_points or len(known) < _FEWEST or not self.space.parameters:
            return self._design(number, rng)
        self.prepare()
        history = self._history(known)
        ranking = self._engine.rank(history, rng)
        for point in ranking.points:
            if not self.seen(point) and self.space.feasible(point):
                return Suggestion(number, point, "model", ranking.note)
        return self._random(number, rng)

    def _design(self, number: int, rng: np.random.Generator) -> Suggestion | None:
        point = self._cover.point(number)
        if self.space.feasible(point) and not self.seen(point):
            return Suggestion(number, point, "design")
        return self._random(number, rng)

    def _random(self, number: int, rng: np.random.Generator) -> Suggestion | None:
        point = self.unseen(rng)
        return None if point is None else Suggestion(number, point, "random")

    def _history(self, known: list[Observation]) -> History:
        known = thin(known, self.loss, _MOST)
        failed = [found.point for found in self.observed.values() if _failed(found)]
        units = self._engine.encoder.units
        return History(
            units=units([found.point for found in known]),
            losses=np.array([self.loss(found.value or 0.0) for found in known]),
            partial=any(self._partial(found) for found in known),
            pending=units(list(self.pending.values())),
            failed=units(failed[-_MOST:]),
        )

    def _partial(self, found: Observation) -> bool:
        return found.state != "completed" and found.iteration < self.max_iterations


def _failed(found: Observation) -> bool:
    """A trial that ended without a usable value, whatever its state says."""
    return found.state.ended and not found.has_value


def thin(known: list[Observation], loss: Any, most: int) -> list[Observation]:
    """At most ``most`` observations: the best half, the latest quarter and an even spread of the rest."""
    if len(known) <= most:
        return known
    ranked = sorted(range(len(known)), key=lambda i: (loss(known[i].value), i))
    kept = set(ranked[: most // 2]) | set(range(len(known) - most // 4, len(known)))
    rest = [i for i in ranked if i not in kept]
    room = most - len(kept)
    kept |= {rest[k * len(rest) // room] for k in range(room)} if room > 0 and rest else set()
    return [known[i] for i in sorted(kept)]
