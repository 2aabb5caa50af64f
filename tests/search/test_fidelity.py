"""One model of trainings of all lengths: what it says of whole ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from raytune_suite.search import Observation
from raytune_suite.search.bayesian import BayesianSearcher
from raytune_suite.search.fidelity import Whole
from raytune_suite.search.gp import Posterior, fit
from raytune_suite.space import Space
from raytune_suite.states import State

RATE = Space.parse({"rate": {"uniform": [0.0, 1.0]}})


def overtaking(rate: float, iteration: int) -> float:
    """A small rate starts badly and ends well, a large one the other way round."""
    left = float(np.exp(-iteration / 4))
    return 1.0 + (1.0 - rate) * left + rate * (1.0 - left)


def whole_of(rates: np.ndarray, lengths: list[int]) -> Whole:
    rows = [
        (rate, np.log(i) / np.log(27)) for rate, n in zip(rates, lengths, strict=True) for i in (1, 3, 9, 27) if i <= n
    ]
    values = np.array([overtaking(rate, round(27**budget)) for rate, budget in rows])
    values = (values - values.mean()) / values.std()
    groups = np.array([0, 1], dtype=np.intp)
    return Whole(Posterior(fit(np.array(rows), values, groups), np.array(rows), values), 1.0)


def test_where_trials_end_is_learnt_from_the_few_that_went_on_and_how_they_begin_from_all() -> None:
    rates = np.linspace(0.02, 0.98, 25)
    whole = whole_of(rates, [27 if place % 4 == 0 else 1 for place in range(25)])
    ends = whole.mean(rates[:, None])
    assert np.corrcoef(np.argsort(np.argsort(ends)), np.arange(25))[0, 1] > 0.95
    starts = Whole(whole.process, 0.0).mean(rates[:, None])
    assert np.corrcoef(np.argsort(np.argsort(starts)), -np.arange(25))[0, 1] > 0.95


def test_gradients_are_those_of_the_configuration_alone() -> None:
    whole = whole_of(np.linspace(0.0, 1.0, 12), [27, 1, 9] * 4)
    at, step = np.array([[0.37]]), 1e-6
    mean, deviation, d_mean, d_deviation = whole.slopes(at)
    assert mean == pytest.approx(whole.predict(at)[0])
    assert deviation == pytest.approx(whole.predict(at)[1])
    up, down = whole.predict(at + step), whole.predict(at - step)
    assert d_mean.shape == d_deviation.shape == (1, 1)
    assert d_mean[0] == pytest.approx((up[0] - down[0]) / (2 * step), rel=1e-3)
    assert d_deviation[0] == pytest.approx((up[1] - down[1]) / (2 * step), rel=1e-3)


def test_trainings_in_flight_are_believed_to_be_whole_ones() -> None:
    whole = whole_of(np.linspace(0.0, 1.0, 8), [1, 27] * 4)
    at = np.array([[0.61]])
    believed = whole.believe(at)
    assert believed.mean(at) == pytest.approx(whole.mean(at), abs=0.02)
    assert believed.predict(at)[1] < whole.predict(at)[1]


def searched(lengths: list[int], loss: Any, mode: str = "min") -> list[float]:
    """Where a searcher goes after trials of these lengths at evenly spread rates, in five suggestions."""
    searcher = BayesianSearcher(
        RATE, mode="max" if mode == "max" else "min", num_trials=60, max_iterations=27, options={"initial_points": 4}
    )
    sign = -1.0 if mode == "max" else 1.0
    for number, length in enumerate(lengths):
        point = {"rate": (number + 0.5) / len(lengths)}
        for iteration in range(1, length + 1):
            seen = Observation(number, point, sign * loss(point["rate"], iteration), iteration, State.RUNNING)
            searcher.tell(seen)
        state = State.COMPLETED if length == 27 else State.STOPPED
        searcher.tell(Observation(number, point, sign * loss(point["rate"], length), length, state))
    return [searcher.ask(len(lengths) + more).point["rate"] for more in range(5)]  # type: ignore[union-attr]


LENGTHS = [27 if place % 3 == 0 else 1 for place in range(24)]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_slow_starters_that_end_well_are_found_though_most_of_them_were_stopped(mode: str) -> None:
    assert np.median(searched(LENGTHS, overtaking, mode=mode)) < 0.25


@pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
def test_the_size_of_early_values_says_nothing_about_whole_trainings(size: float) -> None:
    """Early values far below all final ones, or far above: what ends best is sought, at a rate of 0.7."""

    def loss(rate: float, iteration: int) -> float:
        return (1.0 + (rate - 0.7) ** 2) * (size if iteration == 1 else 1.0)

    assert abs(float(np.median(searched(LENGTHS, loss))) - 0.7) < 0.15


def test_a_metric_that_worsens_with_the_iterations_does_not_favour_stopped_trials() -> None:
    """Those of large rates are stopped at the first iteration, whose losses are the lowest of all."""
    lengths = [27 if place < 12 else 1 for place in range(24)]
    assert np.median(searched(lengths, lambda rate, i: (1.0 + (rate - 0.3) ** 2) * (1.0 + 0.1 * i))) < 0.6


@pytest.mark.parametrize("loss", [1e308, -1e308, 0.0])
def test_enormous_losses_are_survived(loss: float) -> None:
    found = searched(LENGTHS, lambda rate, iteration: loss if 0.4 < rate < 0.5 else rate + 1.0 / iteration)
    assert all(0.0 <= rate <= 1.0 for rate in found)
