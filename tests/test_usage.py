"""Where the time of slots and GPUs went, as the journal tells."""

from __future__ import annotations

from typing import Any

import pytest

from raytune_suite.usage import Usage, usage_of


class Told:
    """A journal in a few words: each event at a second of its own."""

    def __init__(self, slots: int = 1, gpu: float = 0, gpus: float = 0) -> None:
        self.events: list[dict[str, Any]] = []
        self.session(0, slots, gpu, gpus)

    def add(self, time: float, kind: str, number: int | None = None, **fields: Any) -> Told:
        self.events.append({"event": kind, "time": 1000.0 + time, "number": number, **fields})
        return self

    def session(self, time: float, slots: int = 1, gpu: float = 0, gpus: float = 0) -> Told:
        return self.add(time, "session", slots=slots, resources={"cpu": 1, "gpu": gpu}, gpus=gpus)

    def report(self, time: float, number: int, iteration: int, elapsed: float) -> Told:
        return self.add(time, "report", number, iteration=iteration, metrics={}, elapsed=elapsed)

    def end(self, time: float, number: int, state: str = "completed") -> Told:
        return self.add(time, "end", number, state=state)

    def seconds(self) -> dict[str, float]:
        return {kind: round(amount, 6) for kind, amount in usage_of(self.events).seconds().items() if amount}


def test_a_trial_starts_trains_and_waits_between_its_steps() -> None:
    told = Told().add(1, "start", 0).report(4, 0, 1, elapsed=2).report(7, 0, 2, elapsed=4.5).end(8, 0).add(10, "close")
    assert told.seconds() == {"starting": 1, "training": 4.5, "between": 1.5, "idle": 3}


def test_reports_that_arrive_together_share_the_time_before_them() -> None:
    told = Told().add(0, "start", 0).report(4, 0, 1, elapsed=1).report(4, 0, 2, elapsed=2).report(4, 0, 3, elapsed=3)
    told.report(10, 0, 4, elapsed=5).report(10, 0, 5, elapsed=7).end(10, 0).add(10, "close")
    assert told.seconds() == {"starting": 1, "training": 7, "between": 2}


def test_what_is_not_taken_is_idle() -> None:
    told = Told(slots=3).add(0, "start", 0).report(10, 0, 1, elapsed=10).end(10, 0).add(10, "close")
    assert told.seconds() == {"training": 10, "idle": 20}


def test_a_trial_that_fails_has_lost_all_it_did() -> None:
    told = Told().add(0, "start", 0).report(4, 0, 1, elapsed=3).end(6, 0, "failed").add(6, "close")
    assert told.seconds() == {"lost": 6}


@pytest.mark.parametrize(("state", "lost"), [("oom", 5), ("preempted", 3)])
def test_an_attempt_in_vain_is_lost_and_so_is_what_is_trained_again(state: str, lost: float) -> None:
    told = Told().add(0, "start", 0).report(3, 0, 1, elapsed=3).report(6, 0, 2, elapsed=6)
    told.add(8, "retry", 0, state=state, attempt=1).add(8, "start", 0)
    told.report(12, 0, 2, elapsed=6).end(12, 0).add(12, "close")  # from the checkpoint of the first iteration
    found = told.seconds()
    assert (found["lost"], found["training"], found["starting"]) == (lost, 6, 1)
    assert sum(found.values()) == 12


def test_a_paused_trial_takes_nothing() -> None:
    told = Told().add(0, "start", 0).report(2, 0, 1, elapsed=2).add(2, "decision", 0, action="pause")
    told.add(7, "start", 0).report(9, 0, 2, elapsed=4).end(9, 0).add(10, "close")
    assert told.seconds() == {"training": 4, "idle": 6}


def test_time_between_sessions_belongs_to_nobody_and_a_dead_driver_is_heard_of_last_by_its_last_event() -> None:
    told = Told().add(0, "start", 0).report(5, 0, 1, elapsed=5)
    told.session(100).add(100, "start", 0).report(104, 0, 2, elapsed=8).end(104, 0).add(104, "close")
    assert told.seconds() == {"training": 8, "starting": 1}


def test_an_interrupted_trial_keeps_what_it_trained() -> None:
    told = Told().add(0, "start", 0).report(5, 0, 1, elapsed=5).end(5, 0, "interrupted").add(6, "close")
    assert told.seconds() == {"training": 5, "idle": 1}
    told.session(50).add(50, "start", 0).report(55, 0, 2, elapsed=10).end(55, 0, "failed").add(55, "close")
    assert told.seconds() == {"lost": 10, "idle": 1}


def test_on_gpus_a_trial_takes_its_share_and_a_larger_one_after_it_ran_out_of_memory() -> None:
    told = Told(slots=8, gpu=0.25, gpus=2).add(0, "start", 0).add(0, "worker", 0, gpu=0.25)
    told.report(4, 0, 1, elapsed=4).add(6, "retry", 0, state="oom", attempt=1).add(6, "start", 0)
    told.add(6, "worker", 0, gpu=0.5).report(10, 0, 2, elapsed=8).end(10, 0).add(10, "close")
    assert told.seconds() == {"training": 4 * 0.25 + 4 * 0.5, "lost": 2 * 0.25, "idle": 20 - 3.5}
    assert usage_of(told.events).unit == "GPU"


def test_a_running_study_is_counted_up_to_its_last_event() -> None:
    told = Told(slots=2).add(0, "start", 0).add(0, "start", 1).report(6, 0, 1, elapsed=6)
    usage = usage_of(told.events)
    assert told.seconds() == {"training": 6, "starting": 6}
    assert usage.taken == 2
    assert usage.describe() == "50% training, 50% starting"


def test_nothing_has_been_counted_before_anything_happened() -> None:
    assert Usage().shares() == {}
    assert Usage().describe() == ""
