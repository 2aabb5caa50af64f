"""An exact Gaussian process for tuning: Matern-5/2, a length scale per group of columns, fitted noise.

Hyperparameters are the maximum a posteriori in log space, found by L-BFGS-B with analytic gradients
(Rasmussen and Williams, 2006, chapter 5). The prior of the length scales is log-normal and grows with the
square root of the dimension (Hvarfner et al., 2024), so that a model of few points sees structure in two
dimensions and does not see noise in twenty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Array = npt.NDArray[np.float64]

_SQRT5 = math.sqrt(5.0)
_JITTER = 1e-8
_BOUNDS_LENGTH = (math.log(0.02), math.log(30.0))
_BOUNDS_SIGNAL = (math.log(0.05), math.log(20.0))
_BOUNDS_NOISE = (math.log(1e-6), math.log(1.0))


@dataclass(frozen=True)
class Prior:
    """Normal priors of the logs: of length scales (at one group), signal variance and noise variance."""

    length: tuple[float, float] = (math.log(0.3), 0.8)
    signal: tuple[float, float] = (0.0, 1.0)
    noise: tuple[float, float] = (math.log(3e-3), 1.7)

    def centre(self, groups: int) -> Array:
        """The mode, shape (groups + 2,): log length scales, log signal, log noise variance."""
        length = self.length[0] + 0.25 * math.log(max(groups, 1))
        return np.array([length] * groups + [self.signal[0], self.noise[0]])

    def spread(self, groups: int) -> Array:
        """The standard deviations that go with :meth:`centre`."""
        return np.array([self.length[1]] * groups + [self.signal[1], self.noise[1]])


@dataclass(frozen=True)
class Kernel:
    """A Matern-5/2 kernel: ``weights`` (columns,) are 1 / length scale, repeated within a group."""

    weights: Array
    signal: float
    noise: float

    def __call__(self, left: Array, right: Array) -> Array:
        """The covariances of rows, shape (len(left), len(right)), without noise."""
        a, b = left * self.weights, right * self.weights
        square = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2.0 * a @ b.T
        return self.signal * _matern(np.sqrt(np.maximum(square, 0.0)))

    def slope(self, row: Array, right: Array) -> tuple[Array, Array]:
        """Covariances of one row with others, (n,), and their gradient in the row, (n, columns)."""
        gap = (row - right) * self.weights
        distance = np.sqrt((gap * gap).sum(1))
        decay = self.signal * np.exp(-_SQRT5 * distance)
        values = decay * (1.0 + _SQRT5 * distance + (5.0 / 3.0) * distance**2)
        factor = -(5.0 / 3.0) * decay * (1.0 + _SQRT5 * distance)
        return values, factor[:, None] * gap * self.weights


def _matern(distance: Array) -> Array:
    scaled = _SQRT5 * distance
    result: Array = (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)
    return result


def fit(
    rows: Array, values: Array, groups: npt.NDArray[np.intp], prior: Prior | None = None, most: int = 160
) -> Kernel:
    """The kernel whose hyperparameters are most probable given the data.

    Args:
        rows: inputs in the unit cube, shape (n, columns).
        values: outputs of about unit scale, shape (n,).
        groups: for each column the index of its length scale, shape (columns,).
        prior: of the hyperparameters.
        most: of more rows than this the lowest third and an even spread over the values of the rest are used.
    """
    prior = prior or Prior()
    rows, values = _some(rows, values, most)
    count = int(groups.max()) + 1 if len(groups) else 0
    squares = _group_squares(rows, groups, count)
    centre, spread = prior.centre(count), prior.spread(count)
    bounds = [_BOUNDS_LENGTH] * count + [_BOUNDS_SIGNAL, _BOUNDS_NOISE]
    best = min(
        (
            minimize(
                _negative_posterior,
                start,
                args=(squares, values, centre, spread),
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": 40, "ftol": 1e-5},
            )
            for start in _starts(centre, count)
        ),
        key=lambda found: float(found.fun),
    )
    theta = best.x
    return Kernel(np.exp(-theta[:count])[groups], math.exp(theta[count]), math.exp(theta[count + 1]))


def _some(rows: Array, values: Array, most: int) -> tuple[Array, Array]:
    if len(values) <= most:
        return rows, values
    ranked = np.argsort(values, kind="stable")
    lowest, rest = ranked[: most // 3], ranked[most // 3 :]
    spread = rest[np.linspace(0, len(rest) - 1, most - len(lowest)).astype(int)]
    chosen = np.sort(np.concatenate([lowest, spread]))
    return rows[chosen], values[chosen]


def _starts(centre: Array, count: int) -> list[Array]:
    """The prior's mode, and a long-scaled, noisy one: the two explanations that data usually allow."""
    smooth = centre.copy()
    smooth[:count] += 1.0
    smooth[count + 1] = math.log(0.1)
    return [centre, smooth]


def _group_squares(rows: Array, groups: npt.NDArray[np.intp], count: int) -> Array:
    """Squared distances by group, shape (groups, n * n)."""
    squares = np.zeros((count, len(rows) * len(rows)))
    for column, group in enumerate(groups):
        gap = rows[:, column][:, None] - rows[:, column][None, :]
        squares[group] += (gap * gap).ravel()
    return squares


def _negative_posterior(
    theta: Array, squares: Array, values: Array, centre: Array, spread: Array
) -> tuple[float, Array]:
    """The negative log posterior (up to a constant) and its gradient."""
    count, n = len(squares), len(values)
    inverse = np.exp(-2.0 * theta[:count])
    signal, noise = math.exp(theta[count]), math.exp(theta[count + 1])
    distance = np.sqrt(inverse @ squares).reshape(n, n)
    decay = signal * np.exp(-_SQRT5 * distance)
    slope = (5.0 / 3.0) * decay * (1.0 + _SQRT5 * distance)
    covariance = decay * (1.0 + _SQRT5 * distance) + (5.0 / 3.0) * decay * distance**2
    total = covariance.copy()
    total.flat[:: n + 1] += noise + _JITTER
    off = (theta - centre) / spread
    try:
        factor = cholesky(total, lower=True, check_finite=False)
    except LinAlgError:
        return 1e10, np.zeros_like(theta)
    alpha = cho_solve((factor, True), values, check_finite=False)
    inner = cho_solve((factor, True), np.eye(n), check_finite=False) - np.outer(alpha, alpha)
    value = 0.5 * values @ alpha + np.log(np.diag(factor)).sum() + 0.5 * off @ off
    gradient = np.empty_like(theta)
    # d covariance / d log length = slope * square / length^2
    gradient[:count] = 0.5 * (squares @ (inner * slope).ravel()) * inverse
    gradient[count] = 0.5 * (inner * covariance).sum()
    gradient[count + 1] = 0.5 * noise * np.trace(inner)
    return float(value), gradient + off / spread


class Posterior:
    """The process after seeing data: mean and variance of the noise-free function.

    Args:
        kernel: the fitted kernel.
        rows: inputs, shape (n, columns).
        values: outputs, shape (n,).
    """

    def __init__(self, kernel: Kernel, rows: Array, values: Array) -> None:
        self.kernel = kernel
        self.rows = rows
        self.values = values
        covariance = kernel(rows, rows)
        covariance.flat[:: len(rows) + 1] += kernel.noise + _JITTER
        self._factor = cholesky(covariance, lower=True, check_finite=False)
        self._alpha = cho_solve((self._factor, True), values, check_finite=False)

    def believe(self, rows: Array) -> Posterior:
        """The process as if ``rows`` had been measured at their predicted mean (kriging believer).

        The mean stays as it is and the variance shrinks around the rows (Ginsbourger et al., 2010).
        """
        if not len(rows):
            return self
        return Posterior(self.kernel, np.vstack([self.rows, rows]), np.append(self.values, self.mean(rows)))

    def mean(self, rows: Array) -> Array:
        """The mean at rows, shape (m,)."""
        result: Array = self.kernel(rows, self.rows) @ self._alpha
        return result

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean and standard deviation at rows, each of shape (m,)."""
        cross = self.kernel(rows, self.rows)
        half = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = self.kernel.signal - (half * half).sum(0)
        return cross @ self._alpha, np.sqrt(np.maximum(variance, 1e-10))

    def slope(self, row: Array) -> tuple[float, float, Array, Array]:
        """Mean, standard deviation and their gradients at one row, gradients of shape (columns,)."""
        cross, gradient = self.kernel.slope(row, self.rows)
        solved = cho_solve((self._factor, True), cross, check_finite=False)
        variance = max(self.kernel.signal - float(cross @ solved), 1e-10)
        deviation = math.sqrt(variance)
        return (
            float(cross @ self._alpha),
            deviation,
            gradient.T @ self._alpha,
            -(gradient.T @ solved) / deviation,
        )
