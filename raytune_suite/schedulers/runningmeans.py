"""The running means that the median rule compares with, kept so that each report costs little.

The mean of a trial at iteration t is that of its reports up to t. It does not change once the trial is beyond t, so for
every iteration that was ever asked about, the means of those beyond it are kept in order; the median is then at hand.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Hashable

import numpy as np


class RunningMeans:
    """The reports of every trial, and the running means of all at each iteration that was asked about.

    ``grace``: reports before it do not count in a mean.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._times: dict[Hashable, list[float]] = {}
        self._values: dict[Hashable, list[float]] = {}
        self._asked: list[float] = []
        self._at: dict[float, _Slot] = {}

    def rewind(self, trial: Hashable, time: float) -> None:
        """Forget what the trial reported at ``time`` and later."""
        times = self._times.get(trial, [])
        keep = bisect_left(times, time)
        if keep == len(times):
            return
        del times[keep:], self._values[trial][keep:]
        last = times[-1] if times else -math.inf
        for slot in self._slots(last, math.inf):
            slot.remove(trial)

    def add(self, trial: Hashable, time: float, value: float) -> None:
        """Note a report; times of one trial do not fall, an equal one counts again."""
        times, values = self._times.setdefault(trial, []), self._values.setdefault(trial, [])
        before = times[-1] if times else -math.inf
        times.append(time)
        values.append(value)
        for asked in self._asked[bisect_right(self._asked, before) : bisect_right(self._asked, time)]:
            self._at[asked].put(trial, self._mean(trial, asked))
        if before == time and time in self._at:
            self._at[time].put(trial, self._mean(trial, time))

    def others(self, trial: Hashable, time: float) -> tuple[float, int]:
        """The median of the finite running means at ``time`` of the others that are beyond it, and their number.

        The median of nobody is NaN.
        """
        if time not in self._at:
            insort(self._asked, time)
            self._at[time] = slot = _Slot()
            for other, times in self._times.items():
                if times and times[-1] >= time:
                    slot.put(other, self._mean(other, time))
        return self._at[time].median_without(trial)

    def _slots(self, above: float, up_to: float) -> list[_Slot]:
        times = self._asked[bisect_right(self._asked, above) : bisect_right(self._asked, up_to)]
        return [self._at[time] for time in times]

    def _mean(self, trial: Hashable, time: float) -> float:
        times = self._times[trial]
        scope = self._values[trial][bisect_left(times, self._grace) : bisect_right(times, time)]
        return float(np.mean(scope)) if scope else math.nan


class _Slot:
    """Finite means in order, and whose they are."""

    def __init__(self) -> None:
        self._of: dict[Hashable, float] = {}
        self._ranked: list[float] = []

    def put(self, trial: Hashable, mean: float) -> None:
        self.remove(trial)
        if math.isfinite(mean):
            self._of[trial] = mean
            insort(self._ranked, mean)

    def remove(self, trial: Hashable) -> None:
        mean = self._of.pop(trial, None)
        if mean is not None:
            del self._ranked[bisect_left(self._ranked, mean)]

    def median_without(self, trial: Hashable) -> tuple[float, int]:
        own = self._of.get(trial)
        left_out = bisect_left(self._ranked, own) if own is not None else len(self._ranked)
        size = len(self._ranked) - (own is not None)
        if not size:
            return math.nan, 0
        middle = [self._ranked[i + (i >= left_out)] for i in ((size - 1) // 2, size // 2)]
        return (middle[0] + middle[1]) / 2 if size % 2 == 0 else middle[0], size
