"""When a study whose trials fail is given up, and what is said then."""

from __future__ import annotations

from typing import Any

from raytune_suite.firstfailures import FirstFailures

NO_FILE = {"type": "FileNotFoundError", "message": "no such file: /data/7/train.npy"}


def after(limit: int, *endings: Any) -> str | None:
    """What is said after trials ended so: with an error, None for NaN, True for a good value."""
    counted = FirstFailures(limit)
    for number, ending in enumerate(endings):
        error = ending if isinstance(ending, dict) else None
        counted.ended(number, error, failed=ending is not True, iteration=0, alive={})
    verdict = counted.verdict()
    return str(verdict) if verdict is not None else None


def test_a_study_is_given_up_when_its_first_trials_all_failed() -> None:
    assert after(3, NO_FILE, NO_FILE) is None
    said = after(3, NO_FILE, {**NO_FILE, "message": "no such file: /data/8/train.npy"}, NO_FILE)
    assert said is not None
    assert "The first 3 trials all failed" in said
    assert said.count("FileNotFoundError") == 1
    assert "(trials 0, 1, 2)" in said
    assert "first_failures: 0" in said


def test_the_commonest_error_is_named_first() -> None:
    said = after(3, {"type": "ValueError", "message": "odd"}, NO_FILE, NO_FILE) or ""
    assert said.index("FileNotFoundError") < said.index("ValueError")


def test_values_that_are_all_nan_are_failures_too() -> None:
    assert "the metric was never a finite number (trials 0, 1)" in (after(2, None, None) or "")


def test_one_good_trial_gives_hope_for_good() -> None:
    assert after(2, NO_FILE, True, NO_FILE, NO_FILE, NO_FILE) is None


def test_zero_lets_all_of_them_fail() -> None:
    assert after(0, *[NO_FILE] * 50) is None


def test_a_trial_that_has_come_further_than_those_that_failed_gives_hope_for_good() -> None:
    counted = FirstFailures(2)
    counted.ended(0, NO_FILE, failed=True, iteration=1, alive={2: 2})
    for number in (1, 3, 4):
        counted.ended(number, NO_FILE, failed=True, iteration=1, alive={})
        assert counted.verdict() is None


def test_one_that_has_come_no_further_gives_hope_only_while_it_is_older() -> None:
    counted = FirstFailures(2)
    counted.ended(0, NO_FILE, failed=True, iteration=1, alive={1: 1})
    counted.ended(2, NO_FILE, failed=True, iteration=1, alive={1: 1, 3: 1})
    assert counted.verdict() is None
    counted.ended(1, NO_FILE, failed=True, iteration=1, alive={3: 1})
    assert "first 3 trials all failed" in str(counted.verdict())


def test_a_study_gone_on_with_counts_anew() -> None:
    counted = FirstFailures(1)
    counted.ended(0, NO_FILE, failed=True, iteration=0, alive={})
    counted.again()
    assert counted.verdict() is None
