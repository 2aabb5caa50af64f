"""What trials that were stopped early, or still run, say about a whole training.

Every report counts. Trials are compared where they can be: at the same iteration. At the first level all have a value;
from each level to the next, the trials that have both tell how values there are to be read on the scale before (their
middle and their spread are made to agree), so that a chain of such links puts a trial stopped at iteration 1 and one
that ran to the end on one scale: that of *how good among all trials*, not of the metric. This is the chain-ladder idea
of insurance (Mack, 1993) on robust moments. How far trials moved from one level to the next, against each other, is the
uncertainty that a value of an early level carries.

Each link is drawn towards "nothing changes" while few trials have crossed it. A region whose trials are all stopped at
the first rung therefore looks as bad as it is there, however much a model of whole curves would promise for it; a
metric that worsens with the iterations misleads nobody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Curve = Mapping[int, float]
"""The losses of a trial by iteration, ascending."""

_RATIO = 1.5
_TRUST = 3.0
"""A link made of this many trials is believed by half."""
_PRIOR_MOVE = 0.3
"""Trials are first expected to move this much from one level to the next, in units of their spread."""


@dataclass(frozen=True)
class Linked:
    """Trials on one scale.

    Attributes:
        losses: shape (n,), as of the last level each has reached.
        variances: of what a whole training would give, shape (n,).
        drift: how far each moved against the others, in units of what was usual on its way, shape (n,); NaN if it has
            crossed no level yet.
        ahead: how far it is usual to move on what lies ahead of each, shape (n,).
    """

    losses: Array
    variances: Array
    drift: Array
    ahead: Array


def levels(max_iterations: int) -> list[int]:
    """Iterations at which curves are compared: about one and a half times as many at each step, the last one last."""
    found, at = [1], 1.0
    while at * _RATIO < max_iterations:
        at *= _RATIO
        if round(at) > found[-1]:
            found.append(round(at))
    return found if found[-1] == max_iterations else [*found, max_iterations]


def link(curves: Sequence[Curve], at: Sequence[int]) -> Linked:
    """Put trials of different lengths on one scale.

    Args:
        curves: at least one value each.
        at: the :func:`levels` at which they are compared.
    """
    table = _table(curves, at)
    scale = _spread(table[:, 0])
    places = _robust(table[:, 0], float(np.nanmedian(table[:, 0])), scale)
    reached = np.zeros(len(curves), dtype=np.intp)
    moves: list[float] = []
    moved, way = np.zeros(len(curves)), np.zeros(len(curves))
    for level in range(1, table.shape[1]):
        crossed = ~np.isnan(table[:, level])
        if not crossed.any():
            break
        before = places[crossed]
        after = _linked(table[crossed, level], before)
        moves.append(_moved(before, after))
        moved[crossed] += after - before
        way[crossed] += math.sqrt(moves[-1])
        places[crossed] = after
        reached[crossed] = level
    with np.errstate(invalid="ignore"):
        drift = moved / way
    return Linked(places, _remaining(moves)[reached], drift, _remaining([math.sqrt(move) for move in moves])[reached])


def _remaining(steps: Sequence[float]) -> Array:
    """The sums of all steps from each on, shape (len(steps) + 1,)."""
    return np.append(np.cumsum(steps[::-1])[::-1], 0.0)


def _table(curves: Sequence[Curve], at: Sequence[int]) -> Array:
    """Losses at levels, shape (trials, levels); NaN beyond the end of a trial. The first level is each one's first."""
    table = np.full((len(curves), len(at)), np.nan)
    for row, curve in enumerate(curves):
        iterations = sorted(curve)
        for column, level in enumerate(at):
            if level <= iterations[-1]:
                known = [i for i in iterations if i <= level] or iterations[:1]
                table[row, column] = curve[known[-1]]
        if iterations[-1] < at[0]:
            table[row, 0] = curve[iterations[-1]]
    return table


def _linked(values: Array, before: Array) -> Array:
    """Values of a level on the scale of the places that the same trials had before."""
    spread = _spread(values)
    if len(values) < 2 or spread == 0.0:
        return before.copy()
    here = _robust(values, float(np.median(values)), spread)
    moved = float(np.median(before)) + max(_spread(before), 1e-3) * here
    trust = len(values) / (len(values) + _TRUST)
    linked: Array = before + trust * (moved - before)
    return linked


def _moved(before: Array, after: Array) -> float:
    """The variance with which trials move from a level to the next, drawn to a prior while few have."""
    own = float(((after - before) ** 2).sum())
    return (own + _TRUST * _PRIOR_MOVE**2) / (len(before) + _TRUST)


def _spread(values: Array) -> float:
    """The mean distance of the better half from the median; of all, if the better half is one value."""
    known = values[~np.isnan(values)]
    middle = float(np.median(known))
    with np.errstate(over="ignore", invalid="ignore"):
        spread = float(np.mean(middle - known[known <= middle])) if len(known) else 0.0
    if spread > 0.0 and np.isfinite(spread):
        return spread
    rest = known - middle
    return float(np.median(np.abs(rest[rest != 0.0]))) if (rest != 0.0).any() else 0.0


def _robust(values: Array, middle: float, spread: float) -> Array:
    """Values around 0 in units of their spread; bad ones ever less, so that a diverged trial is no more than bad."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (values - middle) / (spread or 1.0)
    scaled = np.clip(scaled, -1e6, 1e6)
    robust: Array = np.where(scaled > 0.0, np.log1p(np.maximum(scaled, 0.0)), scaled)
    return robust
