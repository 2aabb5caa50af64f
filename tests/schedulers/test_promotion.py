"""ASHA's promotion rule: decisions as tables, the paper's algorithm beside it, and that every run ends."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from a_study import a_study
from fake_tune import PAUSED, PENDING, RUNNING, FakeController, FakeTrial, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from raytune_suite import schedulers
from raytune_suite.schedulers.promotion import expected, needed
from raytune_suite.schedulers.rungs import kept


def promotion(eta: float = 3, **fields: Any) -> schedulers.Scheduler:
    options = {"name": "asha", "rule": "promotion", "reduction_factor": eta, **fields.pop("options", {})}
    return schedulers.build(a_study(**{"scheduler": options, "max_iterations": 9, **fields}))


def texts(table: Table) -> dict[str, str]:
    """What the last report decided about other trials."""
    return {trial_id: why.text for trial_id, why in table.scheduler.others()}


# One row a report: trial, iteration, value -> decision, rank, compared, kept, cutoff; who else is promoted.
Row = tuple[int, int, float, str, int, int, int, float | None, list[int]]
DECISIONS: dict[str, tuple[str, list[Row]]] = {
    "nobody goes on before there are three, and then the best does": (
        "min",
        [
            (0, 1, 0.5, "PAUSE", 1, 1, 0, None, []),
            (1, 1, 0.4, "PAUSE", 1, 2, 0, None, []),
            (2, 1, 0.6, "PAUSE", 3, 3, 1, 0.4, [1]),
        ],
    ),
    "a trial that is the best itself goes on without a pause": (
        "min",
        [
            (0, 1, 0.5, "PAUSE", 1, 1, 0, None, []),
            (1, 1, 0.6, "PAUSE", 2, 2, 0, None, []),
            (2, 1, 0.4, "CONTINUE", 1, 3, 1, 0.4, []),
        ],
    ),
    "a better one that comes later goes on too, although the place was given away": (
        "min",
        [
            (0, 1, 0.5, "PAUSE", 1, 1, 0, None, []),
            (1, 1, 0.6, "PAUSE", 2, 2, 0, None, []),
            (2, 1, 0.4, "CONTINUE", 1, 3, 1, 0.4, []),
            (3, 1, 0.3, "CONTINUE", 1, 4, 1, 0.3, []),
            (4, 1, 0.9, "PAUSE", 5, 5, 1, 0.3, []),
            (5, 1, 0.8, "PAUSE", 5, 6, 2, 0.4, []),
        ],
    ),
    "each rung counts for itself": (
        "min",
        [
            (0, 1, 0.5, "PAUSE", 1, 1, 0, None, []),
            (1, 1, 0.6, "PAUSE", 2, 2, 0, None, []),
            (2, 1, 0.4, "CONTINUE", 1, 3, 1, 0.4, []),
            (3, 1, 0.3, "CONTINUE", 1, 4, 1, 0.3, []),
            (4, 1, 0.2, "CONTINUE", 1, 5, 1, 0.2, []),
            (2, 3, 0.35, "PAUSE", 1, 1, 0, None, []),
            (3, 3, 0.25, "PAUSE", 1, 2, 0, None, []),
            (4, 3, 0.29, "PAUSE", 2, 3, 1, 0.25, [3]),
        ],
    ),
    "larger is better": (
        "max",
        [
            (0, 1, 0.5, "PAUSE", 1, 1, 0, None, []),
            (1, 1, 0.6, "PAUSE", 1, 2, 0, None, []),
            (2, 1, 0.4, "PAUSE", 3, 3, 1, 0.6, [1]),
        ],
    ),
}


@pytest.mark.parametrize(("mode", "rows"), DECISIONS.values(), ids=DECISIONS.keys())
def test_decisions_at_rungs(mode: str, rows: list[Row]) -> None:
    table = Table(promotion(mode=mode))
    for number, iteration, value, action, rank, compared, best, cutoff, promoted in rows:
        decision, why = table.report(number, iteration, value)
        assert why is not None
        assert (decision, why.action) == (action, action.lower()), (number, iteration)
        facts = (why.reason["score"], why.reason["rank"], why.reason["compared"], why.reason["kept"])
        assert facts == (value, rank, compared, best)
        assert why.reason["cutoff"] == cutoff
        assert [int(trial_id) for trial_id in texts(table)] == promoted
        for other in promoted:
            assert table.scheduler.ray.choose_trial_to_run(table.controller) is table.trials[other]


def test_each_decision_reads_as_one_sentence() -> None:
    table = Table(promotion(max_iterations=27))
    said = [table.report(number, 1, value)[1] for number, value in enumerate([0.5, 0.6, 0.9])]
    assert [why.text for why in said if why is not None] == [
        "paused at iteration 1: 0.5 is number 1 of 1 at rung 1, too few for anybody to go on (the best 1/3 do)",
        "paused at iteration 1: 0.6 is number 2 of 2 at rung 1, too few for anybody to go on (the best 1/3 do)",
        "paused at iteration 1: 0.9 is number 3 of 3 at rung 1, the best one goes on (it has 0.5)",
    ]
    assert texts(table) == {
        "00000": "promoted at iteration 1: now 0.5 is number 1 of 3 at rung 1, the best one goes on; "
        "it goes on to rung 3 from its checkpoint"
    }
    for number, value in [(3, 0.1), (4, 0.2)]:
        _, why = table.report(number, 1, value)
    assert why is not None
    assert why.text == "paused at iteration 1: 0.2 is number 2 of 5 at rung 1, the best one goes on (it has 0.1)"
    for number, value in [(0, 0.4), (3, 0.05), (5, 0.3)]:
        table.report(number, 9, value)
    assert texts(table)["00003"].endswith("the best one goes on; it goes on to iteration 27 from its checkpoint")


def test_reaching_the_last_iteration_is_no_decision_and_between_rungs_there_is_none() -> None:
    table = Table(promotion())
    for number in range(3):
        table.report(number, 1, 0.5 - number / 10)
    assert table.report(2, 2, 0.9) == ("CONTINUE", None)
    assert table.report(2, 9, 0.9) == ("STOP", None)


def test_a_promoted_trial_is_resumed_only_once_its_worker_is_free() -> None:
    table = Table(promotion())
    for number, value in enumerate([0.1, 0.5, 0.6]):
        table.report(number, 1, value)
    trial, ray = table.trials[0], table.scheduler.ray
    trial.status = RUNNING  # its checkpoint is still being written
    assert ray.choose_trial_to_run(table.controller) is None
    assert table.scheduler.waking() == ["00000"]
    trial.status = PAUSED
    assert ray.choose_trial_to_run(table.controller) is trial
    trial.status = RUNNING
    assert ray.choose_trial_to_run(table.controller) is None
    table.report(0, 2, 0.1)
    assert table.scheduler.waking() == []


def test_the_highest_rung_and_there_the_best_is_resumed_first() -> None:
    table = Table(promotion(max_iterations=27))
    for number in range(9):
        table.report(number, 1, number / 10)
    assert table.scheduler.waking() == ["00000", "00001", "00002"]
    for number in (9, 10, 11):
        table.report(number, 3, number / 10)  # their first reports cover three iterations
    order = []
    while (chosen := table.scheduler.ray.choose_trial_to_run(table.controller)) is not None:
        order.append(chosen.number)
        chosen.status = RUNNING
    assert order == [9, 0, 1, 2]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_stops_the_trial_and_leaves_the_rung_clean(bad: float) -> None:
    table = Table(promotion())
    table.report(0, 1, 0.5)
    decision, why = table.report(1, 1, bad)
    assert decision == "STOP"
    assert why is not None
    assert "the worst value there is" in why.text
    assert table.report(2, 1, 0.6)[1].reason["compared"] == 2  # type: ignore[union-attr]


def test_a_missing_metric_is_passed_over_and_the_rung_met_later() -> None:
    table = Table(promotion())
    assert table.report(0, 1, None) == ("CONTINUE", None)
    decision, why = table.report(0, 2, 0.6)
    assert decision == "PAUSE"
    assert why is not None
    assert (why.reason["rung"], why.iteration) == (1, 2)


def test_a_report_that_was_on_its_way_does_not_undo_the_pause() -> None:
    table = Table(promotion())
    table.report(0, 2, 0.6)
    decision, why = table.report(0, 3, 0.1)
    assert decision == "PAUSE"
    assert why is not None
    assert (why.reason["rung"], why.reason["score"], why.iteration) == (1, 0.6, 3)
    assert table.scheduler.holds("00000")


def test_the_default_configuration_is_compared_and_never_paused() -> None:
    table = Table(promotion(default={"learning_rate": 1e-3, "momentum": 0.9}))
    for number, value in [(1, 0.1), (2, 0.2)]:
        table.report(number, 1, value)
    decision, why = table.report(0, 1, 0.9)
    assert decision == "CONTINUE"
    assert why is not None
    assert why.reason["protected"]
    assert why.text == (
        "continued at iteration 1 as the default configuration, although 0.9 is number 3 of 3 at rung 1, the best one "
        "goes on (it has 0.1)"
    )
    assert list(texts(table)) == ["00001"]
    assert table.report(0, 3, 0.9)[0] == "CONTINUE"
    assert table.scheduler.grace_for("00000") == 9
    assert table.scheduler.grace_for("00001") == 1


def test_when_none_is_left_to_come_those_at_their_rungs_end_with_the_numbers() -> None:
    table = Table(promotion())
    for number, value in enumerate([0.5, 0.4, 0.6]):
        table.report(number, 1, value)
    table.trials[1].status = RUNNING
    assert table.scheduler.ray.choose_trial_to_run(table.controller) is None
    assert not table.controller.ended  # trial 1 still runs, and may yet make room for another
    table.report(1, 3, 0.3)
    assert table.scheduler.ray.choose_trial_to_run(table.controller) is None
    assert table.controller.ended == {0: 1, 1: 3, 2: 1}
    assert table.controller.why[0][-1].text == (
        "stopped at iteration 1: no trial is left to come, and 0.5 is number 2 of 3 at rung 1, the best one goes on "
        "(it has 0.4)"
    )
    assert table.controller.why[1][-1].reason == {
        "bracket": 0, "rung": 3, "score": 0.3, "cutoff": None, "rank": 1, "kept": 0, "compared": 1,
        "reduction_factor": 3,
    }  # fmt: skip


def test_while_the_searcher_thinks_nobody_is_given_up() -> None:
    table = Table(promotion())
    for number, value in enumerate([0.5, 0.4]):
        table.report(number, 1, value)
    table.controller.to_make = 1
    assert table.scheduler.ray.choose_trial_to_run(table.controller) is None
    assert not table.controller.ended


def test_a_trial_that_fails_while_it_is_paused_is_promoted_no_more_but_keeps_its_place() -> None:
    table = Table(promotion())
    for number, value in enumerate([0.1, 0.5]):
        table.report(number, 1, value)
    table.scheduler.ray.on_trial_error(table.controller, table.trials[0])  # its checkpoint could not be written
    decision, why = table.report(2, 1, 0.6)
    assert decision == "PAUSE"
    assert why is not None
    assert why.reason["cutoff"] == 0.1
    assert texts(table) == {}


def test_a_trial_that_is_tried_again_after_its_pause_waits_where_it_stood() -> None:
    table = Table(promotion())
    for number, value in enumerate([0.4, 0.5]):
        table.report(number, 1, value)
    trial, ray = table.trials[0], table.scheduler.ray
    ray.on_trial_error(table.controller, trial)
    trial.status = PENDING
    ray.on_trial_add(table.controller, trial)
    assert not table.scheduler.holds("00000")
    assert table.report(0, 1, 0.3)[0] == "PAUSE"  # the first value counts: 0.4
    assert table.scheduler.holds("00000")
    table.report(2, 1, 0.6)
    assert list(texts(table)) == ["00000"]
    assert table.scheduler.waking() == ["00000"]
    assert table.report(0, 2, 0.3) == ("CONTINUE", None)


def test_a_trial_that_an_earlier_session_left_at_its_rung_can_be_promoted() -> None:
    table = Table(promotion())
    for number, value in enumerate([0.4, 0.5]):
        table.report(number, 1, value)
    ray = table.scheduler.ray
    again = FakeTrial(0)  # what a resumed driver makes of it
    again.status = PAUSED
    ray.on_trial_add(table.controller, again)
    assert table.scheduler.holds("00000")
    table.report(2, 1, 0.6)
    assert ray.choose_trial_to_run(table.controller) is again


def test_brackets_have_their_own_rungs_and_the_draws_of_the_stopping_rule() -> None:
    options = {"brackets": 2}
    table = Table(promotion(max_iterations=27, num_trials=60, options=options))
    stopping = a_study(scheduler={"name": "asha", "reduction_factor": 3, **options}, max_iterations=27)
    rays = schedulers.build(stopping).ray
    drawn: dict[int, int] = {}
    for number in range(40):
        rays.on_trial_add(table.controller, table.add(number))
        drawn[number] = rays._brackets.index(rays._trial_info[f"{number:05d}"])
        first = table.scheduler.grace_for(f"{number:05d}")
        assert first == 3 ** drawn[number]
    assert set(drawn.values()) == {0, 1}
    whose = [number for number in drawn if drawn[number] == 1]
    _, why = table.report(whose[0], 3, 0.5)
    assert why is not None
    assert why.text.startswith("paused at iteration 3: 0.5 is number 1 of 1 at rung 3 of bracket 1, ")


def rough(number: int, iteration: int) -> float:
    """A curve whose first values say little about its last."""
    noise = random.Random(1000 * number + iteration).random()
    return (number * 7 % 11) + 3 * noise / iteration


def algorithm_2(trials: int, rungs: list[int], last: int, eta: float) -> list[tuple[int, int]]:
    """The paper's algorithm with one worker, as it is printed there: (trial, iteration) of every report in turn."""
    values: list[dict[int, float]] = [{} for _ in rungs]
    promoted: list[set[int]] = [set() for _ in rungs]
    reports, at, made = [], dict[int, int](), 0
    while True:
        for k in reversed(range(len(rungs))):
            best = sorted(values[k], key=values[k].__getitem__)[: int(len(values[k]) / eta)]
            promotable = [t for t in best if t not in promoted[k]]
            if promotable:
                trial, target = promotable[0], k + 1
                promoted[k].add(trial)
                break
        else:
            if made == trials:
                return reports
            trial, target, made = made, 0, made + 1
        end = rungs[target] if target < len(rungs) else last
        reports += [(trial, iteration) for iteration in range(at.get(trial, 0) + 1, end + 1)]
        at[trial] = end
        if target < len(rungs):
            values[target][trial] = rough(trial, end)


@pytest.mark.parametrize(
    ("eta", "grace", "last", "trials"), [(3, 1, 9, 30), (2, 1, 8, 25), (4, 2, 40, 50), (3, 1, 27, 5)]
)
def test_with_one_slot_it_is_the_algorithm_of_the_paper(eta: float, grace: int, last: int, trials: int) -> None:
    scheduler = promotion(eta, max_iterations=last, num_trials=trials, options={"grace_period": grace})
    reports = []

    def curve(number: int, iteration: int) -> float:
        reports.append((number, iteration))
        return rough(number, iteration)

    FakeController(scheduler, curve, trials=trials, slots=1, max_iterations=last).run()
    assert reports == algorithm_2(trials, scheduler.rungs, last, eta)


class Watched(FakeController):
    """Asserts that promoted trials come before new ones, and that no more trials run than there are slots."""

    def _make_trials(self) -> None:
        before = len(self.trials)
        promised = [n for n in map(int, self.scheduler.waking()) if self.trials[n].status == PAUSED]
        busy = sum(trial.status in (PENDING, RUNNING) for trial in self.trials)
        super()._make_trials()
        made = len(self.trials) - before
        assert busy + made + len(promised) <= max(self.slots, busy)
        free = self.slots - busy - made
        assert free <= len(promised) or not self.to_make


@given(
    max_t=st.integers(2, 40),
    eta=st.sampled_from([1.5, 2, 2.5, 3, 4]),
    grace=st.integers(1, 3),
    stride=st.integers(1, 6),
    slots=st.integers(1, 6),
    trials=st.integers(4, 40),
    missing=st.integers(0, 12),
    every=st.integers(1, 3),
    seed=st.integers(0, 3),
    brackets=st.integers(1, 2),
    default=st.booleans(),
    failing=st.dictionaries(st.integers(0, 39), st.integers(1, 12), max_size=4),
)
@settings(max_examples=150, deadline=None)
def test_every_run_ends_and_nobody_who_could_be_promoted_is_left(
    max_t: int, eta: float, grace: int, stride: int, slots: int, trials: int, missing: int, every: int, seed: int,
    brackets: int, default: bool, failing: dict[int, int],
) -> None:  # fmt: skip
    options = {"rule": "promotion", "reduction_factor": eta, "grace_period": grace, "brackets": brackets}
    fields: dict[str, Any] = {"default": {"learning_rate": 1e-3, "momentum": 0.9}} if default else {}
    study = a_study(scheduler={"name": "asha", **options}, max_iterations=max_t, num_trials=trials, **fields)
    if schedulers.check(study):
        return
    scheduler = schedulers.build(study)
    made = max(1, trials - missing)  # the space may have fewer points than were asked for
    run = Watched(
        scheduler,
        lambda number, iteration: rough(number, iteration) if iteration % every == 0 else None,
        trials=made,
        slots=slots,
        stride=stride,
        max_iterations=max_t,
        seed=seed,
        failing=failing,
    ).run()
    assert len(run.ended) == made
    stopped = {number for number, at in run.ended.items() if 0 < at < max_t}
    for number in stopped:
        assert run.why[number][-1].action == "stop"
        assert "no trial is left to come" in run.why[number][-1].text
    if default and 0 not in failing:
        assert run.ended[0] >= max_t
    for ladder in scheduler.ray._ladders:
        for rung in ladder.rungs:
            best = [entry.trial_id for entry in rung._ranked[: kept(len(rung._ranked), eta)]]
            assert all(t in rung.promoted or run.ended[int(t)] == -1 for t in best)
    assert all(at in scheduler.rungs or stride > 1 or every > 1 for _, at in run.restores)


def test_a_trial_is_resumed_from_the_checkpoint_of_its_rung() -> None:
    run = FakeController(promotion(num_trials=30), rough, trials=30, slots=2, max_iterations=9).run()
    assert {at for _, at in run.restores} == {1, 3}
    later = [why for whys in run.why.values() for why in whys if why.text.startswith("promoted")]
    assert len(later) == len(run.restores) > 3


def test_being_early_is_no_luck() -> None:
    """With good configurations last, the stopping rule has spent full trainings on the first ones; this has not."""
    spent = {}
    for rule in ("stopping", "promotion"):
        options = {"name": "asha", "reduction_factor": 3, "rule": rule}
        study = a_study(scheduler=options, max_iterations=27, num_trials=9)
        curve = FakeController(
            schedulers.build(study), lambda number, i: 9.0 - number + 1 / i, trials=9, slots=9, max_iterations=27
        )
        curve.rng.choice = lambda running: running[0]  # type: ignore[method-assign]
        spent[rule] = curve.run().ended
    assert spent["stopping"][0] == 27
    assert spent["promotion"][0] == 1


def test_the_plan_knows_how_many_trials_it_takes() -> None:
    assert expected(40, 3, 3) == [40, 13, 4, 1]
    assert expected(15, 2, 4) == [15, 3, 0]
    assert [needed(rungs, 3) for rungs in range(4)] == [1, 3, 9, 27]
    for factor in (1.5, 2.5, 3, 4):
        for rungs in range(1, 4):
            enough = needed(rungs, factor)
            assert expected(enough, rungs, factor)[-1] == 1
            assert expected(enough - 1, rungs, factor)[-1] == 0


def test_promoted_trials_need_no_checkpoint_but_their_last() -> None:
    scheduler = promotion()
    assert scheduler.keeps(["best"]) == ["best", "last"]
    assert scheduler.keeps(["last", "best"]) == ["last", "best"]
    assert scheduler.keeps(["all"]) == ["all"]
    facts = (scheduler.pauses, scheduler.promotes, scheduler.replayable, scheduler.checkpoint_every)
    assert facts == (False, True, True, 1)
    assert schedulers.build(a_study(scheduler="hyperband")).keeps(["best"]) == ["best", "last"]
    assert schedulers.build(a_study(scheduler="pbt")).keeps(["last"]) == ["all"]
    assert schedulers.build(a_study(scheduler="asha")).keeps(["best"]) == ["best"]
