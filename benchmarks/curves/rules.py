"""The two rules of asynchronous successive halving (Li et al., 2018, https://arxiv.org/abs/1810.05934), and none.

A rule is told the loss of a trial at an iteration and answers what the trial does next; a free worker asks it for
a paused trial to go on with before it asks the searcher for a new one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import numpy as np

Action = Literal["continue", "stop", "pause"]


class Rule(Protocol):
    """What decides about running trials."""

    def report(self, trial: int, iteration: int, loss: float) -> Action:
        """What a trial does after ``iteration``, which is not the last one; ``loss`` may be inf."""
        ...

    def resume(self) -> int | None:
        """A paused trial that a free worker goes on with, None for a new trial."""
        ...


class Never:
    """Every trial runs to its end."""

    def report(self, trial: int, iteration: int, loss: float) -> Action:
        return "continue"

    def resume(self) -> int | None:
        return None


class Stopping:
    """Ray's rule: a trial ends at a rung if it is worse than the best 1/factor of those that were there before it.

    A loss that is not finite ends the trial and is not recorded, as in the suite.
    """

    def __init__(self, rungs: Sequence[int], factor: float) -> None:
        self._factor = factor
        self._recorded: dict[int, list[float]] = {rung: [] for rung in rungs}

    def report(self, trial: int, iteration: int, loss: float) -> Action:
        if not math.isfinite(loss):
            return "stop"
        before = self._recorded.get(iteration)
        if before is None:
            return "continue"
        cutoff = np.percentile(before, 100.0 / self._factor) if before else math.inf
        before.append(loss)
        return "stop" if loss > cutoff else "continue"

    def resume(self) -> int | None:
        return None


class Promotion:
    """Algorithm 2 of the paper: every trial pauses at a rung; a free worker promotes from the highest rung that can.

    A trial can be promoted once it is among the best ``floor(n / factor)`` of the n that its rung has seen.
    """

    def __init__(self, rungs: Sequence[int], factor: float) -> None:
        self._factor = factor
        self._seen: dict[int, list[tuple[float, int]]] = {rung: [] for rung in rungs}
        self._promoted: dict[int, set[int]] = {rung: set() for rung in rungs}

    def report(self, trial: int, iteration: int, loss: float) -> Action:
        if not math.isfinite(loss):
            return "stop"
        if iteration not in self._seen:
            return "continue"
        self._seen[iteration].append((loss, trial))
        return "pause"

    def resume(self) -> int | None:
        for rung in sorted(self._seen, reverse=True):
            ranked = sorted(self._seen[rung])
            for _, trial in ranked[: int(len(ranked) / self._factor)]:
                if trial not in self._promoted[rung]:
                    self._promoted[rung].add(trial)
                    return trial
        return None


def rungs(iterations: int, grace: int = 1, factor: int = 3) -> list[int]:
    """``grace``, ``grace * factor``, ... below ``iterations``."""
    found, rung = [], grace
    while rung < iterations:
        found.append(rung)
        rung *= factor
    return found


RULES: dict[str, Callable[[int], Rule]] = {
    "none": lambda _: Never(),
    "stop": lambda iterations: Stopping(rungs(iterations), 3),
    "promotion": lambda iterations: Promotion(rungs(iterations), 3),
    "halves": lambda iterations: Promotion(rungs(iterations, factor=2), 2),
}
"""By name, for whole curves of so many iterations."""
