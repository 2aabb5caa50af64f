"""Numbers, configs, durations and curves as people read them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from raytune_suite import formats
from raytune_suite.states import State


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.003123432342, "0.003123"),
        (1.234e-05, "1.234e-5"),
        (0.98333, "0.9833"),
        (12.0, "12.0"),
        (123456.0, "1.235e5"),
        (7, "7"),
        (1234567, "1234567"),
        (True, "True"),
        (None, "-"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        ("text", "text"),
    ],
)
def test_a_number_has_four_significant_digits_and_whole_numbers_stay_whole(value: Any, text: str) -> None:
    assert formats.number(value) == text


def test_a_config_is_one_short_line() -> None:
    point = {"learning_rate": 0.003123432342, "layers": [64, 0.12345], "schedule": None, "amp": False}
    assert formats.config(point) == "learning_rate=0.00312 layers=[64, 0.123] schedule=None amp=False"
    assert formats.config(point, 20) == "learning_rate=0.003…"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (8.06, "8.1s"), (59.4, "59s"), (59.9, "60s"), (61, "1m 01s"), (3599.7, "1h 00m"),
     (7500, "2h 05m"), (97200, "1d 03h"), (None, "-")],
)  # fmt: skip
def test_a_duration_names_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert formats.duration(seconds) == text


def test_a_curve_is_drawn_between_its_extremes_and_leaves_gaps() -> None:
    assert formats.sparkline([1.0, 0.5, math.nan, None, 0.0]) == "█▅  ▁"
    assert formats.sparkline([2.0, 2.0]) == "▁▁"
    assert formats.sparkline([math.nan]) == " "
    assert len(formats.sparkline([float(i) for i in range(1000)], 16)) == 16


@pytest.mark.parametrize(
    ("value", "yardstick", "mode", "text"),
    [
        (0.05, 0.1, "min", "50% lower"),
        (0.0999, 0.1, "min", "0.10% lower"),
        (0.2, 0.1, "min", "100% higher, which is worse"),
        (0.99, 0.97, "max", "0.02 higher"),
        (-2.0, -1.0, "min", "1.0 lower"),
        (0.1, 0.1, "min", "the same"),
    ],
)
def test_a_value_is_compared_with_the_yardstick(value: float, yardstick: float, mode: str, text: str) -> None:
    assert formats.improvement(value, yardstick, mode) == text


def test_states_are_counted_in_their_order() -> None:
    counts = {State.TIMED_OUT: 1, State.COMPLETED: 20}
    assert formats.states(counts) == "20 completed, 1 timed out"
    assert formats.numbers([1, 2, 3], 2) == "1, 2 and 1 more"


def test_facts_write_whole_numbers_as_such() -> None:
    assert formats.facts({"rung": 3.0, "cutoff": 0.09541}) == "rung 3, cutoff 0.0954"


def test_facts_that_are_not_known_are_left_out() -> None:
    assert formats.facts({"rung": 1, "cutoff": None, "compared": 0}) == "rung 1, compared 0"


def test_a_machine_is_named_or_else_its_address_stands_for_a_long_id() -> None:
    assert formats.node("node-a", "10.0.0.1") == "node-a"
    assert formats.node("f" * 56, "10.0.0.1") == "10.0.0.1"
    assert formats.node(None, None) is None


def test_the_interval_of_a_share_stays_within_it() -> None:
    assert formats.share_interval(1.0, 360) == "1.0 (0.989 to 1.000)"
