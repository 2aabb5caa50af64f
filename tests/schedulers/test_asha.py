from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from a_study import a_study
from fake_tune import FakeController, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from raytune_suite import schedulers
from raytune_suite.schedulers.asha import AshaOptions, milestones, rungs


def asha(options: dict[str, Any] | None = None, **fields: Any) -> Table:
    study = a_study(scheduler={"name": "asha", "reduction_factor": 3, **(options or {})}, **fields)
    return Table(schedulers.build(study))


# One row a report: trial, iteration, value -> what happens, with which cutoff, among how many.
DECISIONS = [
    ("min", [(0, 1, 0.5, "CONTINUE", None, 0), (1, 1, 0.6, "STOP", 0.5, 1), (2, 1, 0.4, "CONTINUE", 0.5333, 2)]),
    ("max", [(0, 1, 0.5, "CONTINUE", None, 0), (1, 1, 0.6, "CONTINUE", 0.5, 1), (2, 1, 0.4, "STOP", 0.5667, 2)]),
    ("min", [(0, 1, 0.5, "CONTINUE", None, 0), (1, 1, 0.5, "CONTINUE", 0.5, 1)]),
    (
        "min",
        [
            (0, 1, 0.5, "CONTINUE", None, 0),
            (1, 1, 0.4, "CONTINUE", 0.5, 1),
            (0, 3, 0.30, "CONTINUE", None, 0),
            (1, 3, 0.412, "STOP", 0.30, 1),
        ],
    ),
]


@pytest.mark.parametrize(("mode", "rows"), DECISIONS)
def test_decisions_at_rungs(mode: str, rows: list[tuple[int, int, float, str, float | None, int]]) -> None:
    table = asha(mode=mode)
    for number, iteration, value, action, cutoff, compared in rows:
        decision, why = table.report(number, iteration, value)
        assert decision == action, (number, iteration)
        assert why is not None
        assert why.action == action.lower()
        assert why.reason["compared"] == compared
        assert why.reason["score"] == value
        assert why.reason["cutoff"] == (cutoff and pytest.approx(cutoff, abs=1e-4))


def test_a_stop_reads_as_one_sentence() -> None:
    table = asha()
    for number, value in enumerate([0.5, 0.4, 0.35, 0.3]):
        table.report(number, 1, value)
        table.report(number, 3, value - 0.1)
    decision, why = table.report(5, 3, 0.9)
    assert decision == "STOP"
    assert why is not None
    assert (why.by, why.iteration) == ("asha", 3)
    assert why.text == "stopped at iteration 3: 0.9 is worse than the cutoff 0.25 of rung 3 (top 1/3 of 4 trials)"


def test_the_first_at_a_rung_is_told_that_nobody_was_there() -> None:
    _, why = asha().report(0, 1, 0.5)
    assert why is not None
    assert why.text == (
        "continued at iteration 1: 0.5 is the first value in rung 1, so there is nothing to compare it with"
    )


def test_between_rungs_there_is_nothing_to_explain() -> None:
    table = asha()
    table.report(0, 1, 0.5)
    assert table.report(0, 2, 0.9) == ("CONTINUE", None)
    assert table.report(0, 4, 0.9)[1] is not None  # rung 3, met one report late
    assert table.report(0, 5, 0.9) == ("CONTINUE", None)


def test_reaching_the_last_iteration_is_no_decision() -> None:
    assert asha().report(0, 27, 0.5) == ("STOP", None)


def test_a_report_that_skipped_rungs_is_compared_once_at_the_highest() -> None:
    table = asha()
    table.report(0, 5, 0.1)
    table.report(1, 5, 0.05)
    bracket = table.scheduler.ray._brackets[0]
    recorded = {milestone: sorted(scores) for milestone, scores in bracket._rungs}
    assert recorded == {27: [], 9: [], 3: ["00000", "00001"], 1: []}
    # Ray alone would now compare iteration 6 with rung 1.
    assert table.report(0, 6, 9.0) == ("CONTINUE", None)


def test_a_missing_metric_is_passed_over_and_the_rung_met_later() -> None:
    table = asha()
    table.report(0, 1, 0.5)
    assert table.report(1, 1, None) == ("CONTINUE", None)
    decision, why = table.report(1, 2, 0.6)
    assert decision == "STOP"
    assert why is not None
    assert why.reason["rung"] == 1
    assert why.iteration == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_stops_the_trial_and_leaves_the_rungs_clean(bad: float) -> None:
    table = asha()
    table.report(0, 1, 0.5)
    decision, why = table.report(1, 1, bad)
    assert decision == "STOP"
    assert why is not None
    assert "the worst value there is" in why.text
    assert list(table.scheduler.ray._brackets[0]._rungs[-1][1]) == ["00000"]
    assert table.report(2, 1, 0.6)[1].reason["cutoff"] == 0.5  # type: ignore[union-attr]


def test_the_default_configuration_is_recorded_but_never_stopped() -> None:
    table = asha(default={"learning_rate": 1e-3, "momentum": 0.9})
    assert table.scheduler.protects(0)
    assert not table.scheduler.protects(1)
    table.report(1, 1, 0.1)
    decision, why = table.report(0, 1, 0.9)
    assert decision == "CONTINUE"
    assert why is not None
    assert why.action == "continue"
    assert why.reason["protected"]
    assert why.text == (
        "continued at iteration 1 as the default configuration, although 0.9 is worse than the cutoff 0.1 of rung 1 "
        "(top 1/3 of 1 trial)"
    )
    assert "00000" in table.scheduler.ray._brackets[0]._rungs[-1][1]
    assert table.scheduler.grace_for("00000") == 27
    assert table.report(0, 3, 0.9)[0] == "CONTINUE"


def test_brackets_come_from_the_seed_and_the_trial_alone() -> None:
    def drawn(seed: int, order: list[int]) -> dict[int, int]:
        table = asha({"brackets": 3}, seed=seed)
        for number in order:
            table.add(number)
        ray = table.scheduler.ray
        return {number: ray._brackets.index(ray._trial_info[f"{number:05d}"]) for number in order}

    np.random.seed(1)
    first = drawn(7, list(range(60)))
    np.random.seed(2)
    assert drawn(7, list(reversed(range(60)))) == first
    assert drawn(8, list(range(60))) != first
    assert set(first.values()) == {0, 1, 2}


def test_global_random_state_is_left_alone() -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].tolist()
    table = asha({"brackets": 2})
    for number in range(10):
        table.report(number, 1, number / 10)
    assert np.random.get_state()[1].tolist() == before


def test_brackets_are_drawn_with_rays_probabilities() -> None:
    table = asha({"brackets": 3})
    for number in range(3000):
        table.add(number)
    ray = table.scheduler.ray
    counts = np.bincount([ray._brackets.index(b) for b in ray._trial_info.values()], minlength=3)
    weights = np.exp([4.0, 3.0, 2.0])
    # Three binomials at five standard deviations: false alarm below 1 in a million.
    expected = 3000 * weights / weights.sum()
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


@given(
    max_t=st.integers(1, 300),
    grace=st.integers(1, 20),
    factor=st.sampled_from([1.5, 2, 2.5, 3, 4, 7]),
    brackets=st.integers(1, 4),
)
@settings(max_examples=150, deadline=None)
def test_the_plan_has_the_rungs_that_ray_makes(max_t: int, grace: int, factor: float, brackets: int) -> None:
    options = {"name": "asha", "grace_period": grace, "reduction_factor": factor, "brackets": brackets}
    study = a_study(scheduler=options, max_iterations=max_t)
    if schedulers.check(study):
        return
    ray = schedulers.build(study).ray
    for s, bracket in enumerate(ray._brackets):
        planned = milestones(study, AshaOptions(**{k: v for k, v in options.items() if k != "name"}), s)
        assert planned == [milestone for milestone, _ in reversed(bracket._rungs)]
    assert all(0 < rung < max_t for rung in schedulers.rungs(study))


@given(
    max_t=st.integers(1, 60),
    factor=st.sampled_from([1.5, 2, 3, 4]),
    stride=st.integers(1, 9),
    slots=st.integers(1, 5),
    seed=st.integers(0, 5),
    brackets=st.integers(1, 2),
)
@settings(max_examples=60, deadline=None)
def test_every_run_ends_and_the_best_curve_survives(
    max_t: int, factor: float, stride: int, slots: int, seed: int, brackets: int
) -> None:
    options = {"name": "asha", "reduction_factor": factor, "brackets": brackets}
    study = a_study(scheduler=options, max_iterations=max_t)
    if schedulers.check(study):
        return
    run = FakeController(
        schedulers.build(study),
        lambda number, iteration: number + 1 / iteration,
        trials=15,
        slots=slots,
        stride=stride,
        max_iterations=max_t,
        seed=seed,
    ).run()
    assert len(run.ended) == 15
    assert run.ended[0] >= max_t
    stopped = [number for number, at in run.ended.items() if at < max_t]
    assert all(run.why[number][-1].action == "stop" for number in stopped)


def test_rungs_between_iterations_are_met_at_the_next_whole_one() -> None:
    study = a_study(scheduler={"name": "asha", "reduction_factor": 1.5}, max_iterations=6)
    assert rungs(study, AshaOptions(reduction_factor=1.5)) == [1, 2, 3, 4]


def test_a_retried_trial_keeps_its_bracket_and_its_records() -> None:
    table = asha({"brackets": 3})
    trial = table.add(4)
    bracket = table.scheduler.ray._trial_info[trial.trial_id]
    table.report(4, 1, 0.5)
    table.scheduler.ray.on_trial_error(table.controller, trial)
    table.scheduler.ray.on_trial_add(table.controller, trial)
    assert table.scheduler.ray._trial_info[trial.trial_id] is bracket
