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
    model = gp.Likelihood(ROWS, VALUES, GROUPS, gp.Prior(), 0.02 * RNG.random(25))
    for seed in range(3):
        theta = model.centre + 0.5 * np.random.default_rng(seed).standard_normal(6)
        error = check_grad(lambda t: model.negative(t)[0], lambda t: model.negative(t)[1], theta)
        assert error < 1e-4


def test_the_gradients_of_mean_and_deviation_are_exact() -> None:
    posterior = gp.Posterior(gp.fit(ROWS, VALUES, GROUPS), ROWS, VALUES)
    rows = np.array([[0.3, 0.6, 0.2, 0.9], [0.8, 0.1, 0.5, 0.4]])
    mean, deviation, d_mean, d_deviation = posterior.slopes(rows)
    expected = posterior.predict(rows)
    assert mean == pytest.approx(expected[0])
    assert deviation == pytest.approx(expected[1])
    step = 1e-6
    for column in range(4):
        ahead, behind = rows.copy(), rows.copy()
        ahead[:, column] += step
        behind[:, column] -= step
        up, down = posterior.predict(ahead), posterior.predict(behind)
        assert d_mean[:, column] == pytest.approx((up[0] - down[0]) / (2 * step), abs=1e-5)
        assert d_deviation[:, column] == pytest.approx((up[1] - down[1]) / (2 * step), abs=1e-4)


def test_sums_of_main_effects_are_learned_from_few_points() -> None:
    """Eight inputs, forty points: the additive part predicts unseen points where nothing lies near."""
    rng = np.random.default_rng(2)
    rows, unseen = rng.random((40, 8)), rng.random((200, 8))

    def effects(x: np.ndarray) -> np.ndarray:
        return np.asarray(((x - np.linspace(0.2, 0.8, 8)) ** 2).sum(1))

    scale, middle = effects(rows).std(), effects(rows).mean()
    values = (effects(rows) - middle) / scale
    kernel = gp.fit(rows, values, np.arange(8))
    error = gp.Posterior(kernel, rows, values).mean(unseen) - (effects(unseen) - middle) / scale
    assert kernel.main > kernel.signal
    assert error.std() < 0.35


def test_a_value_known_to_be_noisy_is_followed_less() -> None:
    extra = np.zeros(25)
    extra[7] = 4.0
    kernel = gp.fit(ROWS, VALUES, GROUPS)
    off = VALUES.copy()
    off[7] += 3.0
    exact, doubted = gp.Posterior(kernel, ROWS, off), gp.Posterior(kernel, ROWS, off, extra)
    assert exact.mean(ROWS[7:8])[0] > off[7] - 1.0
    assert doubted.mean(ROWS[7:8])[0] < off[7] - 2.0


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
