import numpy as np
import pytest

from raytune_suite.search.curves import levels, link


def falling(quality: float, length: int, noise: np.random.Generator | None = None) -> dict[int, float]:
    """A curve that falls from 2 to ``quality``; values of early iterations are all far above any final one."""
    wobble = noise.standard_normal(length) * 0.01 if noise is not None else np.zeros(length)
    return {t: quality + (2.0 - 0.5 * (1 - quality)) * 0.7**t + float(wobble[t - 1]) for t in range(1, length + 1)}


def test_levels_grow_by_about_a_half_and_end_with_the_whole() -> None:
    assert levels(27) == [1, 2, 3, 5, 8, 11, 17, 26, 27]
    assert levels(1) == [1]
    assert levels(2) == [1, 2]


def test_trials_of_one_length_keep_their_order() -> None:
    qualities = [0.5, 0.1, 0.9, 0.3]
    linked = link([falling(q, 9) for q in qualities], levels(9))
    assert np.argsort(linked.losses).tolist() == np.argsort(qualities).tolist()


def test_a_stopped_trial_stands_where_its_quality_puts_it_not_its_last_value() -> None:
    """One of two equal trials is stopped at the first iteration, at a loss far above the other's."""
    rng = np.random.default_rng(0)
    qualities = np.linspace(0.1, 1.0, 19)
    curves = [falling(q, 27 if i % 3 else 1, rng) for i, q in enumerate(qualities)]
    linked = link(curves, levels(27))
    assert curves[0][1] > max(curve[27] for curve in curves if 27 in curve)
    found = np.argsort(np.argsort(linked.losses))
    assert np.corrcoef(found, np.arange(19))[0, 1] > 0.95


def test_a_metric_that_worsens_with_the_iterations_does_not_favour_stopped_trials() -> None:
    qualities = np.linspace(0.1, 1.0, 16)
    curves = [{t: q * (1.0 + 0.3 * t) for t in range(1, 28 if i % 2 else 2)} for i, q in enumerate(qualities)]
    linked = link(curves, levels(27))
    assert np.corrcoef(np.argsort(np.argsort(linked.losses)), np.arange(16))[0, 1] > 0.95


def test_a_trial_that_falls_back_among_survivors_loses_its_place() -> None:
    curves = [falling(q, 27) for q in (0.2, 0.4, 0.6, 0.8, 1.0)]
    overfits = {t: 1.4 if t < 5 else 3.0 for t in range(1, 28)}
    linked = link([*curves, overfits], levels(27))
    assert linked.losses[-1] == max(linked.losses)


def test_early_values_are_less_certain_than_late_ones() -> None:
    rng = np.random.default_rng(1)
    curves = [falling(q, length, rng) for q, length in zip(rng.random(12), [1, 3, 27] * 4, strict=True)]
    variances = link(curves, levels(27)).variances
    assert variances[0] > variances[1] > variances[2] == 0.0


def test_a_single_trial_that_went_on_keeps_its_place() -> None:
    curves = [falling(0.5, 9), {1: 1.9}, {1: 1.2}]
    linked = link(curves, levels(9))
    assert linked.losses[0] == pytest.approx(link([{1: curves[0][1]}, {1: 1.9}, {1: 1.2}], levels(9)).losses[0])


@pytest.mark.parametrize("loss", [1e308, -1e308, 0.0])
def test_enormous_losses_are_survived(loss: float) -> None:
    linked = link([{1: loss, 2: loss}, {1: 1.0}, {1: 2.0, 2: 1.5}, {1: 3.0}], levels(3))
    assert np.isfinite(linked.losses).all()
    assert np.isfinite(linked.variances).all()


def test_reports_may_be_sparse() -> None:
    sparse = [{4: 1.0, 8: 0.6}, {4: 0.9, 8: 0.5, 12: 0.4}, {4: 2.0}]
    linked = link(sparse, levels(12))
    assert np.argsort(linked.losses).tolist() == [1, 0, 2]
