import numpy as np
import pytest
from scipy.optimize import check_grad

from raytune_suite.search import gp

RNG = np.random.default_rng(0)
ROWS = RNG.random((25, 4))
VALUES = np.sin(4 * ROWS[:, 0]) + ROWS[:, 1] ** 2 + 0.05 * RNG.standard_normal(25)
VALUES = (VALUES - VALUES.mean()) / VALUES.std()
GROUPS = np.array([0, 1, 2, 2])


def test_the_gradient_of_the_posterior_of_hyperparameters_is_exact() -> None:
    prior = gp.Prior()
    squares = gp._group_squares(ROWS, GROUPS, 3)
    data = (squares, VALUES, prior.centre(3), prior.spread(3))
    for seed in range(3):
        theta = prior.centre(3) + 0.5 * np.random.default_rng(seed).standard_normal(5)
        error = check_grad(
            lambda t: gp._negative_posterior(t, *data)[0],
            lambda t: gp._negative_posterior(t, *data)[1],
            theta,
        )
        assert error < 1e-4


def test_the_gradients_of_mean_and_deviation_are_exact() -> None:
    posterior = gp.Posterior(gp.fit(ROWS, VALUES, GROUPS), ROWS, VALUES)
    row = np.array([0.3, 0.6, 0.2, 0.9])
    mean, deviation, d_mean, d_deviation = posterior.slope(row)
    expected = posterior.predict(row[None])
    assert (mean, deviation) == pytest.approx((expected[0][0], expected[1][0]))
    step = 1e-6
    for column in range(4):
        ahead, behind = row.copy(), row.copy()
        ahead[column] += step
        behind[column] -= step
        up, down = posterior.predict(ahead[None]), posterior.predict(behind[None])
        assert d_mean[column] == pytest.approx((up[0][0] - down[0][0]) / (2 * step), abs=1e-5)
        assert d_deviation[column] == pytest.approx((up[1][0] - down[1][0]) / (2 * step), abs=1e-4)


def test_the_fit_finds_out_which_inputs_matter() -> None:
    kernel = gp.fit(ROWS, VALUES, GROUPS)
    assert kernel.weights[0] > 2 * kernel.weights[2]
    assert kernel.weights[2] == kernel.weights[3]


def test_the_fit_tells_noise_from_structure() -> None:
    rng = np.random.default_rng(1)
    rows = rng.random((60, 2))
    noise = rng.standard_normal(60)
    quiet = np.sin(5 * rows[:, 0])
    groups = np.arange(2)
    assert gp.fit(rows, noise, groups).noise > 0.3
    assert gp.fit(rows, quiet / quiet.std(), groups).noise < 0.01


def test_a_believed_point_keeps_the_mean_and_shrinks_the_deviation_there() -> None:
    posterior = gp.Posterior(gp.fit(ROWS, VALUES, GROUPS), ROWS, VALUES)
    pending = np.array([[0.9, 0.05, 0.95, 0.05]])
    probe = RNG.random((10, 4))
    believed = posterior.believe(pending)
    assert believed.mean(probe) == pytest.approx(posterior.mean(probe), abs=1e-6)
    assert believed.predict(pending)[1][0] < 0.5 * posterior.predict(pending)[1][0]
