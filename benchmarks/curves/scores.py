"""Scores of one task: losses along time, and how much sooner an arm reaches what random search with ASHA ends with.

* Score of a loss: 0 is the best of the table, 1 the median best of ten whole trainings of random configurations.
* The level is the upper median over seeds of the final best loss of random/stop: at least half of its own seeds reach
  it, many of them late. Few configurations of a table get there; a level that a larger share of them reaches can be
  asked for instead, and depends less on chance.
* Time to the level: fractions of the horizon. A run that does not reach it counts as 1 in the restricted mean
  (Royston and Parmar, 2013), for every arm alike, which understates how slow an arm is; the median has no such bound
  and is the horizon or more where fewer than half of the runs get there.
* Speed-up: ratio of two arms' restricted means. Intervals are 95 % bootstrap intervals over seeds, the level included;
  runs of one seed are drawn together where both arms have them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from benchmarks.curves.results import Result
from benchmarks.curves.table import Table

Array = npt.NDArray[np.float64]
YARDSTICK = "random/stop"
FRACTIONS = (0.125, 0.25, 0.5, 1.0)
_DRAWS = 2000


@dataclass(frozen=True)
class Speedup:
    """A ratio of times with its 95 % interval; above 1: faster."""

    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.ratio:.2f} ({self.low:.2f} to {self.high:.2f})"


class Scores:
    """The results of one task with one number of workers, by arm and seed.

    ``share``: of the configurations that reach the level; None: random/stop's median.
    """

    def __init__(self, table: Table, results: Sequence[Result], share: float | None = None) -> None:
        self.table = table
        self._fixed = None if share is None else float(np.quantile(table.losses.min(1), share, method="lower"))
        self._runs: dict[str, dict[int, Result]] = {}
        for result in results:
            self._runs.setdefault(result.case.arm, {})[result.case.seed] = result
        self._unit = table.best_of(10) - table.best
        self._times: dict[tuple[str, int, float], float] = {}  # every draw asks for the same few

    @property
    def arms(self) -> list[str]:
        """All arms, as they came."""
        return list(self._runs)

    def runs(self, arm: str) -> list[Result]:
        """The studies of an arm by seed."""
        return [result for _, result in sorted(self._runs[arm].items())]

    def score(self, losses: Array) -> Array:
        """Normalised: see the module."""
        normal: Array = (losses - self.table.best) / self._unit
        return normal

    def along(self, arm: str, fraction: float, column: int = 1) -> Array:
        """Scores of all seeds of an arm at a time; column 2: of the incumbents after whole trainings."""
        return self.score(np.array([run.loss(fraction, column) for run in self.runs(arm)]))

    @property
    def level(self) -> float:
        """The loss to be reached."""
        return self._level(list(self._last.values()))

    @cached_property
    def _last(self) -> dict[int, float]:
        """What the yardstick ends with, by seed."""
        return {seed: run.loss(1.0) for seed, run in self._runs[YARDSTICK].items()}

    def median_time(self, arm: str) -> float:
        """When half of the runs have reached the level; inf: they do not."""
        return upper_median([run.reaches(self.level) for run in self.runs(arm)])

    def restricted_mean(self, arm: str) -> float:
        """Mean time to the level, the horizon for runs that do not reach it."""
        return self._restricted(arm, sorted(self._runs[arm]), self.level)

    def best_of(self, prefix: str, rule: str) -> str | None:
        """The arm of a family of searchers that is the fastest under a rule, chosen with hindsight."""
        arms = [arm for arm in self.arms if arm.startswith(prefix) and arm.endswith(f"/{rule}")]
        return min(arms, key=self.restricted_mean, default=None)

    def draws(self, arm: str, against: str) -> Array:
        """Bootstrap draws of the speed-up of ``arm`` over ``against``, shape (draws,)."""
        rng = np.random.default_rng(0)
        return np.array([self._drawn(arm, against, rng) for _ in range(_DRAWS)])

    def speedup(self, arm: str, against: str) -> Speedup:
        """How many times sooner ``arm`` reaches the level than ``against``."""
        ratio = self.restricted_mean(against) / self.restricted_mean(arm)
        low, high = np.quantile(self.draws(arm, against), [0.025, 0.975])
        return Speedup(ratio, float(low), float(high))

    def _drawn(self, arm: str, against: str, rng: np.random.Generator) -> float:
        """One draw: seeds are drawn once and used for every arm that has them; an arm with fewer draws its own."""
        seeds = sorted(self._runs[YARDSTICK])
        drawn = rng.choice(seeds, len(seeds))
        level = self._level([self._last[seed] for seed in drawn])
        return self._mean(against, drawn, level, rng) / self._mean(arm, drawn, level, rng)

    def _level(self, last: Sequence[float]) -> float:
        return upper_median(last) if self._fixed is None else self._fixed

    def _mean(self, arm: str, drawn: npt.NDArray[np.int_], level: float, rng: np.random.Generator) -> float:
        runs = self._runs[arm]
        if not all(seed in runs for seed in drawn):
            drawn = rng.choice(sorted(runs), len(runs))
        return self._restricted(arm, drawn, level)

    def _restricted(self, arm: str, seeds: Sequence[int] | npt.NDArray[np.int_], level: float) -> float:
        return float(np.mean([self._time(arm, int(seed), level) for seed in seeds]))

    def _time(self, arm: str, seed: int, level: float) -> float:
        key = (arm, seed, level)
        if key not in self._times:
            self._times[key] = min(1.0, self._runs[arm][seed].reaches(level))
        return self._times[key]


def pooled(scores: Sequence[Scores], arm: str, against: Sequence[str]) -> Speedup:
    """The geometric mean over tasks; ``against`` names the other arm of each."""
    pairs = list(zip(scores, against, strict=True))
    ratios = [s.restricted_mean(other) / s.restricted_mean(arm) for s, other in pairs]
    draws = np.exp(np.mean([np.log(s.draws(arm, other)) for s, other in pairs], axis=0))
    low, high = np.quantile(draws, [0.025, 0.975])
    return Speedup(math.exp(float(np.mean(np.log(ratios)))), float(low), float(high))


def upper_median(values: Sequence[float]) -> float:
    """The smallest value that at least half of the values do not exceed."""
    return sorted(values)[(len(values) + 1) // 2 - 1]
