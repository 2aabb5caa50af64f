"""What the model believes each parameter does: checked against functions that are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from raytune_suite.search import Observation
from raytune_suite.search.bayesian import BayesianSearcher
from raytune_suite.search.effects import Effect
from raytune_suite.space import Space
from raytune_suite.states import State

SPACE = Space.parse(
    {
        "rate": {"loguniform": [1e-4, 1.0]},
        "layers": {"randint": [1, 5]},
        "optimizer": {"choice": ["sgd", "adam", "lion"]},
        "momentum": {"uniform": [0.0, 1.0], "when": "optimizer == 'sgd'"},
        "unused": {"uniform": [0.0, 1.0]},
    }
)


def loss(point: dict[str, Any]) -> float:
    """Lowest at a rate of 0.01, with three layers, for adam and a momentum of 0.9."""
    value = 0.2 * (math.log10(point["rate"]) + 2.0) ** 2 + 0.1 * (point["layers"] - 3) ** 2
    value += {"sgd": 0.1, "adam": 0.0, "lion": 0.5}[point["optimizer"]]
    return 1.0 + value + (point["momentum"] - 0.9) ** 2 if "momentum" in point else 1.0 + value


def told(trials: int, sign: float = 1.0, whole: int | None = None) -> BayesianSearcher:
    """A searcher told of random trials; of those after ``whole`` only the first of nine iterations."""
    searcher = BayesianSearcher(SPACE, mode="min" if sign > 0 else "max", num_trials=trials, max_iterations=9)
    rng = np.random.default_rng(0)
    for number in range(trials):
        point = SPACE.sample(rng)
        stopped = whole is not None and number >= whole
        for iteration in (1,) if stopped else (1, 9):
            value = sign * (loss(point) + (2.0 if iteration == 1 else 0.0))
            searcher.tell(Observation(number, point, value, iteration, State.RUNNING))
        searcher.tell(Observation(number, point, value, iteration, State.STOPPED if stopped else State.COMPLETED))
    return searcher


def by_name(searcher: BayesianSearcher) -> dict[str, Effect]:
    return {effect.name: effect for effect in searcher.effects()}


def best(effect: Effect) -> Any:
    return effect.values[int(np.argmin(effect.mean))]


@pytest.fixture(scope="module")
def effects() -> dict[str, Effect]:
    return by_name(told(60))


def test_each_parameter_is_believed_to_do_what_it_does(effects: dict[str, Effect]) -> None:
    assert list(effects) == list(SPACE.names)
    assert 0.003 < best(effects["rate"]) < 0.03
    assert best(effects["layers"]) == 3
    assert best(effects["optimizer"]) == "adam"
    assert best(effects["momentum"]) > 0.6
    assert np.ptp(effects["unused"].mean) < 0.2 * np.ptp(effects["rate"].mean)


def test_effects_are_in_the_metrics_units_with_a_band_around_them(effects: dict[str, Effect]) -> None:
    for effect in effects.values():
        assert all(low <= mean <= high for low, mean, high in zip(effect.low, effect.mean, effect.high, strict=True))
        assert all(0.9 < mean < 4.0 for mean in effect.mean)


def test_every_value_of_a_small_domain_and_an_even_spread_of_a_large_one_is_asked_for(
    effects: dict[str, Effect],
) -> None:
    assert effects["layers"].values == [1, 2, 3, 4]
    assert effects["optimizer"].values == ["sgd", "adam", "lion"]
    rates = effects["rate"].values
    assert (rates[0], rates[-1]) == (pytest.approx(1e-4), pytest.approx(1.0))
    assert np.allclose(np.diff(np.log(rates)), np.log(rates[1] / rates[0]))


def test_a_maximised_metric_gives_the_same_picture_upside_down(effects: dict[str, Effect]) -> None:
    mirrored = by_name(told(60, sign=-1.0))
    for name, effect in effects.items():
        assert np.allclose(mirrored[name].mean, -np.array(effect.mean))
        assert np.allclose(mirrored[name].low, -np.array(effect.high))


def test_trials_stopped_early_count_and_the_scale_is_that_of_whole_trainings() -> None:
    found = by_name(told(60, whole=20))
    assert 0.003 < best(found["rate"]) < 0.03
    wholes = [loss(dict(o.point)) for o in told(60, whole=20).observed.values() if o.state is State.COMPLETED]
    assert max(max(effect.mean) for effect in found.values()) <= max(wholes)


def test_a_parameter_that_was_never_active_has_no_effect() -> None:
    searcher = BayesianSearcher(SPACE, num_trials=20)
    for number in range(8):
        point = {"rate": 0.01 * (number + 1), "layers": 2, "optimizer": "adam", "unused": 0.5}
        searcher.tell(Observation(number, point, float(number), 1, State.COMPLETED))
    assert "momentum" not in by_name(searcher)
    assert "rate" in by_name(searcher)


def test_with_too_little_known_there_is_nothing_to_believe() -> None:
    assert told(2).effects() == []
    assert told(30, whole=2).effects() == []
    same = BayesianSearcher(SPACE, num_trials=20)
    for number in range(8):
        point = SPACE.sample(np.random.default_rng(number))
        same.tell(Observation(number, point, 1.0, 1, State.COMPLETED))
    assert same.effects() == []


def test_looking_changes_nothing_about_what_is_suggested() -> None:
    looked, other = told(12), told(12)
    for searcher in (looked, other):
        searcher.num_trials = 40
    looked.effects()
    assert looked.ask(12) == other.ask(12)
