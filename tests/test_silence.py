"""Trials that wait too long, and workers that no longer answer."""

from __future__ import annotations

from raytune_suite.nodes import amounts
from raytune_suite.silence import PENDING_S, SLACK_S, Silence, waits
from raytune_suite.states import State


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def silence(step_time: float | None = 10.0) -> tuple[Silence, Clock]:
    clock = Clock()
    return Silence(step_time, clock), clock


def test_a_worker_that_says_nothing_for_too_long_is_named_once() -> None:
    listening, clock = silence()
    listening({"event": "trial", "number": 3})
    listening({"event": "start", "number": 3})
    clock.now = 10 + SLACK_S
    assert listening.overdue() == {}
    clock.now += 1
    failure = listening.overdue()[3]
    assert failure.state is State.TIMED_OUT
    assert "nothing was heard of the trial for 31 s" in failure.message
    assert listening.overdue() == {}


def test_every_report_begins_a_new_step() -> None:
    listening, clock = silence()
    listening({"event": "start", "number": 0})
    for _ in range(10):
        clock.now += 25
        listening({"event": "report", "number": 0})
        assert listening.overdue() == {}


def test_paused_and_ended_trials_may_be_silent() -> None:
    listening, clock = silence()
    for number, then in enumerate(({"event": "end"}, {"event": "decision", "action": "pause"}, {"event": "retry"})):
        listening({"event": "start", "number": number})
        listening({"number": number, **then})
    clock.now = 1e6
    assert listening.overdue() == {}


def test_without_a_limit_nobody_is_ended() -> None:
    listening, clock = silence(None)
    listening({"event": "start", "number": 0})
    clock.now = 1e9
    assert listening.overdue() == {}


def test_a_trial_that_gets_no_worker_is_told_of_once() -> None:
    listening, clock = silence()
    listening({"event": "trial", "number": 4})
    clock.now = PENDING_S - 1
    listening({"event": "trial", "number": 5})
    assert listening.pending() is None
    clock.now = PENDING_S + 1
    assert listening.pending() == (4, PENDING_S + 1)
    assert listening.pending() is None


def test_what_is_wanted_and_what_there_is_is_said() -> None:
    free = amounts({"CPU": 1.0, "memory": 1e9, "node:127.0.0.1": 1.0, "CPU_group_0_ab": 1.0, "GPU": 0.0})
    said = waits(4, 61.2, amounts({"CPU": 2, "GPU": 1}), free, amounts({"CPU": 8.0, "GPU": 1.0, "disk": 2.0}))
    assert "trial 4 has waited 1 min 1 s for a worker: it wants 2 CPU, 1 GPU" in said
    assert "free are 1 CPU, 0 GPU of 8 CPU, 1 GPU, 2 disk" in said


def test_no_resources_at_all_are_nothing() -> None:
    assert amounts({}) == "nothing"
