"""Whether a suggestion is made before its slot is free.

Freshness comes first: a suggestion is begun when the result of the trial before it is known. Only where that would
leave slots idle for a share of their time that counts, and a slot is about to become free, is one made ahead.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable

WORTH = 0.05
"""Less of a trial's time than this is not worth a suggestion that knows one result less."""
_NEXT_LOOK_S = 0.1
"""The driver asks again after this time at the latest."""
_REMEMBERED = 50
_FEWEST = 3


class Forecast:
    """When a slot is likely to become free, judging by how long the latest trials have held theirs.

    ``clock`` tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: dict[int, float] = {}
        self._latest: deque[float] = deque(maxlen=_REMEMBERED)
        self._sorted: list[float] = []

    def began(self, number: int) -> None:
        """Trial ``number`` has got its slot."""
        self._began[number] = self._clock()

    def left(self, number: int) -> None:
        """Trial ``number`` has given its slot back; nothing if it had none."""
        began = self._began.pop(number, None)
        if began is None:
            return
        if len(self._latest) == _REMEMBERED:
            self._sorted.remove(self._latest[0])
        self._latest.append(self._clock() - began)
        insort(self._sorted, self._latest[-1])

    def remaining_s(self) -> float:
        """Seconds until the first slot becomes free; infinite if nothing is known.

        A trial of age a is expected to last for as long as half of the trials that got older than a did.
        """
        now = self._clock()
        return min((self._remaining(now - began) for began in self._began.values()), default=math.inf)

    def worth(self, seconds: float) -> bool:
        """Whether a suggestion that takes so many seconds is to be begun now, with no slot free."""
        if len(self._sorted) < _FEWEST or seconds < WORTH * self._sorted[len(self._sorted) // 2]:
            return False
        return self.remaining_s() < seconds + _NEXT_LOOK_S

    def _remaining(self, age: float) -> float:
        older = bisect_right(self._sorted, age)
        if older == len(self._sorted):
            return math.inf
        return self._sorted[(older + len(self._sorted)) // 2] - age
