"""The record: what follows from a journal, event by event."""

from __future__ import annotations

import gc
import math
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from journals import METRIC, asha_experiment, small_experiment

from raytune_suite.journal import read
from raytune_suite.record import Best, Record, fold
from raytune_suite.states import State

Event = dict[str, Any]


def begun(*, mode: str = "min", keep_reports: bool = True, trials: int = 1) -> Record:
    record = Record(keep_reports=keep_reports)
    tell(record, "experiment", name="study", metric="loss", mode=mode, num_trials=trials, max_iterations=9)
    tell(record, "session", pid=1)
    for number in range(trials):
        tell(record, "trial", number=number, trial_id=f"{number:05d}", config={"a": number}, point={"a": number})
        tell(record, "start", number=number, attempt=0, node="n", pid=2, gpu_ids=[1], environment="e")
    return record


def tell(record: Record, kind: str, **fields: Any) -> None:
    record.apply({"seq": record.seq + 1, "time": 100.0 + record.seq, "event": kind, **fields})


def reports(record: Record, *values: float, first: int = 1, number: int = 0) -> None:
    for iteration, value in enumerate(values, start=first):
        tell(record, "report", number=number, iteration=iteration, metrics={"loss": value, "acc": -value}, elapsed=1.0)


def test_a_trial_goes_from_pending_over_running_to_its_end() -> None:
    record = begun()
    tell(record, "trial", number=1, trial_id="00001", config={}, point={}, origin="default")
    assert record.trials[1].state is State.PENDING
    assert record.trials[0].state is State.RUNNING
    reports(record, 0.5, 0.4)
    error = {"type": "ValueError", "message": "no", "traceback": ""}
    tell(record, "end", number=0, state="failed", by=None, reason=None, iteration=2, value=0.4, best=0.4, error=error)
    trial = record.trials[0]
    assert (trial.state, trial.iteration, trial.value, trial.error) == (State.FAILED, 2, 0.4, error)
    assert (trial.node, trial.gpu_ids, trial.environment) == ("n", [1], "e")
    assert trial.started_at is not None
    assert trial.ended_at is not None
    assert trial.seconds == trial.ended_at - trial.started_at
    assert record.counts() == {State.PENDING: 1, State.FAILED: 1}


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(
    ("mode", "values", "expected"),
    [
        ("min", [3.0, 1.0, 2.0], Best(2, 1.0)),
        ("max", [3.0, 1.0, 2.0], Best(1, 3.0)),
        ("min", [2.0, 2.0], Best(1, 2.0)),
        ("min", [math.nan, 5.0, -math.inf], Best(2, 5.0)),
        ("max", [math.nan, math.inf], None),
        ("max", [-1, 0], Best(2, 0.0)),
        ("min", [], None),
    ],
)
def test_the_best_value_is_over_all_iterations_and_never_nan(
    mode: str, values: list[float], expected: Best | None, keep: bool
) -> None:
    record = begun(mode=mode, keep_reports=keep)
    reports(record, *values)
    assert record.trials[0].best() == expected


def test_other_metrics_have_a_best_and_a_last_too() -> None:
    record = begun()
    reports(record, 3.0, 1.0, 2.0)
    assert record.trials[0].best("acc", "max") == Best(2, -1.0)
    assert record.trials[0].last("acc") == -2.0
    assert record.trials[0].last("missing") is None


def test_the_last_value_of_a_metric_reported_now_and_then_is_found() -> None:
    record = begun()
    tell(record, "report", number=0, iteration=1, metrics={"loss": 1.0, "f1": 0.7}, elapsed=1.0)
    tell(record, "report", number=0, iteration=2, metrics={"loss": 0.9}, elapsed=2.0)
    assert record.trials[0].last("f1") == 0.7


@pytest.mark.parametrize("keep", [True, False])
def test_a_restored_trial_replaces_what_came_after_its_checkpoint(keep: bool) -> None:
    record = begun(keep_reports=keep)
    reports(record, 0.9, 0.8, 0.1, 0.7)
    tell(record, "checkpoint", number=0, iteration=4, path="checkpoints/00000/000004")
    tell(record, "retry", number=0, attempt=1, state="preempted")
    assert record.trials[0].state is State.PENDING
    tell(record, "start", number=0, attempt=1, node="m", restored=2)
    reports(record, 0.5, first=3)
    trial = record.trials[0]
    assert (trial.best(), trial.iteration, trial.attempt, trial.node) == (Best(3, 0.5), 3, 1, "m")
    assert trial.checkpoints == []
    assert trial.retries == ["preempted"]
    assert [run.state for run in trial.runs] == [State.PREEMPTED, State.RUNNING]
    if keep:
        assert [report.iteration for report in trial.reports] == [1, 2, 3]


def test_a_paused_trial_leaves_its_worker_and_comes_back() -> None:
    record = begun()
    reports(record, 0.9)
    tell(record, "decision", number=0, iteration=1, action="pause", by="hyperband", reason={}, text="waits")
    assert record.trials[0].state is State.PAUSED
    assert record.trials[0].runs[-1].ended is not None
    tell(record, "start", number=0, attempt=0, restored=1)
    assert record.trials[0].state is State.RUNNING
    assert len(record.trials[0].runs) == 2


def test_a_driver_that_died_without_a_word_left_its_running_trials_interrupted() -> None:
    record = begun(trials=2)
    reports(record, 0.9)
    tell(record, "end", number=1, state="completed", by=None, reason=None, iteration=1, value=1.0, best=1.0, error=None)
    heard = record.trials[0].last_report
    tell(record, "session", pid=2)
    assert record.trials[0].state is State.INTERRUPTED
    assert record.trials[1].state is State.COMPLETED
    assert heard is not None
    assert record.trials[0].runs[-1].ended == heard.time
    tell(record, "close", state="finished", reason=None, exit_code=0)
    assert record.closed is not None
    tell(record, "session", pid=3)
    assert record.closed is None


def test_the_best_trial_is_no_failure_and_ties_go_to_the_first() -> None:
    record = begun(trials=4)
    for number, value in enumerate([0.5, 0.1, 0.2, 0.2]):
        reports(record, value, number=number)
    tell(record, "end", number=1, state="oom", by=None, reason=None, iteration=1, value=0.1, best=0.1, error=None)
    best = record.best()
    assert best is not None
    assert best.number == 2
    assert begun().best() is None


def test_what_a_worker_says_later_completes_its_start() -> None:
    record = begun()
    tell(record, "start", number=0, attempt=1)
    tell(record, "worker", number=0, node="m", pid=7, restored=3, worker_trials=2, environment="f", gpu_ids=[0, 1])
    run = record.trials[0].runs[-1]
    assert (run.node, run.pid, run.restored, run.worker_trials, run.gpu_ids) == ("m", 7, 3, 2, [0, 1])
    assert record.trials[0].environment == "f"
    assert record.trials[0].runs[0].node == "n"


def test_unknown_events_and_fields_are_ignored() -> None:
    record = begun()
    tell(record, "weather", sun=True)
    tell(record, "end", number=0, state="completed", value=1.0, flavour="sweet")
    assert record.trials[0].state is State.COMPLETED


def test_folding_event_by_event_equals_folding_at_once(tmp_path: Path) -> None:
    folder = asha_experiment(tmp_path / "study", trials=12)
    live = Record()
    for event in read(folder):
        live.apply(event)
    whole = fold(read(folder))
    assert live.trials == whole.trials
    assert live.counts() == whole.counts()
    assert whole.seq == live.seq == sum(1 for _ in read(folder))


def test_without_reports_the_record_says_the_same_about_each_trial(tmp_path: Path) -> None:
    folder = asha_experiment(tmp_path / "study", trials=20)
    full, small = fold(read(folder)), fold(read(folder), keep_reports=False)
    for number, trial in full.trials.items():
        other = small.trials[number]
        assert (other.best(), other.iteration, other.state) == (trial.best(), trial.iteration, trial.state)
        assert other.last(METRIC) == trial.last(METRIC) or math.isnan(other.last(METRIC))
        assert other.reports == []
    with pytest.raises(ValueError, match="keeps only 'validation/loss'"):
        small.trials[0].best("train/loss")


def test_without_reports_memory_does_not_grow_with_reports() -> None:
    record = begun(keep_reports=False)
    reports(record, *[1.0] * 100)
    gc.collect()
    tracemalloc.start()
    reports(record, *[1.0] * 5000, first=101)
    for iteration in range(1000):
        tell(record, "decision", number=0, iteration=iteration, action="continue", by="asha", reason={}, text="x" * 99)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 5000


def test_facts_of_the_experiment_are_at_hand(tmp_path: Path) -> None:
    record = fold(read(small_experiment(tmp_path / "study", ([1.0], "completed"))))
    assert (record.name, record.metric, record.mode, record.num_trials) == ("digits", METRIC, "min", 1)
    assert record.constants == {"epochs_per_step": 1}
    assert [parameter["name"] for parameter in record.space][:2] == ["learning_rate", "channels"]
    assert record.environments["e1"]["python"] == "3.12.4"
