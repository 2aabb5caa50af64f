from __future__ import annotations

import math
from typing import Any

import pytest
from a_study import a_study
from fake_tune import PAUSED, FakeController, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from raytune_suite import schedulers
from raytune_suite.schedulers.hyperband import brackets


def hyperband(eta: float = 3, **fields: Any) -> schedulers.Scheduler:
    scheduler = {"name": "hyperband", "reduction_factor": eta}
    return schedulers.build(a_study(**{"scheduler": scheduler, "max_iterations": 9, **fields}))


def worse_with_number(number: int, iteration: int) -> float:
    return number + 1 / iteration


def test_the_brackets_of_the_paper() -> None:
    table = [(plan.s, plan.sizes, plan.milestones) for plan in brackets(81, 3)]
    assert table == [
        (0, (5,), (81,)),
        (1, (8, 3), (27, 81)),
        (2, (15, 5, 2), (9, 27, 81)),
        (3, (34, 12, 4, 2), (3, 9, 27, 81)),
        (4, (81, 27, 9, 3, 1), (1, 3, 9, 27, 81)),
    ]


def test_a_halving_as_a_table() -> None:
    # max_iterations 9, eta 3: bracket 0 takes 3 trials to the end, bracket 1 takes 5 (2 go on), bracket 2 nine.
    table = Table(hyperband(num_trials=17))
    for number in range(8):
        table.add(number)
    rows = [(3, 0.9, "PAUSE"), (4, 0.1, "PAUSE"), (5, 0.5, "PAUSE"), (6, 0.3, "PAUSE"), (7, 0.7, "STOP")]
    for number, value, action in rows:
        decision, why = table.report(number, 3, value)
        assert decision == action, number
        assert why is not None
    assert why is not None
    assert why.text == (
        "stopped at iteration 3: 0.7 is number 4 of 5 at rung 3 of bracket 1, the best 2 go on (the last of them "
        "has 0.3)"
    )
    assert table.controller.ended == {3: 3, 5: 3, 7: 3}
    [stopped] = table.controller.why[5]
    assert stopped.action == "stop"
    assert stopped.reason == {
        "bracket": 1, "rung": 3, "score": 0.5, "cutoff": 0.3, "rank": 3, "kept": 2, "compared": 5,
    }  # fmt: skip
    others = dict(table.scheduler.others())
    assert others["00004"].text == (
        "continued at iteration 3: 0.1 is number 1 of 5 at rung 3 of bracket 1, the best 2 go on; its next rung is 9"
    )


def test_a_pause_says_for_whom_it_waits() -> None:
    table = Table(hyperband(num_trials=17))
    for number in range(6):
        table.add(number)
    _, why = table.report(3, 3, 0.9)
    assert why is not None
    assert why.action == "pause"
    assert why.text == "paused at iteration 3: waits at rung 3 of bracket 1 for 4 other trials"


def test_a_bracket_is_not_halved_before_it_is_full() -> None:
    table = Table(hyperband(num_trials=17))
    for number in range(4):
        table.add(number)
    assert table.report(3, 3, 0.5)[0] == "PAUSE"  # alone so far; Ray would send it on
    assert table.scheduler.ray.choose_trial_to_run(table.controller) is not table.trials[3]


def test_the_last_trial_of_the_study_closes_its_bracket() -> None:
    table = Table(hyperband(num_trials=6))
    for number in range(6):
        table.add(number)
    assert table.report(3, 3, 0.5)[0] == "PAUSE"
    assert table.report(4, 3, 0.4)[0] == "PAUSE"
    assert table.report(5, 3, 0.6)[0] == "STOP"


def test_when_no_more_trials_come_everyone_waiting_goes_on() -> None:
    # The space ran out: 5 trials instead of the 17 that were asked for.
    run = FakeController(hyperband(num_trials=17), worse_with_number, trials=5, max_iterations=9).run()
    assert len(run.ended) == 5


def with_a_late_failure(scheduler: schedulers.Scheduler) -> FakeController:
    """Bracket 2 holds trials 8 to 16; 8 to 10 survive its first halving, then 8 dies while 9 and 10 wait."""
    run = FakeController(scheduler, worse_with_number, trials=17, max_iterations=9, slots=3, failing={8: 3}, ahead=17)
    # Trial 8 is always the last to report.
    run.rng.choice = lambda running: max(running, key=lambda trial: trial.number != 8)  # type: ignore[method-assign]
    return run


def test_a_failure_after_a_halving_does_not_leave_the_others_waiting() -> None:
    run = with_a_late_failure(hyperband(num_trials=17)).run()
    assert len(run.ended) == 17
    assert run.ended[8] == -1
    assert run.ended[9] == 9


def test_rays_own_hyperband_does_leave_them_waiting() -> None:
    """The reason for the override: if this fails one day, it can go."""
    from ray.tune.schedulers import HyperBandScheduler

    scheduler = hyperband(num_trials=17)
    scheduler.ray = HyperBandScheduler(
        time_attr="training_iteration", metric="loss", mode="min", max_t=9, reduction_factor=3
    )
    with pytest.raises(AssertionError, match="nothing runs and nothing can start"):
        with_a_late_failure(scheduler).run()


def test_survivors_are_trained_to_the_last_iteration_when_the_rungs_do_not_fit() -> None:
    # 10 iterations, eta 3: Ray's last rung of bracket 2 would be 9.
    run = FakeController(hyperband(num_trials=30, max_iterations=10), worse_with_number, trials=30, max_iterations=10)
    run.run()
    assert sorted(set(run.ended.values())) == [1, 3, 10]


def test_the_default_configuration_survives_every_halving() -> None:
    # One slot and the worst value: without protection it would be the first to go.
    default = {"learning_rate": 1e-3, "momentum": 0.9}
    study = a_study(scheduler="hyperband", max_iterations=9, num_trials=40, default=default)
    scheduler = schedulers.build(study)
    ray = scheduler.ray
    # Put trial 0 into a bracket that halves.
    ray._get_n0 = lambda s: 9
    ray._s_max_1 = 3
    ray._hyperbands, ray._state = [[None, None]], {"bracket": None, "band_idx": 0}
    run = FakeController(scheduler, lambda n, i: 99.0 if n == 0 else n, trials=9, max_iterations=9, slots=9).run()
    assert run.ended[0] == 9
    spared = [why for why in run.why[0] if "as the default configuration" in why.text]
    assert len(spared) == 2
    assert all(why.action == "continue" for why in spared)
    assert sorted(run.ended.values()) == [1] * 5 + [3] * 2 + [9] * 2


def test_a_missing_metric_at_a_rung_counts_with_the_last_value() -> None:
    # Validation every second iteration: rung 3 sees the value of iteration 2.
    def curve(number: int, iteration: int) -> float | None:
        return None if iteration % 2 else float(number)

    run = FakeController(hyperband(num_trials=17), curve, trials=17, max_iterations=9).run()
    assert len(run.ended) == 17
    scores = [why.reason["score"] for why in run.why[4] if "rank" in why.reason]
    assert scores[0] == 4.0


@pytest.mark.parametrize(("mode", "bad"), [("min", math.nan), ("max", math.nan), ("min", -math.inf), ("max", math.inf)])
def test_a_value_that_is_not_finite_ranks_last(mode: str, bad: float) -> None:
    table = Table(hyperband(num_trials=17, mode=mode))
    for number in range(8):
        table.add(number)
    table.report(3, 3, bad)
    for number in range(4, 8):
        table.report(number, 3, 0.5)
    assert 3 in table.controller.ended
    assert table.controller.why[3][-1].reason["rank"] == 5


def test_max_is_the_mirror_of_min() -> None:
    low = FakeController(hyperband(num_trials=30), worse_with_number, trials=30, max_iterations=9).run()
    high = FakeController(
        hyperband(num_trials=30, mode="max"), lambda n, i: -worse_with_number(n, i), trials=30, max_iterations=9
    ).run()
    assert low.ended == high.ended


def test_a_paused_trial_goes_on_from_where_it_stood() -> None:
    run = FakeController(hyperband(num_trials=17), worse_with_number, trials=17, max_iterations=9, slots=1).run()
    assert {iteration for _, iteration in run.restores} == {1, 3}
    assert not [trial for trial in run.trials if trial.status == PAUSED]


@given(
    max_t=st.integers(2, 60),
    eta=st.sampled_from([1.5, 2, 2.5, 3, 4, 5]),
    stride=st.integers(1, 9),
    slots=st.integers(1, 6),
    trials=st.integers(2, 40),
    missing=st.integers(0, 12),
    seed=st.integers(0, 3),
    failing=st.dictionaries(st.integers(0, 39), st.integers(1, 12), max_size=4),
)
@settings(max_examples=150, deadline=None)
def test_every_run_ends(
    max_t: int, eta: float, stride: int, slots: int, trials: int, missing: int, seed: int, failing: dict[int, int]
) -> None:
    study = a_study(scheduler={"name": "hyperband", "reduction_factor": eta}, max_iterations=max_t, num_trials=trials)
    if schedulers.check(study):
        return
    made = max(1, trials - missing)
    run = FakeController(
        schedulers.build(study),
        worse_with_number,
        trials=made,
        slots=slots,
        stride=stride,
        max_iterations=max_t,
        seed=seed,
        failing=failing,
    ).run()
    assert len(run.ended) == made
    early = {number: at for number, at in run.ended.items() if 0 < at < max_t}
    assert all(run.why[number][-1].action == "stop" for number in early)
    if not any(number < made for number in failing):
        assert run.ended[0] >= max_t


@given(max_t=st.integers(2, 60), eta=st.sampled_from([1.5, 2, 2.5, 3, 4, 5]))
@settings(max_examples=100, deadline=None)
def test_the_plan_has_the_brackets_that_ray_makes(max_t: int, eta: float) -> None:
    study = a_study(scheduler={"name": "hyperband", "reduction_factor": eta}, max_iterations=max_t, num_trials=5000)
    if schedulers.check(study):
        return
    ray = schedulers.build(study).ray
    for plan in brackets(max_t, eta):
        bracket = ray._create_bracket(plan.s)
        assert (bracket._n0, bracket._r0) == (plan.sizes[0], plan.milestones[0])
        for size, milestone in zip(plan.sizes[1:], plan.milestones[1:], strict=True):
            bracket.successive_halving("loss", -1.0)
            assert (bracket._n, bracket._cumul_r) == (size, milestone)
