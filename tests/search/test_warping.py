import numpy as np
import pytest

from raytune_suite.search.warping import crowding, warp


def even(losses: np.ndarray) -> np.ndarray:
    return warp(losses, np.ones(len(losses))).values


def test_the_better_half_keeps_its_order_and_shape_and_the_worse_half_its_ranks() -> None:
    losses = np.array([1.0, 2.0, 4.0, 5.0, 5.5, 1e3, 1e9, 1e9])
    warped = even(losses)
    assert (np.diff(warped) >= 0).all()
    assert warped[6] == warped[7]
    gaps = np.diff(warped[:4])
    assert gaps[1] / gaps[0] == pytest.approx(2.0)
    assert warped.max() < 3.0


def test_the_scale_of_the_losses_does_not_matter() -> None:
    losses = np.array([3.0, 1.0, 2.0, 7.0])
    assert even(1e-200 * losses) == pytest.approx(even(losses))
    assert even(1e200 * losses) == pytest.approx(even(losses))


def test_where_it_is_bent_differences_of_the_best_are_stretched_and_the_order_stays() -> None:
    losses = np.array([0.10, 0.12, 0.2, 0.5, 1.0, 2.0, 2.2, 2.3])
    plain, bent = even(losses), warp(losses, np.ones(8), bent=True)
    assert (np.diff(bent.values) > 0).all()
    assert bent.values[1] - bent.values[0] > 3 * (plain[1] - plain[0])
    assert warp(5.0 + 1e3 * losses, np.ones(8), bent=True).values == pytest.approx(bent.values)
    for value, loss in zip(bent.values, losses, strict=True):
        assert bent.loss(float(value)) == pytest.approx(loss)
    assert (np.diff(bent.stretch[:4]) < 0).all()


@pytest.mark.parametrize("bent", [False, True])
@pytest.mark.parametrize("losses", [[2.0, 2.0, 2.0], [1e308, -1e308, 0.0], [5.0]])
def test_flat_and_enormous_losses_are_survived(losses: list[float], bent: bool) -> None:
    warped = warp(np.array(losses), np.ones(len(losses)), bent)
    assert np.isfinite(warped.values).all()
    assert np.isfinite(warped.stretch).all()


def test_a_crowd_around_the_best_point_leaves_the_scale_of_the_others_alone() -> None:
    rng = np.random.default_rng(0)
    spread, crowd = rng.random((20, 2)), 0.5 + 0.01 * rng.random((40, 2))
    losses = np.append(rng.random(20), -0.1 + 0.01 * rng.standard_normal(40))
    units = np.vstack([spread, crowd])
    weights = crowding(units)
    assert weights[20:].sum() < 2.0
    noise = np.std(warp(losses, weights).values[20:])
    assert noise < 0.1
    assert np.std(warp(losses, np.ones(60)).values[20:]) > 3 * noise


def test_only_those_near_in_every_parameter_count_as_a_crowd() -> None:
    units = np.array([[0.1, 0.1], [0.15, 0.1], [0.1, 0.5], [0.1, np.nan]])
    assert crowding(units).tolist() == [0.5, 0.5, 1.0, 1.0]


def test_values_are_read_back_as_losses() -> None:
    losses = np.array([1.0, 2.0, 4.0, 5.0, 5.5, 1e3])
    warped = warp(losses, np.ones(6))
    for value, loss in zip(warped.values, losses, strict=True):
        assert warped.loss(float(value)) == pytest.approx(loss)
    below = warped.loss(float(warped.values[0]) - 0.5 * float(np.diff(warped.values)[0]))
    assert below == pytest.approx(0.5)
