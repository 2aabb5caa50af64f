"""Where to go next: expected improvement, what else counts, and the search for the best of it.

Everything here minimises. Units and features are those of :mod:`raytune_suite.search.encoding`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import erfcx, log_ndtr

from raytune_suite.search.belief import Belief
from raytune_suite.search.encoding import Encoder
from raytune_suite.search.fidelity import Whole
from raytune_suite.search.gp import Posterior, Prior, fit
from raytune_suite.search.transfer import Transfer

Array = npt.NDArray[np.float64]

_LABELS = Prior(noise=(math.log(0.02), 1.0))
_LOG_ROOT_2PI = 0.5 * math.log(2.0 * math.pi)


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
    """The acquisition function of one suggestion; higher is better.

    Attributes:
        encoder: of the space.
        objective: the model with data and pending points in it.
        best: what a point must fall below: the lowest posterior mean, less what counts as an improvement at all.
        success: the model of what fails; None if nothing ever failed.
        belief: the user's belief and its power, if there is one.
        transfer: the prior mean from other experiments and their weights, if there are any.
        cost: the model of the log of the seconds an iteration takes, if that counts.
        noise: variance of what a trial gives around the objective.
    """

    encoder: Encoder
    objective: Posterior | Whole
    best: float
    success: Success | None = None
    belief: tuple[Belief, float] | None = None
    transfer: tuple[Transfer, Array] | None = None
    cost: Posterior | None = None
    noise: float = 0.0

    def __call__(self, units: Array) -> Array:
        """Values at rows of snapped units, shape (m,)."""
        features = self.encoder.features(units)
        mean, deviation = self.predict(features)
        value = log_improvement(mean, np.sqrt(deviation**2 + self.noise), self.best)
        if self.success is not None:
            value = value + self.success.log_probability(features)
        if self.belief is not None:
            value = value + self.belief[1] * self.belief[0].log_density(units)
        if self.cost is not None:
            value = value - self.cost.mean(features)
        return value

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the objective at rows of features, each (m,)."""
        mean, deviation = self.objective.predict(features)
        return (mean if self.transfer is None else mean + self.transfer[0].mean(features, self.transfer[1])), deviation

    def slopes(self, units: Array) -> tuple[Array, Array]:
        """Values (m,) and gradients (m, parameters) of the expected improvement (per cost) at rows of units."""
        features = self.encoder.features(units)
        mean, deviation, d_mean, d_deviation = self.objective.slopes(features)
        if self.transfer is not None:
            shift, d_shift = self.transfer[0].slopes(features, self.transfer[1])
            mean, d_mean = mean + shift, d_mean + d_shift
        spread = np.sqrt(deviation**2 + self.noise)
        z = (self.best - mean) / spread
        log_h = _log_h(z)
        lower = np.exp(log_ndtr(z) - log_h)
        density = np.exp(-0.5 * z * z - _LOG_ROOT_2PI - log_h)
        value = np.log(spread) + log_h
        d_spread = (deviation / spread)[:, None] * d_deviation
        gradient = (density[:, None] * d_spread - lower[:, None] * d_mean) / spread[:, None]
        if self.cost is not None:
            cost, _, d_cost, _ = self.cost.slopes(features)
            value, gradient = value - cost, gradient - d_cost
        return value, self.encoder.pull(units, gradient)


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


def polish(goal: Goal, starts: Array, iterations: int = 30) -> Array:
    """Rows of snapped units climbed along the gradient in their continuous, active parameters, all at once."""
    free = goal.encoder.moves & ~np.isnan(starts)
    if not free.any():
        return starts
    rows = starts.copy()

    def negative(x: Array) -> tuple[float, Array]:
        rows[free] = x
        values, gradients = goal.slopes(rows)
        return -float(values.sum()), -gradients[free]

    found = minimize(
        negative,
        starts[free],
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * int(free.sum()),
        options={"maxiter": iterations},
    )
    moved = starts.copy()
    moved[free] = found.x
    return goal.encoder.snap(moved)


def neighbours(encoder: Encoder, rows: Array) -> Array:
    """All rows that differ from one of ``rows`` in one listed parameter; unsnapped."""
    parts = []
    for index, levels in encoder.listed():
        for row in rows:
            copies = np.tile(row, (len(levels), 1))
            copies[:, index] = levels
            parts.append(copies)
    return np.vstack(parts) if parts else rows[:0]
