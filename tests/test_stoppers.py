from __future__ import annotations

import math
from typing import Any

import pytest
from a_study import a_study

from raytune_suite.states import State
from raytune_suite.stoppers import Stopped, Stoppers, duration


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def stoppers(clock: Clock | None = None, elapsed_before: float = 0.0, **fields: Any) -> Stoppers:
    return Stoppers(a_study(**fields), clock or Clock(), elapsed_before=elapsed_before)


def feed(rules: Stoppers, values: list[float | None], number: int = 1) -> tuple[int, Stopped] | None:
    for iteration, value in enumerate(values, start=1):
        if (stopped := rules.report(number, iteration, value, elapsed=float(iteration))) is not None:
            return iteration, stopped
    return None


def test_without_rules_nothing_is_stopped() -> None:
    rules = stoppers()
    assert feed(rules, [1.0, 2.0, 3.0, None, 4.0]) is None
    rules.end(1, 4.0)
    assert rules.study() is None
    assert rules.remaining is None


@pytest.mark.parametrize(
    ("mode", "target", "values", "at"),
    [
        ("min", 0.5, [0.9, 0.6, 0.5, 0.1], 3),
        ("min", 0.5, [0.9, 0.6, 0.51], None),
        ("max", 0.5, [0.1, 0.4, 0.7], 3),
        ("max", 0.5, [-1.0, 0.49], None),
        ("max", 0.5, [0.1, None, 0.5], 3),
    ],
)
def test_a_target_is_reached_in_the_direction_of_the_mode(
    mode: str, target: float, values: list[float | None], at: int | None
) -> None:
    rules = stoppers(mode=mode, stop={"target": target})
    found = feed(rules, values)
    assert (found and found[0]) == at
    study = rules.study()
    assert (study is not None) == (at is not None)
    if found and study:
        assert found[1].by == study.by == "target"
        assert "reached the target 0.5" in found[1].text
        assert study.text.startswith("trial 1 reached the target: loss")


def test_an_infinity_in_the_good_direction_is_no_target_reached() -> None:
    rules = stoppers(mode="min", stop={"target": 0.5})
    found = feed(rules, [0.9, -math.inf])
    assert found is not None
    assert found[1].by == "nan"
    assert rules.study() is None


@pytest.mark.parametrize(
    ("mode", "values", "at"),
    [
        ("min", [5, 4, 4, 4, 4, 4], 5),
        ("min", [5, 4, 5, 5, 3, 5, 5, 5], 8),
        ("min", [5, 4, 3, 2, 1], None),
        ("max", [1, 2, 2, 2, 2], 5),
        ("max", [1, 2, 3, 4, 5], None),
        ("min", [5, 4, None, 4, None, 4, None, 4], 8),
    ],
)
def test_a_trial_on_a_plateau_is_stopped_after_its_patience(
    mode: str, values: list[float | None], at: int | None
) -> None:
    found = feed(stoppers(mode=mode, stop={"trial_plateau": {"patience": 3}}), values)
    assert (found and found[0]) == at


def test_an_improvement_below_min_delta_is_none_and_the_sentence_says_so() -> None:
    rules = stoppers(stop={"trial_plateau": {"patience": 2, "min_delta": 0.1}})
    found = feed(rules, [1.0, 0.95, 0.92])
    assert found is not None
    assert found[0] == 3
    assert found[1].by == "trial_plateau"
    assert found[1].state is State.STOPPED
    assert found[1].text == ("stopped at iteration 3: no improvement of more than 0.1 on 1 (iteration 1) in 2 reports")


def test_small_improvements_that_add_up_to_min_delta_count() -> None:
    rules = stoppers(stop={"trial_plateau": {"patience": 3, "min_delta": 0.1}})
    assert feed(rules, [1.0, 0.95, 0.89, 0.85, 0.78, 0.7]) is None


def test_a_trial_restored_from_an_older_checkpoint_starts_its_patience_there() -> None:
    rules = stoppers(stop={"trial_plateau": {"patience": 3}})
    assert feed(rules, [5.0, 4.0, 3.0, 3.5, 3.5]) is None
    # The worker died; the trial goes on from iteration 2, before its best.
    assert rules.report(1, 3, 3.5, 3.0) is None
    assert rules.report(1, 4, 3.6, 4.0) is None
    assert rules.report(1, 5, 3.6, 5.0) is None
    stopped = rules.report(1, 6, 3.6, 6.0)
    assert stopped is not None
    assert "3.5 (iteration 3)" in stopped.text


def test_each_trial_has_its_own_plateau() -> None:
    rules = stoppers(stop={"trial_plateau": {"patience": 2}})
    for iteration, value in enumerate([5.0, 5.0], start=1):
        assert rules.report(1, iteration, value, 1.0) is None
    assert rules.report(2, 1, 9.0, 1.0) is None
    assert rules.report(2, 2, 9.0, 1.0) is None
    assert rules.report(1, 3, 5.0, 1.0) is not None


def test_the_default_configuration_is_not_stopped_by_a_plateau_but_by_nan() -> None:
    rules = stoppers(stop={"trial_plateau": {"patience": 1}}, default={"learning_rate": 1e-3, "momentum": 0.9})
    assert feed(rules, [1.0] * 10, number=0) is None
    assert feed(rules, [1.0] * 10, number=1) is not None
    stopped = rules.report(0, 11, math.nan, 1.0)
    assert stopped is not None
    assert stopped.by == "nan"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_value_that_is_not_finite_ends_the_trial_at_once_and_names_the_last_good_one(bad: float, mode: str) -> None:
    found = feed(stoppers(mode=mode), [0.7, 0.5, bad])
    assert found is not None
    iteration, stopped = found
    assert (iteration, stopped.by, stopped.state) == (3, "nan", State.STOPPED)
    assert "at iteration 3" in stopped.text
    assert "its last good value, 0.5 at iteration 2, is kept" in stopped.text
    assert stopped.reason["last_good"] == 0.5


def test_a_trial_that_never_had_a_value_says_so() -> None:
    found = feed(stoppers(), [math.nan])
    assert found is not None
    assert found[1].text == "stopped at iteration 1: loss is nan, the worst value; it never had a value"


def test_under_pbt_a_diverged_trial_lives_on_to_be_replaced() -> None:
    assert feed(stoppers(scheduler={"name": "pbt", "perturbation_interval": 3}), [1.0, math.nan]) is None


def test_a_trial_ends_when_its_own_training_time_is_used_up() -> None:
    rules = stoppers(stop={"trial_time": "90s"})
    assert rules.report(1, 1, 0.5, elapsed=89.9) is None
    stopped = rules.report(1, 2, 0.4, elapsed=91.0)
    assert stopped is not None
    assert stopped.text == ("stopped at iteration 2: trained for 1 min 31 s, its budget (trial_time) is 1 min 30 s")
    assert stopped.state is State.STOPPED


def test_the_time_budget_counts_without_a_metric_too() -> None:
    rules = stoppers(stop={"trial_time": 10})
    assert rules.report(1, 1, None, elapsed=11.0) is not None


def test_the_study_ends_when_its_running_time_is_used_up() -> None:
    clock = Clock()
    rules = stoppers(clock, stop={"time": "30m"})
    clock.now += 1799
    assert rules.study() is None
    assert rules.remaining == pytest.approx(1.0)
    clock.now += 1
    stopped = rules.study()
    assert stopped is not None
    assert stopped.by == "time"
    assert "30 min" in stopped.text


def test_a_resumed_study_has_only_the_rest_of_its_budget() -> None:
    clock = Clock()
    rules = stoppers(clock, elapsed_before=1700.0, stop={"time": "30m"})
    assert rules.study() is None
    clock.now += 101
    assert rules.study() is not None
    assert rules.remaining == 0


@pytest.mark.parametrize(
    ("mode", "values", "after"),
    [
        ("min", [5, 4, 4, 4, 4], 5),
        ("min", [5, math.nan, 6, math.inf], 4),
        ("min", [5, None, None, None, None, None], None),
        ("max", [1, 2, 1, 1, 3, 1, 1, 1], 8),
        ("min", [5, 4, 3, 2, 1, 0], None),
    ],
)
def test_a_study_on_a_plateau_ends_after_its_patience_in_trials(
    mode: str, values: list[float | None], after: int | None
) -> None:
    rules = stoppers(mode=mode, stop={"study_plateau": {"patience": 3}})
    ended = None
    for number, value in enumerate(values):
        rules.end(number, value)
        if ended is None and rules.study() is not None:
            ended = number + 1
    assert ended == after


def test_a_study_plateau_says_what_the_best_stays() -> None:
    rules = stoppers(stop={"study_plateau": {"patience": 2, "min_delta": 0.01}})
    for number, value in enumerate([0.5, 0.495, 0.6]):
        rules.end(number, value)
    stopped = rules.study()
    assert stopped is not None
    assert stopped.text == "no improvement of more than 0.01 in the last 2 ended trials: the best stays 0.5"


def test_rules_combine_and_the_most_telling_comes_first() -> None:
    rules = stoppers(stop={"target": 0.5, "trial_plateau": {"patience": 1}, "trial_time": 1})
    stopped = rules.report(1, 1, 0.4, elapsed=2.0)
    assert stopped is not None
    assert stopped.by == "target"
    stopped = rules.report(2, 1, 0.9, elapsed=2.0)
    assert stopped is not None
    assert stopped.by == "trial_time"
    assert rules.report(3, 1, 0.9, elapsed=0.1) is None
    stopped = rules.report(3, 2, 0.9, elapsed=0.2)
    assert stopped is not None
    assert stopped.by == "trial_plateau"


def test_an_ended_trial_leaves_nothing_behind() -> None:
    rules = stoppers(stop={"trial_plateau": {"patience": 3}})
    for number in range(100):
        feed(rules, [1.0, 0.9], number)
        rules.end(number, 0.9)
    assert not rules._curves


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.25 s"), (42, "42 s"), (60, "1 min"), (330, "5 min 30 s"), (3600, "1 h 00 min"), (7500, "2 h 05 min")],
)
def test_durations_read_as_a_person_says_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
