"""When a suggestion is made before a slot is free: tables of trials, on a clock of the test."""

from __future__ import annotations

import math

import pytest

from raytune_suite.search.ahead import Forecast


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def forecast(*durations: float) -> tuple[Forecast, Clock]:
    """A forecast that has seen trials of these durations, one after the other."""
    clock = Clock()
    made = Forecast(clock)
    for number, duration in enumerate(durations):
        made.began(number)
        clock.now += duration
        made.left(number)
    return made, clock


def test_nothing_is_expected_of_trials_nobody_has_seen_end() -> None:
    made, _ = forecast()
    assert made.remaining_s() == math.inf
    made.began(7)
    assert made.remaining_s() == math.inf
    assert not made.worth(100.0)


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (0.0, 9.0),  # half of the trials take 9 s or more
        (0.5, 8.5),
        (2.0, 7.0),  # it was not stopped at 1 s
        (9.5, math.inf),  # none has lasted that long
    ],
)
def test_a_trial_is_expected_to_last_as_long_as_those_that_got_as_far(age: float, expected: float) -> None:
    made, clock = forecast(1.0, 1.0, 9.0, 9.0)
    made.began(10)
    clock.now += age
    assert made.remaining_s() == pytest.approx(expected)


def test_the_first_slot_counts() -> None:
    made, clock = forecast(4.0, 4.0, 4.0)
    made.began(10)
    clock.now += 3.0
    made.began(11)
    assert made.remaining_s() == pytest.approx(1.0)
    made.left(10)
    assert made.remaining_s() == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("duration", "age", "seconds", "expected"),
    [
        (0.5, 0.3, 0.3, True),  # it will end while the suggestion is made
        (0.5, 0.0, 0.3, False),  # there is time
        (60.0, 59.9, 0.3, False),  # half a percent of the slot's time is no reason to know less
        (2.0, 1.8, 0.3, True),
    ],
)
def test_ahead_is_only_what_would_keep_a_slot_waiting_for_a_share_of_its_time(
    duration: float, age: float, seconds: float, expected: bool
) -> None:
    made, clock = forecast(*[duration] * 4)
    made.began(10)
    clock.now += age
    assert made.worth(seconds) is expected


def test_only_the_latest_trials_count_and_unknown_ones_do_not() -> None:
    made, _ = forecast(*[100.0] * 50, *[1.0] * 50)
    made.left(999)
    made.began(1000)
    assert made.remaining_s() == pytest.approx(1.0)
    assert len(made._sorted) == 50
