import numpy as np

from raytune_suite.search.curves import levels, link
from raytune_suite.search.drift import ahead

LEVELS = levels(27)
ONE = np.zeros(1, dtype=np.intp)


def overtaking(rate: float, length: int, rng: np.random.Generator) -> dict[int, float]:
    """A small rate starts badly and ends well, a large one the other way round."""
    times = np.arange(1, length + 1)
    losses = (
        1.0 + (1.0 - rate) * np.exp(-times / 4) + rate * (1 - np.exp(-times / 4)) + 0.01 * rng.standard_normal(length)
    )
    return dict(zip(times.tolist(), losses.tolist(), strict=True))


def test_a_trial_stopped_early_is_judged_by_where_similar_ones_went() -> None:
    rng = np.random.default_rng(0)
    rates = np.append(rng.random(20), [0.3, 0.7])
    curves = [overtaking(rate, 27, rng) for rate in rates[:20]] + [overtaking(rate, 1, rng) for rate in rates[20:]]
    linked = link(curves, LEVELS)
    assert linked.losses[20] > linked.losses[21]  # at the first iteration the large rate leads
    losses, variances = ahead(linked, rates[:, None], ONE)
    assert losses[20] < losses[21]
    assert (variances <= linked.variances).all()
    assert variances[20] > variances[0] == 0.0


def test_whole_trainings_stay_as_they_are() -> None:
    rng = np.random.default_rng(1)
    rates = rng.random(12)
    linked = link([overtaking(rate, 27, rng) for rate in rates], LEVELS)
    losses, _ = ahead(linked, rates[:, None], ONE)
    assert np.array_equal(losses, linked.losses)


def test_without_trials_that_went_further_nothing_is_foreseen() -> None:
    rng = np.random.default_rng(2)
    rates = rng.random(6)
    linked = link([overtaking(rate, 1, rng) for rate in rates], LEVELS)
    losses, variances = ahead(linked, rates[:, None], ONE)
    assert np.array_equal(losses, linked.losses)
    assert (variances <= linked.variances).all()
