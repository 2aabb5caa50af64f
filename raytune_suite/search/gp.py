"""An exact Gaussian process for tuning: main effects plus interactions, fitted noise.

The covariance is a Matern-5/2 over all parameters, with a length scale for each, plus a sum of one-dimensional kernels
(rational quadratic: Rasmussen and Williams, 2006, section 4.2) that share those length scales. Losses of trainings are
mostly sums of main effects (Hutter et al., 2014), which the sum learns from few points (additive processes: Duvenaud
et al., 2011); the product learns the rest. Hyperparameters are the maximum a posteriori in log space, found by L-BFGS-B
with analytic gradients (Rasmussen and Williams, chapter 5). The length scales' prior is log-normal and grows with the
dimension (Hvarfner et al., 2024), so that a model of few points sees structure in two dimensions, no noise in twenty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from raytune_suite.search.factors import LinAlgError, cho_solve, cholesky, inverse_of, solve_triangular

Array = npt.NDArray[np.float64]
Groups = npt.NDArray[np.intp]

_SQRT5 = math.sqrt(5.0)
_JITTER = 1e-8
_FEW = 80
_BOUNDS_LENGTH = (math.log(0.02), math.log(30.0))
_BOUNDS_SIGNAL = (math.log(0.01), math.log(20.0))
_BOUNDS_NOISE = (math.log(1e-6), math.log(1.0))


@dataclass(frozen=True)
class Prior:
    """Normal priors of the logs: of length scales (at one group), variances of interactions, main effects and noise."""

    length: tuple[float, float] = (math.log(0.3), 0.8)
    signal: tuple[float, float] = (0.0, 1.0)
    main: tuple[float, float] = (math.log(0.5), 1.0)
    noise: tuple[float, float] = (math.log(3e-3), 1.7)

    def centre(self, groups: int) -> Array:
        """The mode, shape (groups + 3,): log length scales, log signal, log main, log noise variance."""
        length = self.length[0] + 0.25 * math.log(max(groups, 1))
        return np.array([length] * groups + [self.signal[0], self.main[0], self.noise[0]])

    def spread(self, groups: int) -> Array:
        """The standard deviations that go with :meth:`centre`."""
        return np.array([self.length[1]] * groups + [self.signal[1], self.main[1], self.noise[1]])


@dataclass(frozen=True)
class Kernel:
    """The covariance for one setting of the hyperparameters.

    Attributes:
        weights: 1 / length scale of each column, shape (columns,); equal within a group.
        groups: for each column the index of its length scale, ascending.
        signal: variance of the interactions.
        main: variance of the main effects, all together.
        noise: variance of the noise.
    """

    weights: Array
    groups: Groups
    signal: float
    main: float
    noise: float

    @property
    def variance(self) -> float:
        """The prior variance of the noise-free function."""
        return self.signal + self.main

    def __call__(self, left: Array, right: Array) -> Array:
        """The covariances of rows, shape (len(left), len(right)), without noise."""
        a, b = left * self.weights, right * self.weights
        total = np.zeros((len(a), len(b)))
        single = np.zeros_like(total)
        for columns in _slices(self.groups):
            square = _squares(a[:, columns], b[:, columns])
            total += square
            square *= 0.5
            square += 1.0
            single += np.reciprocal(square, out=square)
        single *= self.main / max(_count(self.groups), 1)
        single += self.signal * _matern(np.sqrt(total))
        return single

    def slopes(self, rows: Array, right: Array) -> tuple[Array, Array]:
        """Covariances of rows with others, (m, n), and their gradients in the rows, (m, n, columns)."""
        gaps = (rows[:, None, :] - right[None, :, :]) * self.weights
        squares = gaps * gaps
        distance = np.sqrt(squares.sum(2))
        decay = self.signal * np.exp(-_SQRT5 * distance)
        values = decay * (1.0 + _SQRT5 * distance + (5.0 / 3.0) * distance**2)
        factor = -(5.0 / 3.0) * decay * (1.0 + _SQRT5 * distance)
        grouped = np.add.reduceat(squares, _starts(self.groups), axis=2)
        inverse = 1.0 / (1.0 + 0.5 * grouped)
        share = self.main / grouped.shape[2]
        values += share * inverse.sum(2)
        pull = factor[:, :, None] - share * (inverse * inverse)[:, :, self.groups]
        return values, pull * gaps * self.weights


def _starts(groups: Groups) -> Groups:
    return np.searchsorted(groups, np.arange(_count(groups)))


def _count(groups: Groups) -> int:
    return int(groups[-1]) + 1 if len(groups) else 0


def _slices(groups: Groups) -> list[slice]:
    starts = [*_starts(groups).tolist(), len(groups)]
    return [slice(a, b) for a, b in pairwise(starts)]


def _squares(a: Array, b: Array) -> Array:
    """Squared distances of rows, shape (len(a), len(b))."""
    if a.shape[1] == 1:
        gap: Array = a - b.T
        gap *= gap
        return gap
    square: Array = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2.0 * a @ b.T
    return np.maximum(square, 0.0, out=square)


def _matern(distance: Array) -> Array:
    scaled = _SQRT5 * distance
    result: Array = (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)
    return result


class Likelihood:
    """The log posterior of the hyperparameters given data, with its gradient.

    Args:
        rows: inputs in the unit cube, shape (n, columns).
        values: outputs of about unit scale, shape (n,).
        groups: for each column the index of its length scale, shape (columns,).
        prior: of the hyperparameters.
        extra: known noise variance of each value, shape (n,).
    """

    def __init__(self, rows: Array, values: Array, groups: Groups, prior: Prior, extra: Array) -> None:
        self.groups, self.values, self.extra = groups, values, extra
        self.count = _count(groups)
        self._upper = np.triu_indices(len(rows), 1)
        self._squares = _pair_squares(rows, groups, self._upper)
        self.centre, self.spread = prior.centre(self.count), prior.spread(self.count)
        lengths = [_BOUNDS_LENGTH] * self.count
        self.bounds = np.array([*lengths, _BOUNDS_SIGNAL, _BOUNDS_SIGNAL, _BOUNDS_NOISE])

    def negative(self, theta: Array) -> tuple[float, Array]:
        """The negative log posterior (up to a constant) and its gradient."""
        count, n = self.count, len(self.values)
        signal, main, noise = np.exp(theta[count:])
        scaled = np.exp(-2.0 * theta[:count])[:, None] * self._squares
        distance = np.sqrt(scaled.sum(0))
        decay = signal * np.exp(-_SQRT5 * distance)
        slope = (5.0 / 3.0) * decay * (1.0 + _SQRT5 * distance)
        joint = decay * (1.0 + _SQRT5 * distance + (5.0 / 3.0) * distance**2)
        inverse = 1.0 / (1.0 + 0.5 * scaled)
        share = main / max(count, 1)
        single = share * inverse.sum(0)
        total = np.empty((n, n))
        total[self._upper] = total.T[self._upper] = joint + single
        total.flat[:: n + 1] = signal + main + noise + self.extra + _JITTER
        off = (theta - self.centre) / self.spread
        try:
            factor = cholesky(total)
        except LinAlgError:
            return 1e10, np.zeros_like(theta)
        alpha = cho_solve(factor, self.values)
        full = inverse_of(factor) - np.outer(alpha, alpha)
        inner, trace = full[self._upper], float(np.trace(full))
        value = 0.5 * self.values @ alpha + np.log(np.diag(factor)).sum() + 0.5 * off @ off
        gradient = np.empty_like(theta)
        # of each pair of rows there are two entries, which cancels the one half of the likelihood
        inverse *= inverse
        inverse *= share
        inverse += slope
        scaled *= inverse
        gradient[:count] = scaled @ inner
        gradient[count] = inner @ joint + 0.5 * signal * trace
        gradient[count + 1] = inner @ single + 0.5 * main * trace
        gradient[count + 2] = 0.5 * noise * trace
        return float(value), gradient + off / self.spread

    def kernel(self, theta: Array) -> Kernel:
        """The kernel with these hyperparameters."""
        signal, main, noise = np.exp(theta[self.count :])
        return Kernel(np.exp(-theta[: self.count])[self.groups], self.groups, float(signal), float(main), float(noise))

    def mode(self) -> Array:
        """The most probable hyperparameters.

        Few data usually allow two explanations, so they are sought from the prior's mode and from a long-scaled, noisy
        start; many decide for one, which is found from in between.
        """
        smooth = self.centre.copy()
        smooth[: self.count] += 1.0
        smooth[-1] = math.log(0.1)
        starts = (self.centre, smooth) if len(self.values) <= _FEW else (0.5 * (self.centre + smooth),)
        found = [
            minimize(
                self.negative,
                start,
                jac=True,
                method="L-BFGS-B",
                bounds=self.bounds,
                options={"maxiter": 40, "ftol": 1e-5},
            )
            for start in starts
        ]
        best: Array = min(found, key=lambda end: float(end.fun)).x
        return best


def _pair_squares(rows: Array, groups: Groups, upper: tuple[Groups, Groups]) -> Array:
    """Squared distances by group of all pairs of rows, shape (groups, pairs)."""
    gaps = rows.T[:, upper[0]] - rows.T[:, upper[1]]
    gaps *= gaps
    if not len(groups):
        return np.zeros((0, len(upper[0])))
    return np.add.reduceat(gaps, _starts(groups), axis=0)


def fit(
    rows: Array,
    values: Array,
    groups: Groups,
    prior: Prior | None = None,
    *,
    extra: Array | None = None,
    most: int | None = None,
) -> Kernel:
    """The kernel whose hyperparameters are most probable given the data.

    Args:
        rows: inputs in the unit cube, shape (n, columns).
        values: outputs of about unit scale, shape (n,).
        groups: for each column the index of its length scale, ascending, shape (columns,).
        prior: of the hyperparameters.
        extra: known noise variance of each value, shape (n,).
        most: of more rows than this (by default fewer, the more length scales there are) the lowest third and an even
            spread over the values of the rest are used.
    """
    most = most or max(80, min(160, int(1600 / max(_count(groups), 1))))
    chosen = _some(values, most)
    extra = np.zeros(len(values)) if extra is None else extra
    model = Likelihood(rows[chosen], values[chosen], groups, prior or Prior(), extra[chosen])
    return model.kernel(model.mode())


def _some(values: Array, most: int) -> Groups:
    if len(values) <= most:
        return np.arange(len(values))
    ranked = np.argsort(values, kind="stable")
    lowest, rest = ranked[: most // 3], ranked[most // 3 :]
    spread = rest[np.linspace(0, len(rest) - 1, most - len(lowest)).astype(int)]
    return np.sort(np.concatenate([lowest, spread]))


class Posterior:
    """The process after seeing data: mean and variance of the noise-free function.

    Args:
        kernel: the fitted kernel.
        rows: inputs, shape (n, columns).
        values: outputs, shape (n,).
        extra: known noise variance of each value, shape (n,).
    """

    def __init__(self, kernel: Kernel, rows: Array, values: Array, extra: Array | None = None) -> None:
        self.kernel = kernel
        self.rows = rows
        self.values = values
        self.extra = np.zeros(len(rows)) if extra is None else extra
        covariance = kernel(rows, rows)
        covariance.flat[:: len(rows) + 1] += kernel.noise + self.extra + _JITTER
        self._factor = cholesky(covariance)
        self._alpha = cho_solve(self._factor, values)

    def believe(self, rows: Array) -> Posterior:
        """The process as if ``rows`` had been measured at their predicted mean (kriging believer).

        The mean stays as it is and the variance shrinks around the rows (Ginsbourger et al., 2010).
        """
        if not len(rows):
            return self
        told, extra = np.append(self.values, self.mean(rows)), np.append(self.extra, np.zeros(len(rows)))
        return Posterior(self.kernel, np.vstack([self.rows, rows]), told, extra)

    def mean(self, rows: Array) -> Array:
        """The mean at rows, shape (m,)."""
        result: Array = self.kernel(rows, self.rows) @ self._alpha
        return result

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean and standard deviation at rows, each of shape (m,)."""
        cross = self.kernel(rows, self.rows)
        half = solve_triangular(self._factor, cross.T)
        variance = self.kernel.variance - (half * half).sum(0)
        return cross @ self._alpha, np.sqrt(np.maximum(variance, 1e-10))

    def slopes(self, rows: Array) -> tuple[Array, Array, Array, Array]:
        """Mean and standard deviation at rows, (m,), and their gradients there, (m, columns)."""
        cross, gradient = self.kernel.slopes(rows, self.rows)
        solved = cho_solve(self._factor, cross.T).T
        variance = np.maximum(self.kernel.variance - (cross * solved).sum(1), 1e-10)
        deviation = np.sqrt(variance)
        d_mean = np.einsum("mnc,n->mc", gradient, self._alpha)
        d_deviation = -np.einsum("mnc,mn->mc", gradient, solved) / deviation[:, None]
        return cross @ self._alpha, deviation, d_mean, d_deviation
