import numpy as np
import pytest
from scipy import integrate
from scipy.stats import norm

from raytune_suite.search.acquisition import Goal, log_improvement, scores, warp
from raytune_suite.search.gp import Posterior, fit


@pytest.mark.parametrize("z", [-4.0, -1.001, -0.999, 0.0, 3.0])
def test_the_log_improvement_is_the_log_of_the_integral(z: float) -> None:
    deviation = 0.7
    mean = -z * deviation
    expected, _ = integrate.quad(lambda y: -y * norm.pdf(y, mean, deviation), mean - 12 * deviation, 0.0)
    assert log_improvement(np.array([mean]), np.array([deviation]), 0.0)[0] == pytest.approx(np.log(expected), rel=1e-6)


def test_the_log_improvement_falls_smoothly_far_into_the_tail() -> None:
    means = np.logspace(0, 9, 400)
    values = log_improvement(means, np.ones_like(means), 0.0)
    assert np.isfinite(values).all()
    assert (np.diff(values) < 0).all()


def test_the_gradient_of_the_goal_is_exact() -> None:
    rng = np.random.default_rng(0)
    rows = rng.random((20, 3))
    values = warp((rows**2).sum(1))
    posterior = Posterior(fit(rows, values, np.arange(3)), rows, values)
    goal = Goal(posterior, float(values.min()), None)
    row, step = np.array([0.2, 0.5, 0.3]), 1e-6
    value, gradient = goal.slope(row)
    assert value == pytest.approx(goal(row[None])[0])
    for column in range(3):
        ahead, behind = row.copy(), row.copy()
        ahead[column] += step
        behind[column] -= step
        assert gradient[column] == pytest.approx(
            (goal(ahead[None])[0] - goal(behind[None])[0]) / (2 * step), rel=1e-4, abs=1e-5
        )


def test_warping_keeps_the_order_and_the_shape_of_the_better_half() -> None:
    losses = np.array([1.0, 2.0, 4.0, 5.0, 5.5, 1e3, 1e9, 1e9])
    warped = warp(losses)
    assert (np.diff(warped) >= 0).all()
    assert warped[6] == warped[7]
    gaps = np.diff(warped[:4])
    assert gaps[1] / gaps[0] == pytest.approx(2.0)
    assert warped.max() < 3.0


def test_warping_does_not_depend_on_the_scale() -> None:
    losses = np.array([3.0, 1.0, 2.0, 7.0])
    assert warp(1e-200 * losses) == pytest.approx(warp(losses))
    assert warp(1e200 * losses) == pytest.approx(warp(losses))


@pytest.mark.parametrize("losses", [[2.0, 2.0, 2.0], [1e308, -1e308, 0.0], [5.0]])
def test_warping_survives_flat_and_enormous_losses(losses: list[float]) -> None:
    assert np.isfinite(warp(np.array(losses))).all()


def test_scores_keep_the_order_alone() -> None:
    losses = np.array([0.01, 0.02, 0.5, 2.3, 2.3, 1e9])
    assert scores(losses) == pytest.approx(scores(np.log(losses)))
    assert (np.diff(scores(losses)) >= 0).all()
    assert scores(losses)[3] == scores(losses)[4]
    assert scores(losses).std() == pytest.approx(1.0)
