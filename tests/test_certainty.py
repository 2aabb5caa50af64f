"""The probability of being the best, against exact answers and by its calibration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from raytune_suite import certainty
from raytune_suite.certainty import posterior


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certainty, "_CHAINS", 100)
    monkeypatch.setattr(certainty, "_BURN_IN", 30)


@pytest.mark.parametrize("seed", range(6))
def test_two_configurations_are_compared_as_by_the_paired_t_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2, 5)) + [[0.0], [0.7]] + 3 * rng.normal(size=5)
    apart = values[1] - values[0]
    exact = stats.t.cdf(apart.mean() / (apart.std(ddof=1) / 5**0.5), 4)
    assert posterior(values, "min").better(0, 1) == pytest.approx(exact, abs=0.02)


def test_an_effect_that_a_seed_has_on_all_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4, 5))
    shifted = values + np.array([0.0, 100.0, -30.0, 5.0, 1.0])
    np.testing.assert_allclose(posterior(values, "min").best, posterior(shifted, "min").best, atol=0.01)


def test_scale_and_direction_are_the_metrics_own() -> None:
    values = np.random.default_rng(2).normal(size=(3, 4))
    less, more = posterior(values, "min"), posterior(-1000 * values + 7, "max")
    np.testing.assert_allclose(less.best, more.best, atol=0.02)
    low, high = less.difference(1, 0)
    assert low < values[1].mean() - values[0].mean() < high
    assert more.difference(1, 0)[0] == pytest.approx(-1000 * high, rel=0.1)


def test_probabilities_add_up_and_the_same_values_give_the_same_answer() -> None:
    values = np.random.default_rng(3).normal(size=(6, 5))
    one, other = posterior(values, "min"), posterior(values, "min")
    assert one.best.sum() == pytest.approx(1)
    np.testing.assert_array_equal(one.best, other.best)


def test_values_without_any_noise_are_certain_and_ties_are_shared() -> None:
    found = posterior(np.array([[1.0] * 3, [2.0] * 3, [1.0] * 3]), "min").best
    assert found[1] == 0
    assert found[0] == pytest.approx(0.5, abs=0.05)
    assert posterior(np.array([[0.1, 0.2], [0.2, 0.3]]), "min").best[0] == 1


def test_a_configuration_that_varies_much_is_not_taken_for_a_sure_thing() -> None:
    """Its mean is the lowest, but by less than its own scatter; the steady ones say nothing about it."""
    rng = np.random.default_rng(4)
    steady = rng.normal(size=(4, 6)) * 0.01 + 1.0
    wild = np.array([[0.2, 1.9, 0.1, 1.6, 0.3, 1.3]])
    assert posterior(np.concatenate([wild, steady]), "min").best[0] < 0.75


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("unequal", [False, True])
def test_claims_of_95_percent_are_right_that_often(unequal: bool) -> None:
    """60 made-up confirmations of 5 configurations and 5 seeds; the seed is fixed, so the test never flickers."""
    rng = np.random.default_rng(5)
    claims = right = 0
    for number in range(60):
        means = 2 * rng.normal(size=5)
        sd = np.exp(0.7 * rng.normal(size=5)) if unequal else np.ones(5)
        values = means[:, None] + rng.normal(size=5) + sd[:, None] * rng.normal(size=(5, 5))
        best = posterior(values, "min", number).best
        if best.max() >= 0.95:
            claims += 1
            right += best.argmax() == means.argmin()
    assert claims >= 12
    assert right / claims >= 0.93


@pytest.mark.usefixtures("quick")
def test_equal_configurations_are_seldom_told_apart() -> None:
    rng = np.random.default_rng(6)
    claims = sum(
        posterior(rng.normal(size=(6, 5)) + rng.normal(size=5), "min", n).best.max() >= 0.95 for n in range(60)
    )
    assert claims <= 4


@pytest.mark.parametrize("values", [[[1.0, 2.0]], [[1.0], [2.0]], [[1.0, np.nan], [1.0, 2.0]]])
def test_too_little_to_compare_is_refused(values: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="finite, of two or more"):
        posterior(np.array(values), "min")
