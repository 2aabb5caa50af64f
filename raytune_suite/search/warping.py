"""Outputs as the model sees them: the better half as it is, the worse half by rank, the crowd counted once.

Where trainings of all lengths are compared, losses span their whole way down, and differences of the good ones would
vanish beside it: there they are stretched, by the logarithm of the distance to a little below the best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Array = npt.NDArray[np.float64]

_BELOW = 0.1
"""How far below the best loss the logarithm's zero lies, in distances of the best from the middle."""


def crowding(units: Array, radius: float = 0.1) -> Array:
    """Weights of observations, shape (n,): one over how many lie within ``radius`` of each in every parameter.

    A search spends half its trials around its favourite; by these weights that place counts as one.
    """
    filled = np.where(np.isnan(units), -1.0, units)
    close = np.ones((len(units), len(units)), dtype=bool)
    for column in filled.T:
        close &= np.abs(column[:, None] - column[None, :]) <= radius
    weights: Array = 1.0 / close.sum(1)
    return weights


@dataclass(frozen=True)
class Warped:
    """Outputs for the model: ``values`` (n,), and how much a small difference of losses is stretched there, (n,)."""

    values: Array
    losses: Array
    stretch: Array

    def loss(self, value: float) -> float:
        """The loss that a value stands for: between those known by interpolation, below the best as it is stretched."""
        best = int(np.argmin(self.losses))
        if value < self.values[best]:
            return float(self.losses[best] + (value - self.values[best]) / self.stretch[best])
        order = np.argsort(self.values, kind="stable")
        return float(np.interp(value, self.values[order], self.losses[order]))


def warp(losses: Array, weights: Array, bent: bool = False) -> Warped:
    """Losses with the worse half replaced by normal scores of its ranks, centred and scaled.

    A diverged 1e9 then weighs no more than the rank it has, while the good half keeps its shape (as in the
    Vizier GP bandit, Song et al., 2024). Halves, mean and scale go by ``weights``, so that they stay what they are
    while trials crowd around the best point: there, plain ones would blow noise up to the size of the signal.
    ``bent`` stretches the good half towards the best.
    The values have weighted mean 0 and weighted standard deviation 1 (0 if all losses are equal).
    """
    order = np.argsort(losses, kind="stable")
    middle = losses[order[np.searchsorted(np.cumsum(weights[order]), 0.5 * weights.sum())]]
    good = losses <= middle
    with np.errstate(over="ignore"):
        shifted = losses - middle
    reach = float(-shifted.min())
    if not math.isfinite(reach):
        values, factor = _standard(_half_scores(losses, weights) - 1.0, weights)
        return Warped(values, losses, np.full(len(losses), factor))
    warped = shifted / reach if reach > 0.0 else np.zeros_like(shifted)
    slopes = np.ones_like(warped)
    if bent:
        distance = np.where(good, warped, 0.0) + 1.0 + _BELOW
        slopes = 1.0 / distance
        warped = np.log(distance / (1.0 + _BELOW))
    scale = math.sqrt(float(np.average(warped[good] ** 2, weights=weights[good]))) or 1.0
    if not good.all():
        warped[~good] = scale * _half_scores(losses[~good], weights[~good])
    values, factor = _standard(warped, weights)
    return Warped(values, losses, np.maximum(factor * slopes / (reach or 1.0), 1e-300))


def _half_scores(losses: Array, weights: Array) -> Array:
    """Quantiles of the half-normal distribution by weighted rank; equal losses get equal ones."""
    _, place = np.unique(losses, return_inverse=True)
    mass = np.bincount(place, weights=weights)
    ranks = (np.cumsum(mass) - 0.5 * mass) / mass.sum()
    scores: Array = ndtri(0.5 + 0.5 * ranks)[place]
    return scores


def _standard(values: Array, weights: Array) -> tuple[Array, float]:
    """Values centred and scaled, and the factor of the scaling."""
    centred: Array = values - np.average(values, weights=weights)
    spread = math.sqrt(float(np.average(centred**2, weights=weights)))
    return (centred / spread, 1.0 / spread) if spread > 1e-12 else (0.0 * centred, 1.0)
