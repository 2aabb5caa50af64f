from __future__ import annotations

import math
from typing import Any

import pytest
from a_study import a_study
from fake_tune import PENDING, FakeController, Table

from raytune_suite import schedulers


def median(options: dict[str, Any] | None = None, **fields: Any) -> Table:
    scheduler = {"name": "median", "min_samples_required": 3, **(options or {})}
    return Table(schedulers.build(a_study(scheduler=scheduler, **fields)))


def with_others(table: Table, curves: dict[int, list[float]]) -> Table:
    for number, values in curves.items():
        for iteration, value in enumerate(values, start=1):
            table.report(number, iteration, value)
    return table


OTHERS = {1: [0.9, 0.5], 2: [0.8, 0.6], 3: [0.7, 0.3]}  # running means at iteration 2: 0.7, 0.7, 0.5


@pytest.mark.parametrize(
    ("mode", "values", "action"),
    [
        ("min", [0.95, 0.71], "STOP"),
        ("min", [0.95, 0.69], "CONTINUE"),
        ("min", [0.60, 0.99], "CONTINUE"),  # its best counts, not its last
        ("min", [0.95, 0.70], "CONTINUE"),  # equal is not worse
    ],
)
def test_the_best_value_is_compared_with_the_median_of_running_means(
    mode: str, values: list[float], action: str
) -> None:
    table = with_others(median({"grace_period": 2}, mode=mode), {})
    for number, curve in {1: [0.9, 0.7], 2: [0.8, 0.7], 3: [0.7, 0.5]}.items():
        with_others(table, {number: curve})
    for iteration, value in enumerate(values, start=1):
        decision, why = table.report(9, iteration, value)
    assert decision == action
    assert (why is not None) == (action == "STOP")


def test_a_stop_says_the_median_and_how_many() -> None:
    table = with_others(median(), OTHERS)
    table.report(9, 1, 0.75)
    decision, why = table.report(9, 2, 0.74)
    assert decision == "STOP"
    assert why is not None
    assert why.reason == {"best": 0.74, "median": pytest.approx(0.7), "compared": 3, "grace_period": 1}
    assert why.text == (
        "stopped at iteration 2: its best value 0.74 is worse than 0.7, the median of the running means of 3 other "
        "trials"
    )


def test_max_is_the_mirror_of_min() -> None:
    def decisions(sign: float) -> list[str]:
        table = median(mode="min" if sign > 0 else "max")
        with_others(table, {n: [sign * v for v in values] for n, values in OTHERS.items()})
        return [table.report(9, i, sign * v)[0] for i, v in enumerate([0.75, 0.74], start=1)]

    assert decisions(1.0) == decisions(-1.0) == ["CONTINUE", "STOP"]


def test_too_few_others_are_no_reason_to_stop_or_pause() -> None:
    table = median()
    with_others(table, {1: [0.1], 2: [0.1]})
    waiting = table.add(7)
    assert waiting.status == PENDING
    assert table.report(9, 1, 0.9) == ("CONTINUE", None)
    assert not table.scheduler.pauses
    assert table.scheduler.replayable


def test_with_a_time_slice_it_pauses_for_others_and_says_so() -> None:
    table = median({"min_time_slice": 0})
    table.add(7)
    decision, why = table.report(9, 1, 0.9)
    assert decision == "PAUSE"
    assert why is not None
    assert "too few others" in why.text
    assert table.scheduler.pauses
    assert table.scheduler.checkpoint_every == 1


def test_without_a_hard_stop_the_bad_ones_are_paused_with_the_reason() -> None:
    table = with_others(median({"hard_stop": False}), OTHERS)
    decision, why = table.report(9, 1, 0.95)
    assert decision == "PAUSE"
    assert why is not None
    assert why.action == "pause"
    assert why.text.startswith("paused at iteration 1: its best value 0.95 is worse than")
    assert table.report(9, 2, 0.95) == ("CONTINUE", None)


def test_during_the_grace_period_nobody_is_stopped() -> None:
    table = median({"grace_period": 2})
    with_others(table, OTHERS)
    assert table.report(9, 1, 99.0) == ("CONTINUE", None)
    assert table.report(9, 2, 99.0)[0] == "STOP"
    assert table.scheduler.grace_for("00009") == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_counts_as_the_worst(bad: float) -> None:
    table = with_others(median(), OTHERS)
    decision, why = table.report(9, 1, bad)
    assert decision == "STOP"
    assert why is not None
    assert why.reason["best"] == math.inf
    # Nor does it count among the others' means.
    _, why = table.report(10, 1, 0.95)
    assert why is not None
    assert why.reason["compared"] == 3


def test_a_report_without_the_metric_is_passed_over() -> None:
    table = with_others(median(), OTHERS)
    assert table.report(9, 1, None) == ("CONTINUE", None)
    assert table.report(9, 2, 0.95)[0] == "STOP"


def test_the_default_configuration_goes_on_report_after_report() -> None:
    table = with_others(median(default={"learning_rate": 1e-3, "momentum": 0.9}), OTHERS)
    for iteration in (1, 2):
        decision, why = table.report(0, iteration, 0.95)
        assert decision == "CONTINUE"
        assert why is not None
        assert why.action == "continue"
        assert why.text.startswith(f"continued as the default configuration at iteration {iteration}: its best")


def test_a_run_ends_and_the_good_half_survives() -> None:
    study = a_study(scheduler="median", num_trials=20)
    run = FakeController(schedulers.build(study), lambda n, i: n + 1 / i, trials=20, slots=3).run()
    assert len(run.ended) == 20
    assert run.ended[0] == 27
    assert min(run.ended.values()) < 27
