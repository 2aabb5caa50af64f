"""How probable it is that each of several configurations is the best, given values of all from the same seeds.

A Bayesian two-way model: the value of configuration c under seed r is ``mean_c + seed_r + noise``, the noise normal
with a variance of its own for each configuration. The seed's effect is what pairs the values: it helps or harms all
alike and drops out of every comparison. With two configurations the means have flat priors, and this is all but the
paired t-test in its Bayesian reading (Benavoli et al., "Time for a change", JMLR 18, 2017).

Two things keep it from claiming too much. The variances are pooled in part, as a few seeds say little about each alone
(Smyth, "Linear models and empirical Bayes methods for assessing differential expression", 2004); how much, the values
say, since steady configurations tell nothing of a wild one. And the best of three or more has been chosen: the means
come from a common normal distribution whose width is learned (half-Cauchy: Gelman, "Prior distributions for variance
parameters in hierarchical models", 2006), which draws uncertain ones towards the others (Gelman, Hill & Yajima, "Why we
(usually) don't have to worry about multiple comparisons", 2012). Drawn by Gibbs sampling (Gelfand & Smith, 1990).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

SHARED = np.array([1.0, 2, 4, 8, 16, 32, 64])
"""How many further values the common scale may be worth in the estimate of each configuration's variance."""
_FEW = 3
"""From so many configurations on the width of their means' distribution can be learned."""
_CHAINS, _BURN_IN, _KEPT = 2000, 100, 10


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
    variances = _Variances(count, rng)
    means = _Means(y.mean(1), rng)
    kept = []
    for sweep in range(_BURN_IN + _KEPT):
        mean = means.draw((y - effect[:, None, :]).mean(2), variances.now / seeds)
        weight = 1 / variances.now
        total = weight.sum(1, keepdims=True)
        pull = np.einsum("cn,cnr->cr", weight, y - mean[:, :, None]) / total
        effect = pull + rng.standard_normal((_CHAINS, seeds)) / np.sqrt(total)
        effect -= effect.mean(1, keepdims=True)  # a shift of all seeds is one of all means: fixed at none
        variances.draw(((y - mean[:, :, None] - effect[:, None, :]) ** 2).sum(2), seeds)
        if sweep >= _BURN_IN:
            kept.append(mean)
    return np.concatenate(kept)


class _Means:
    """The means, ``[chains, configurations]``: alone with two configurations, else from one normal distribution."""

    def __init__(self, found: Array, rng: np.random.Generator) -> None:
        self._rng, self._count = rng, len(found)
        self._middle = np.zeros(_CHAINS)
        self._width = np.full(_CHAINS, max(float(found.var()), 0.1))  # its square

    def draw(self, found: Array, uncertain: Array) -> Array:
        """Draw them given what was ``found`` with these variances, then the distribution they come from."""
        if self._count < _FEW:
            return np.asarray(found + np.sqrt(uncertain) * self._rng.standard_normal(found.shape))
        precision = 1 / uncertain + 1 / self._width[:, None]
        centre = (found / uncertain + (self._middle / self._width)[:, None]) / precision
        mean = centre + self._rng.standard_normal(found.shape) / np.sqrt(precision)
        self._middle = mean.mean(1) + np.sqrt(self._width / self._count) * self._rng.standard_normal(_CHAINS)
        # Half-Cauchy of scale 1, the noise's own, as a mixture (Wand et al., Bayesian Analysis 6, 2011).
        mixed = (1 + 1 / self._width) / self._rng.gamma(1.0, 1.0, _CHAINS)
        squares = ((mean - self._middle[:, None]) ** 2).sum(1)
        self._width = (squares / 2 + 1 / mixed) / self._rng.gamma((self._count + 1) / 2, 1.0, _CHAINS)
        return np.asarray(mean)


class _Variances:
    """The variances of the noise, ``now[chains, configurations]``: scaled inverse chi-squared around a common one."""

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        self._rng, self._count = rng, count
        self._worth = np.full(_CHAINS, 4.0)
        self.now = np.ones((_CHAINS, count))

    def draw(self, squares: Array, seeds: int) -> None:
        """Draw them given the sums of squared residuals of so many values, and how much the common one is worth."""
        total = (1 / self.now).sum(1)
        common = self._rng.gamma(self._count * self._worth / 2, 1.0) / (self._worth / 2 * total)
        worth = self._worth[:, None]
        self.now = (worth * common[:, None] + squares) / self._rng.chisquare(worth + seeds, squares.shape)
        weight, half = 1 / self.now, SHARED / 2
        alone = self._count * (half * np.log(half) - _log_gamma(half))
        told = self._count * np.log(common) + np.log(weight).sum(1) - common * weight.sum(1)
        chance = alone + half * told[:, None]
        self._worth = SHARED[(chance + self._rng.gumbel(size=chance.shape)).argmax(1)]


def _log_gamma(values: Array) -> Array:
    return np.array([math.lgamma(value) for value in values])
