"""Which results the model learns from: of a training some of its reports, of many trials the good and the late."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

_RATIO = 2.0


def thin(losses: Array, most: int) -> Rows:
    """Indices of at most ``most`` results: the best half, the latest quarter and an even spread of the rest."""
    count = len(losses)
    if count <= most:
        return np.arange(count)
    ranked = np.argsort(losses, kind="stable")
    kept = set(ranked[: most // 2].tolist()) | set(range(count - most // 4, count))
    rest = [i for i in ranked.tolist() if i not in kept]
    room = most - len(kept)
    kept |= {rest[k * len(rest) // room] for k in range(room)} if room > 0 and rest else set()
    return np.array(sorted(kept), dtype=np.intp)


def levels(max_iterations: int) -> list[int]:
    """Iterations at which a trial's progress counts: twice as many at each step, the last one last."""
    found = [1]
    while found[-1] * _RATIO < max_iterations:
        found.append(round(found[-1] * _RATIO))
    return found if found[-1] == max_iterations else [*found, max_iterations]


def budget(iterations: int, max_iterations: int) -> float:
    """Iterations as the model sees them: 0 is the first one, 1 a whole training."""
    return min(1.0, math.log(max(iterations, 1)) / math.log(max_iterations)) if max_iterations > 1 else 1.0


def bounded(reached: Sequence[int], losses: Array, most: int) -> Rows:
    """Indices of at most ``most`` values, of each level as many as of another, or all where there are fewer.

    Args:
        reached: the level of each value.
        losses: the values, shape (n,); of a level with too many, :func:`thin` keeps the good and the late.
        most: values in all.
    """
    if len(losses) <= most:
        return np.arange(len(losses))
    levels = np.asarray(reached)
    kept: list[Rows] = []
    groups = sorted((np.flatnonzero(levels == level) for level in np.unique(levels)), key=len)
    for place, group in enumerate(groups):
        room = (most - sum(map(len, kept))) // (len(groups) - place)
        kept.append(group[thin(losses[group], room)])
    return np.sort(np.concatenate(kept))
