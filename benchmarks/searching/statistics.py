"""Intervals for means over tasks and seeds: the bootstrap resamples tasks first, then seeds within each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RESAMPLES = 4000


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def signed(self) -> str:
        """As a difference: with its sign."""
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def means(tasks: Sequence[Array]) -> Array:
    """The mean over tasks of the mean over seeds; each task is of shape (seeds, columns), the result (columns,)."""
    by_task: Array = np.array([task.mean(0) for task in tasks])
    mean: Array = by_task.mean(0)
    return mean


def resampled(tasks: Sequence[Array], resamples: int = RESAMPLES) -> Array:
    """Bootstrap :func:`means`: shape (resamples, columns). Columns stay together, so they are paired.

    A hierarchical bootstrap (Davison and Hinkley, 1997, section 3.8): tasks with replacement, then for each of
    the drawn tasks its seeds with replacement.
    """
    rng = np.random.default_rng(0)
    count = len(tasks)
    drawn = rng.integers(count, size=(resamples, count))
    total = np.zeros((resamples, tasks[0].shape[1]))
    for index, task in enumerate(tasks):
        rows, _ = np.nonzero(drawn == index)
        seeds = rng.integers(len(task), size=(len(rows), len(task)))
        np.add.at(total, rows, task[seeds].mean(1))
    return total / count


def estimate(tasks: Sequence[Array], figure: Callable[[Array], Array]) -> Estimate:
    """``figure`` of the means (it maps (..., columns) to (...)), with its 95 % bootstrap interval."""
    low, high = np.quantile(figure(resampled(tasks)), [0.025, 0.975])
    return Estimate(float(figure(means(tasks))), float(low), float(high))


def level(columns: Array) -> Array:
    """The first column."""
    return columns[..., 0]


def difference(columns: Array) -> Array:
    """The first column minus the second."""
    return columns[..., 0] - columns[..., 1]


def ratio(columns: Array) -> Array:
    """The first column over the second."""
    return columns[..., 0] / columns[..., 1]
