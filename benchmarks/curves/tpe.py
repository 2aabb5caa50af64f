"""Optuna's TPE on a grid: parameters are the ordinals of their values, with four ways of telling it of early stops.

* ``last``: a trial is told when it ends, a stopped one as if its last value were final (what Ray's OptunaSearch does);
* ``pruned``: every report is passed on and a stopped trial is pruned (Optuna's own way);
* ``first``: a trial is told once, with its value at the first rung; what it does later is not told;
* ``rungs``: a model for each rung, and the one of the highest rung with enough values is asked (BOHB's rule: Falkner
  et al., 2018, https://arxiv.org/abs/1807.01774).

TPE with its defaults (multivariate, constant liar; parameters grouped where there are conditions) would soon propose
little but what trials have already; its candidates are therefore drawn from what is left: benchmarks/curves/grid.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import Trial, TrialState, create_trial

from benchmarks.curves.grid import Grid, UnseenEstimator
from benchmarks.curves.rules import rungs
from raytune_suite.search import Observation
from raytune_suite.space import Space
from raytune_suite.states import State

TELLINGS = ("last", "pruned", "first", "rungs")
_TRIES = 10
"""Parts of a conditional configuration are drawn apart, so that the whole may be known; then a random one is given."""

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


@dataclass(frozen=True)
class Proposal:
    """A point to try."""

    point: dict[str, Any]


class Tpe:
    """Asked and told like the suite's searchers.

    Args:
        space: a finite one.
        seed: of the sampler.
        first: points to begin with.
        telling: one of :data:`TELLINGS`.
        iterations: the length of a whole training.
    """

    def __init__(self, space: Space, seed: int, first: Sequence[Mapping[str, Any]], telling: str, iterations: int):
        self._grid, self._first, self._seed = Grid(space), first, seed
        at = [*rungs(iterations), iterations] if telling == "rungs" else [0]
        self._studies = {rung: self._study(seed + 1000 * rung) for rung in at}
        self._open: dict[int, tuple[int, Trial]] = {}
        tellings = {"last": self._last, "pruned": self._pruned, "first": self._first_value, "rungs": self._rungs}
        self.tell = tellings[telling]

    def ask(self, number: int) -> Proposal | None:
        """The next point that no trial has; None if there is none."""
        if not self._grid.left.any():
            return None
        rung = self._rung()
        if number < len(self._first):
            row, trial = self._placed(rung, self._grid.row(self._first[number]))
        else:
            row, trial = self._new(rung) or self._placed(rung, self._random(number))
        self._grid.left[row] = False
        self._open[number] = rung, trial
        return Proposal(self._grid.points[row])

    def _last(self, seen: Observation) -> None:
        if seen.state.ended:
            self._close(seen.number, value=seen.value)

    def _pruned(self, seen: Observation) -> None:
        if seen.state is State.RUNNING:
            self._open[seen.number][1].report(float(seen.value or 0.0), seen.iteration)
        elif seen.state is State.COMPLETED:
            self._close(seen.number, value=seen.value)
        else:
            self._close(seen.number, state=TrialState.PRUNED)

    def _first_value(self, seen: Observation) -> None:
        if seen.number in self._open:
            self._close(seen.number, value=seen.value)

    def _rungs(self, seen: Observation) -> None:
        if seen.state is State.RUNNING and seen.iteration in self._studies:
            if self._open.get(seen.number, (0, None))[0] == seen.iteration:
                self._close(seen.number, value=seen.value)
            else:
                self._add(self._studies[seen.iteration], seen)
        elif seen.state.ended and seen.number in self._open:
            self._close(seen.number, state=TrialState.FAIL)  # never got to the rung whose model proposed it

    def _close(self, number: int, value: float | None = None, state: TrialState | None = None) -> None:
        rung, trial = self._open.pop(number)
        self._studies[rung].tell(trial, value, state=state)

    def _add(self, study: optuna.Study, seen: Observation) -> None:
        params = self._grid.params(seen.point)
        distributions = {name: self._grid.distributions[name] for name in params}
        study.add_trial(create_trial(params=params, distributions=distributions, value=seen.value))

    def _rung(self) -> int:
        """The highest rung with at least d + 3 values, or the lowest."""
        enough = len(self._grid.names) + 3
        full = [rung for rung, study in self._studies.items() if _told(study) >= enough]
        return max(full, default=min(self._studies))

    def _new(self, rung: int) -> tuple[int, Trial] | None:
        for _ in range(_TRIES):
            trial = self._studies[rung].ask()
            row = self._grid.suggest(trial)
            if self._grid.left[row]:
                return row, trial
            self._studies[rung].tell(trial, state=TrialState.FAIL)
        return None

    def _random(self, number: int) -> int:
        return int(np.random.default_rng([self._seed, number]).choice(np.flatnonzero(self._grid.left)))

    def _placed(self, rung: int, row: int) -> tuple[int, Trial]:
        self._studies[rung].enqueue_trial(self._grid.params(self._grid.points[row]))
        trial = self._studies[rung].ask()
        return self._grid.suggest(trial), trial

    def _study(self, seed: int) -> optuna.Study:
        class OfThisGrid(UnseenEstimator):
            grid = self._grid

        sampler = optuna.samplers.TPESampler(seed=seed, group=self._grid.conditional, multivariate=True)
        sampler._parzen_estimator_cls = OfThisGrid
        return optuna.create_study(sampler=sampler)


def _told(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
