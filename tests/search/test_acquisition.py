from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import integrate
from scipy.stats import norm

from raytune_suite.search.acquisition import Goal, log_improvement, neighbours, polish
from raytune_suite.search.encoding import Encoder
from raytune_suite.search.gp import Posterior, fit
from raytune_suite.search.transfer import Transfer
from raytune_suite.search.warping import warp
from raytune_suite.space import Space


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


SPACE = Space.parse(
    {
        "kind": {"choice": ["a", "b", "c"]},
        "x": {"uniform": [0.0, 1.0]},
        "y": {"uniform": [0.0, 1.0], "when": "kind == 'a'"},
        "n": {"randint": [1, 9]},
    }
)
ENCODER = Encoder(SPACE)


def goal_of(**more: Any) -> Goal:
    rng = np.random.default_rng(0)
    units = ENCODER.snap(rng.random((24, 4)))
    losses = (np.nan_to_num(units, nan=0.3) ** 2).sum(1)
    features, values = ENCODER.features(units), warp(losses, np.ones(24)).values
    posterior = Posterior(fit(features, values, ENCODER.groups), features, values)
    return Goal(ENCODER, posterior, float(values.min()), **more)


def cost() -> Posterior:
    units = ENCODER.snap(np.random.default_rng(1).random((12, 4)))
    features = ENCODER.features(units)
    return Posterior(fit(features, units[:, 1], ENCODER.groups), features, units[:, 1])


def transfer() -> tuple[Transfer, np.ndarray]:
    units = np.random.default_rng(2).random((15, 4))
    return Transfer(ENCODER, [(units, np.cos(3 * units[:, 1]) + units[:, 2])]), np.array([0.7])


@pytest.mark.parametrize("more", ["", "cost", "transfer", "noise"])
@pytest.mark.parametrize("kind", [0.1, 0.9])
def test_the_gradient_of_the_goal_is_exact_where_something_moves(more: str, kind: float) -> None:
    extras: dict[str, Callable[[], Any]] = {"cost": cost, "transfer": transfer, "noise": lambda: 0.2}
    goal = goal_of(**({more: extras[more]()} if more else {}))
    start = ENCODER.snap(np.array([[kind, 0.37, 0.62, 0.44]]))
    values, gradients = goal.slopes(start)
    assert values == pytest.approx(goal(start))
    step = 1e-6
    moving = ENCODER.moves & ~np.isnan(start[0])
    assert moving.tolist() == [False, True, kind < 0.3, True]
    for index in np.flatnonzero(moving):
        ahead, behind = start.copy(), start.copy()
        ahead[0, index] += step
        behind[0, index] -= step
        expected = (goal.slopes(ahead)[0][0] - goal.slopes(behind)[0][0]) / (2 * step)
        assert gradients[0, index] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_polishing_never_leaves_the_space_and_finds_something_better() -> None:
    goal = goal_of()
    starts = ENCODER.snap(np.random.default_rng(3).random((4, 4)))
    climbed = polish(goal, starts)
    assert np.array_equal(np.nan_to_num(ENCODER.snap(climbed)), np.nan_to_num(climbed))
    assert np.array_equal(climbed[:, 0], starts[:, 0])
    assert goal(climbed).sum() > goal(starts).sum()


def test_neighbours_change_one_listed_parameter_to_each_of_its_values() -> None:
    row = ENCODER.snap(np.array([[0.1, 0.4, 0.6, 0.5]]))
    found = neighbours(ENCODER, row)
    assert len(found) == 3 + 8
    assert all(((other != row[0]) & ~np.isnan(row[0])).sum() <= 1 for other in found)


def test_what_costs_less_is_preferred_where_improvements_are_equal() -> None:
    units = ENCODER.snap(np.random.default_rng(4).random((30, 4)))
    plain, cheap = goal_of(), goal_of(cost=cost())
    assert np.corrcoef(cheap(units) - plain(units), units[:, 1])[0, 1] < -0.9


def test_the_more_trials_spread_around_the_model_the_less_its_own_doubt_counts() -> None:
    units = ENCODER.snap(np.random.default_rng(5).random((200, 4)))
    features = ENCODER.features(units)
    plain, noisy = goal_of(), goal_of(noise=1.0)
    mean, _ = plain.predict(features)
    assert np.corrcoef(noisy(units), -mean)[0, 1] > 0.95 > np.corrcoef(plain(units), -mean)[0, 1] + 0.1
