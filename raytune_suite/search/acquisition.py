"""What the model makes of its data: outputs warped, expected improvement, the search for its maximum.

Everything here minimises. Units and features are those of :mod:`raytune_suite.search.encoding`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import erfcx, log_ndtr, ndtri

from raytune_suite.search.encoding import Encoder
from raytune_suite.search.gp import Posterior, Prior, fit

Array = npt.NDArray[np.float64]

_LABELS = Prior(noise=(math.log(0.02), 1.0))
_LOG_ROOT_2PI = 0.5 * math.log(2.0 * math.pi)


def warp(losses: Array) -> Array:
    """Losses with the worse half replaced by normal scores of its ranks, centred and scaled.

    A diverged 1e9 then weighs no more than the rank it has, while the good half keeps its shape (as in the
    Vizier GP bandit, Song et al., 2024). The result has mean 0 and standard deviation 1 (0 if all are equal).
    """
    with np.errstate(over="ignore"):
        shifted = losses - np.median(losses)
    good = shifted <= 0.0
    reach = float(-shifted.min())
    if not math.isfinite(reach):
        return scores(losses)
    warped = shifted / reach if reach > 0.0 else np.zeros_like(shifted)
    scale = math.sqrt(float(np.mean(warped[good] ** 2))) or 1.0
    if not good.all():
        worse = losses[~good]
        ranks = np.searchsorted(np.unique(worse), worse) + 1.0
        warped[~good] = scale * ndtri(0.5 + 0.5 * ranks / (ranks.max() + 1.0))
    return _standard(warped)


def scores(losses: Array) -> Array:
    """Losses as normal scores of their ranks: nothing is left but their order. Scaled as by :func:`warp`."""
    ranks = np.searchsorted(np.unique(losses), losses) + 0.5
    return _standard(ndtri(ranks / (ranks.max() + 0.5)))


def _standard(values: Array) -> Array:
    spread = float(values.std())
    centred: Array = values - values.mean()
    return centred / spread if spread > 1e-12 else 0.0 * centred


def log_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """The log of the expected improvement below ``best``, accurate far into the tail (Ament et al., 2023)."""
    return np.log(deviation) + _log_h((best - mean) / deviation)


def _log_h(z: Array) -> Array:
    """log(phi(z) + z Phi(z)), element by element."""
    z = np.atleast_1d(np.asarray(z, dtype=float))
    result = np.empty_like(z)
    near, far = z > -1.0, z < -1e5
    middle = ~near & ~far
    x = z[near]
    result[near] = np.log(np.exp(-0.5 * x * x - _LOG_ROOT_2PI) + x * np.exp(log_ndtr(x)))
    x = z[middle]
    tail = np.log1p(-np.sqrt(0.5 * np.pi) * -x * erfcx(-x / math.sqrt(2.0)))
    result[middle] = -0.5 * x * x - _LOG_ROOT_2PI + tail
    x = z[far]
    result[far] = -0.5 * x * x - _LOG_ROOT_2PI - 2.0 * np.log(-x)
    return result


@dataclass(frozen=True)
class Goal:
    """The acquisition function: log expected improvement plus the log probability that a trial succeeds.

    ``objective`` has data and pending points in it, ``best`` is the lowest posterior mean, ``success`` the
    model of what fails (None: nothing ever failed).
    """

    objective: Posterior
    best: float
    success: Success | None

    def __call__(self, features: Array) -> Array:
        """Values at rows of features, shape (m,); higher is better."""
        mean, deviation = self.objective.predict(features)
        value = log_improvement(mean, deviation, self.best)
        return value if self.success is None else value + self.success.log_probability(features)

    def slope(self, row: Array) -> tuple[float, Array]:
        """Value and gradient of the expected improvement's part at one row of features."""
        mean, deviation, d_mean, d_deviation = self.objective.slope(row)
        z = (self.best - mean) / deviation
        log_h = float(_log_h(np.array([z]))[0])
        lower = math.exp(float(log_ndtr(z)) - log_h)
        density = math.exp(-0.5 * z * z - _LOG_ROOT_2PI - log_h)
        gradient = (density * d_deviation - lower * d_mean) / deviation
        return math.log(deviation) + log_h, gradient


class Success:
    """The probability that a trial gives a value, from those that did (1) and those that failed (0).

    A process over the labels, with length scales of its own: what makes a trial fail (memory, say) need not be
    what makes it good. Failures repel without a made-up objective value that would bend the model of the good.
    """

    def __init__(self, features: Array, labels: Array, groups: npt.NDArray[np.intp]) -> None:
        self._prior = (labels.sum() + 4.0) / (len(labels) + 4.5)
        self._scale = max(float(labels.std()), 0.1)
        values = (labels - self._prior) / self._scale
        self._posterior = Posterior(fit(features, values, groups, _LABELS), features, values)

    def log_probability(self, features: Array) -> Array:
        """log p(success) at rows of features."""
        chance = self._posterior.mean(features) * self._scale + self._prior
        result: Array = log_ndtr((chance - 0.6) / 0.15)
        return result


def candidates(encoder: Encoder, cloud: Array, best: Array, rng: np.random.Generator, around: int) -> Array:
    """Snapped units to score: a cloud over the cube and ``around`` perturbations of the best rows.

    Args:
        encoder: of the space.
        cloud: units spread over the cube, shape (m, parameters).
        best: units of the best points known, best first.
        rng: drawn from.
        around: how many perturbations in all.
    """
    parts = [cloud]
    if len(best) and around:
        base = best[rng.integers(len(best), size=around)]
        base = np.where(np.isnan(base), rng.random(base.shape), base)
        change = rng.random(base.shape) < rng.choice([0.15, 0.4, 1.0], size=(around, 1))
        change[np.arange(around), rng.integers(base.shape[1], size=around)] = True
        width = rng.choice([0.01, 0.05, 0.2], size=(around, 1))
        moved = _reflect(base + width * rng.standard_normal(base.shape))
        jump = rng.random(base.shape) < 0.15
        moved = np.where(jump, rng.random(base.shape), moved)
        parts.append(np.where(change, moved, base))
    return encoder.snap(np.vstack(parts))


def _reflect(units: Array) -> Array:
    """Units mirrored back into the cube at its faces."""
    folded = np.abs(units) % 2.0
    return np.where(folded > 1.0, 2.0 - folded, folded)


def polish(goal: Goal, encoder: Encoder, start: Array, iterations: int = 25) -> Array:
    """One row of snapped units climbed along the gradient in its continuous, active parameters."""
    free = encoder.continuous[~np.isnan(start[encoder.continuous])]
    if not len(free):
        return start
    features = encoder.features(start[None, :])[0]
    places = encoder.feature_of[free]

    def negative(x: Array) -> tuple[float, Array]:
        row = features.copy()
        row[places] = x
        value, gradient = goal.slope(row)
        return -value, -gradient[places]

    found = minimize(
        negative,
        start[free],
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * len(free),
        options={"maxiter": iterations},
    )
    moved = start.copy()
    moved[free] = found.x
    snapped: Array = encoder.snap(moved[None, :])[0]
    return snapped
