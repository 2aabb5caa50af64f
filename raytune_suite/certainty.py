"""How probable it is that each of several configurations is the best, given values of all from the same seeds.

A Bayesian two-way model: the value of configuration c under seed r is ``mean_c + seed_r + noise``, the noise normal
with a variance of its own for each configuration. The seed's effect is what pairs the values: it helps or harms all
alike and drops out of every comparison. Means and seed effects have flat priors; the variances have a common scale, as
a few seeds say little about each alone (Smyth, "Linear models and empirical Bayes methods for assessing differential
expression", 2004). With two configurations this is all but the paired t-test in its Bayesian reading (Benavoli et al.,
"Time for a change", JMLR 18, 2017). Drawn by Gibbs sampling (Gelfand & Smith, 1990).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

SHARED = 4.0
"""How many further values the common scale is worth in the estimate of each configuration's variance."""
_CHAINS, _BURN_IN, _KEPT = 2000, 60, 10


@dataclass(frozen=True)
class Posterior:
    """What the values say about the configurations' true means, in the order given and in the metric's own units.

    ``best``: the probability of being the best. ``draws``: of the means, up to a common shift,
    ``[draws, configurations]``. ``sign`` is 1 where less is better, else -1.
    """

    best: Array
    draws: Array
    sign: float

    def better(self, one: int, other: int) -> float:
        """The probability that ``one`` has the better mean."""
        return float(np.mean(self.sign * (self.draws[:, one] - self.draws[:, other]) < 0))

    def difference(self, one: int, other: int, level: float = 0.95) -> tuple[float, float]:
        """The central interval of ``level`` for the mean of ``one`` minus that of ``other``."""
        tail = (1 - level) / 2
        low, high = np.quantile(self.draws[:, one] - self.draws[:, other], [tail, 1 - tail])
        return float(low), float(high)


def posterior(values: Array, mode: str, seed: int = 0) -> Posterior:
    """What ``values[configuration, seed]`` say, all finite, at least two of each; ``mode`` is min or max.

    ``seed`` is that of the sampling: the same values always give the same answer.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or min(values.shape) < 2 or not np.isfinite(values).all():
        raise ValueError(f"values must be finite, of two or more configurations and seeds, got shape {values.shape}")
    sign = 1.0 if mode == "min" else -1.0
    draws = _draws(values, np.random.default_rng(seed))
    winners = np.argmin(sign * draws, axis=1)
    share = np.bincount(winners, minlength=len(values)) / len(draws)
    return Posterior(share, draws, sign)


def _draws(values: Array, rng: np.random.Generator) -> Array:
    """Draws of the means, ``[draws, configurations]``."""
    count, seeds = values.shape
    middle = values.mean()
    residuals = values - values.mean(1, keepdims=True) - values.mean(0) + middle
    scale = math.sqrt((residuals**2).sum() / ((count - 1) * (seeds - 1)))
    spread = float(np.ptp(values))
    if scale <= 1e-12 * max(spread, abs(middle)):  # nothing is random: the means are known, equal ones by lot
        lot: Array = 1e-15 * max(spread, abs(middle), 1e-300) * rng.standard_normal((_CHAINS, count))
        return np.asarray(values.mean(1) + lot)
    return np.asarray(_gibbs((values - middle) / scale, rng) * scale + middle)


def _gibbs(y: Array, rng: np.random.Generator) -> Array:
    """Sample many chains side by side; ``y[configuration, seed]`` is centred and scaled by the residuals."""
    count, seeds = y.shape
    effect = np.tile(y.mean(0), (_CHAINS, 1))
    variance = np.ones((_CHAINS, count))
    kept = []
    for sweep in range(_BURN_IN + _KEPT):
        mean = (y - effect[:, None, :]).mean(2) + np.sqrt(variance / seeds) * rng.standard_normal((_CHAINS, count))
        weight = 1 / variance
        total = weight.sum(1, keepdims=True)
        pull = np.einsum("cn,cnr->cr", weight, y - mean[:, :, None]) / total
        effect = pull + rng.standard_normal((_CHAINS, seeds)) / np.sqrt(total)
        effect -= effect.mean(1, keepdims=True)  # a shift of all seeds is one of all means: fixed at none
        common = rng.gamma(count * SHARED / 2, 1.0, _CHAINS) / (SHARED / 2 * weight.sum(1))
        squares = ((y - mean[:, :, None] - effect[:, None, :]) ** 2).sum(2)
        variance = (SHARED * common[:, None] + squares) / rng.chisquare(SHARED + seeds, (_CHAINS, count))
        if sweep >= _BURN_IN:
            kept.append(mean)
    return np.concatenate(kept)
