import numpy as np
import pytest

from raytune_suite.search.thinning import bounded, budget, levels, thin


def test_levels_double_and_end_with_the_whole() -> None:
    assert levels(27) == [1, 2, 4, 8, 16, 27]
    assert levels(16) == [1, 2, 4, 8, 16]
    assert levels(1) == [1]
    assert levels(2) == [1, 2]


def test_a_budget_is_a_share_of_the_doublings() -> None:
    assert [budget(i, 27) for i in (1, 3, 9, 27)] == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0])
    assert budget(1, 1) == 1.0
    assert budget(0, 9) == 0.0
    assert budget(90, 9) == 1.0


def test_long_histories_are_thinned_to_the_best_the_latest_and_some_of_the_rest() -> None:
    losses = np.array([float((n * 37) % 1000) for n in range(1000)])
    kept = thin(losses, 100)
    assert len(kept) == 100
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert set(np.flatnonzero(losses < 50).tolist()) <= set(kept.tolist())
    assert set(range(975, 1000)) <= set(kept.tolist())


def test_of_many_reports_the_few_late_ones_stay_and_the_many_early_ones_are_thinned() -> None:
    reached = [0] * 600 + [1] * 200 + [2] * 30
    losses = np.random.default_rng(0).random(830)
    kept = bounded(reached, losses, 300)
    assert kept.tolist() == sorted(set(kept.tolist()))
    counts = np.bincount(np.array(reached)[kept])
    assert counts.tolist() == [135, 135, 30]
    assert int(np.argmin(losses[:600])) in kept
    assert bounded(reached, losses, 1000).tolist() == list(range(830))
