"""Linear algebra in pieces: what SciPy finds at once, without holding others up."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from scipy import linalg

from raytune_suite.search.factors import LinAlgError, cho_solve, cholesky, inverse_of, solve_triangular

RNG = np.random.default_rng(0)


def positive(size: int) -> Any:
    rows = RNG.standard_normal((size, size))
    return rows @ rows.T + size * np.eye(size)


@pytest.mark.parametrize("columns", [None, 0, 1, 40, 1000])
@pytest.mark.parametrize("size", [1, 7, 400])
def test_solutions_are_those_of_scipy_whatever_their_number(size: int, columns: int | None) -> None:
    matrix = positive(size)
    sides = RNG.standard_normal(size if columns is None else (size, columns))
    factor = cholesky(matrix)
    np.testing.assert_allclose(factor, linalg.cholesky(matrix, lower=True))
    np.testing.assert_allclose(solve_triangular(factor, sides), np.linalg.solve(factor, sides), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(cho_solve(factor, sides), np.linalg.solve(matrix, sides), rtol=1e-6, atol=1e-12)


def test_a_matrix_that_is_not_positive_definite_is_refused() -> None:
    with pytest.raises(LinAlgError):
        cholesky(-np.eye(3))


def test_other_threads_go_on_meanwhile() -> None:
    factor, sides = cholesky(positive(500)), RNG.standard_normal((500, 6000))
    done = threading.Event()

    def work() -> None:
        solve_triangular(factor, sides)
        done.set()

    thread = threading.Thread(target=work)
    began, turns = time.perf_counter(), [0.0]
    thread.start()
    while not done.is_set():
        turn = time.perf_counter()
        time.sleep(0.001)
        turns.append(time.perf_counter() - turn)
    thread.join()
    assert max(turns) < 0.5 * (time.perf_counter() - began)  # in a single call, nearly all of it


@pytest.mark.parametrize("size", [1, 7, 160])
def test_the_inverse_is_symmetric_and_the_inverse(size: int) -> None:
    matrix = positive(size)
    inverse = inverse_of(cholesky(matrix))
    assert np.array_equal(inverse, inverse.T)
    np.testing.assert_allclose(inverse @ matrix, np.eye(size), atol=1e-9)
