from __future__ import annotations

import math
from typing import Any

import pytest

from raytune_suite.likeness import Comparison, distance
from raytune_suite.record import Report


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1.0, 1.0, 0.0),
        (1, 1.0, 0.0),
        (0.0, -0.0, 0.0),
        (100.0, 101.0, 1 / 101),
        (-1.0, 1.0, 2.0),
        (math.nan, math.nan, 0.0),
        (math.inf, math.inf, 0.0),
        (math.nan, 1.0, math.inf),
        ("a", "a", 0.0),
        ("a", "b", math.inf),
        (True, True, 0.0),
        (True, 1, math.inf),
        (None, None, 0.0),
        (None, 0.0, math.inf),
    ],
)
def test_values_are_as_far_apart_as_their_relative_difference(one: Any, other: Any, expected: float) -> None:
    assert distance(one, other) == pytest.approx(expected)
    assert distance(other, one) == pytest.approx(expected)


def test_one_unit_in_the_last_place_is_a_difference() -> None:
    assert 0 < distance(0.1, math.nextafter(0.1, 1.0)) < 1e-15


def compared(*pairs: tuple[dict[str, Any], dict[str, Any]], **options: Any) -> Comparison:
    expected = [(7, Report(i, logged, 0.0, None)) for i, (logged, _) in enumerate(pairs, 1)]
    made = Comparison(expected, (), **options)
    for iteration, (_, now) in enumerate(pairs, 1):
        made.take(iteration, now)
    return made


def test_the_first_difference_is_named_with_both_values() -> None:
    same = {"loss": 1.0, "accuracy": 0.5}
    found = compared((same, same), (same, {**same, "loss": 2.0}), (same, {**same, "accuracy": 0.0})).difference
    assert found is not None
    assert (found.number, found.iteration, found.metric, found.logged, found.now) == (7, 2, "loss", 1.0, 2.0)
    assert str(found) == "loss at iteration 2: 1.0 logged, 2.0 now"


def test_within_the_tolerance_the_largest_difference_is_kept() -> None:
    found = compared(({"a": 1.0}, {"a": 1.001}), ({"a": 1.0}, {"a": 1.005}), tolerance=0.01)
    assert found.difference is None
    assert found.largest is not None
    assert found.largest.iteration == 2


def test_times_throughput_and_memory_are_not_compared() -> None:
    names = ("time/epoch_s", "throughput/samples_per_s", "memory/host_mb", "gpu/utilisation")
    found = compared((dict.fromkeys(names, 1.0) | {"loss": 1.0}, dict.fromkeys(names, 2.0) | {"loss": 1.0}))
    assert (found.difference, list(found.metrics)) == (None, ["loss"])


def test_a_metric_that_is_missing_is_a_difference_and_none_is_not_missing() -> None:
    found = compared(({"a": 1.0, "b": None}, {"a": 1.0, "b": None}), ({"a": 1.0}, {})).difference
    assert str(found) == "a at iteration 2: 1.0 logged, nothing now"
