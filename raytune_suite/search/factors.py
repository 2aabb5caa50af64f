"""Cholesky factors and solutions with them, in pieces that let other threads go on.

SciPy's linear algebra keeps the interpreter's lock: solving 400 equations for 1,500 right-hand sides would hold up the
driver's loop for 60 ms. NumPy's factorisation gives the lock away; solutions are cut into pieces of a few milliseconds.
The functions are used like SciPy's of the same names; a factor is a lower one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import linalg

Array = npt.NDArray[np.float64]
LinAlgError = np.linalg.LinAlgError

_WORK = 2e7
"""Multiplications in one piece: 5 to 10 ms."""


def cholesky(matrix: Array) -> Array:
    """The lower factor of a positive definite matrix (n, n), zeros above its diagonal.

    Raises:
        LinAlgError: the matrix is not positive definite.
    """
    return np.asarray(np.linalg.cholesky(matrix), dtype=np.float64)


def solve_triangular(factor: Array, sides: Array) -> Array:
    """The x with ``factor @ x = sides``; ``sides`` (n,) or (n, m)."""
    return _in_pieces(lambda part: linalg.solve_triangular(factor, part, lower=True, check_finite=False), sides, 1)


def cho_solve(factor: Array, sides: Array) -> Array:
    """The x with ``factor @ factor.T @ x = sides``; ``sides`` (n,) or (n, m)."""
    return _in_pieces(lambda part: linalg.cho_solve((factor, True), part, check_finite=False), sides, 2)


def inverse_of(factor: Array) -> Array:
    """The inverse of the matrix that ``factor`` (n, n) is the lower factor of; a third of the work of solving for it.

    Raises:
        LinAlgError: the factor is singular.
    """
    lower, info = linalg.lapack.dpotri(factor, lower=1)
    if info:
        raise LinAlgError("the factor is singular")
    below = np.tril(lower, -1)
    inverse: Array = below + below.T + np.diag(np.diag(lower))
    return inverse


def _in_pieces(solve: Callable[[Array], Array], sides: Array, passes: int) -> Array:
    width = max(1, int(_WORK / (passes * max(1, len(sides)) ** 2)))
    if sides.ndim == 1 or sides.shape[1] <= width:
        return solve(sides)
    found = np.empty(sides.shape)
    for start in range(0, sides.shape[1], width):
        found[:, start : start + width] = solve(sides[:, start : start + width])
    return found
