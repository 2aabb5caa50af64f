"""Test functions of global optimisation, moved so that no optimum is at a centre, a corner or a round number.

Formulas: Surjanovic and Bingham, Virtual Library of Simulation Experiments. All optima are known.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from searching.task import Point, Task

Vector = npt.NDArray[np.float64]


def _vector(point: Point) -> Vector:
    return np.array([point[f"x{i}"] for i in range(len(point))])


def branin(point: Point) -> float:
    """Mirrored and shifted; two of the three minima lie inside the box."""
    x, y = 7.3 - point["x0"], point["x1"] + 1.7
    curve = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return float(curve**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


_HEIGHT = np.array([1.0, 1.2, 3.0, 3.2])
_WIDTH = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_CENTRE = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
_ORDER = [3, 0, 5, 1, 4, 2]
_MOVE = np.array([0.113, -0.071, 0.137, -0.093, 0.061, -0.127])


def hartmann6(point: Point) -> float:
    """Axes permuted, box shifted by about a tenth."""
    x = _vector(point)[_ORDER] - _MOVE
    return float(-(_HEIGHT * np.exp(-(_WIDTH * (x - _CENTRE) ** 2).sum(1))).sum())


_ACKLEY_AT = np.array([3.17, -5.83, 1.29, 6.41, -2.37])


def ackley5(point: Point) -> float:
    """A funnel full of local minima; the optimum is off centre by another distance in each axis."""
    x = _vector(point) - _ACKLEY_AT
    root = math.sqrt(float((x**2).mean()))
    return float(20 - 20 * math.exp(-0.2 * root) + math.e - math.exp(float(np.cos(2 * math.pi * x).mean())))


_ROTATION = np.linalg.qr(np.random.default_rng(20).standard_normal((4, 4)))[0]
_VALLEY_AT = np.array([0.37, -0.58, 0.83, -0.21])


def rosenbrock4(point: Point) -> float:
    """A bent valley across the axes, log10(1 + value); its lowest point is where z = 1."""
    z = _ROTATION @ (_vector(point) - _VALLEY_AT) + 1.0
    return float(np.log10(1 + (100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum()))


_LEVY_AT = np.array([2.31, -3.67, 0.73, 4.19, -1.41, -5.23, 3.89, 1.57])


def levy8(point: Point) -> float:
    """Waves on a bowl, eight dimensions."""
    w = 1 + (_vector(point) - _LEVY_AT) / 4
    middle = ((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(math.pi * w[:-1] + 1) ** 2)).sum()
    end = (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)
    return float(math.sin(math.pi * w[0]) ** 2 + middle + end)


def _box(low: float, high: float, dimensions: int) -> dict[str, dict[str, list[float]]]:
    return {f"x{i}": {"uniform": [low, high]} for i in range(dimensions)}


TASKS = (
    Task("branin", "synthetic", {"x0": {"uniform": [-3.0, 12.0]}, "x1": {"uniform": [0.0, 15.0]}}, branin, 0, 0.397887),
    Task("hartmann6", "synthetic", _box(0.0, 1.0, 6), hartmann6, 0, -3.32237),
    Task("ackley5", "synthetic", _box(-10.0, 10.0, 5), ackley5, 0, 0.0),
    Task("rosenbrock4", "synthetic", _box(-2.0, 2.0, 4), rosenbrock4, 0, 0.0),
    Task("levy8", "synthetic", _box(-8.0, 8.0, 8), levy8, 0, 0.0),
)
