"""How many trials share a GPU, measured on virtual GPUs whose trials get in each other's way as a table says."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import pytest

from raytune_suite.density import Density, density
from raytune_suite.resources import Cluster, Node, Request

STEPS = 12


class Journal:
    """What has been written, and who is told of it."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.listeners: list[Callable[[dict[str, Any]], None]] = []

    def events_text(self) -> str:
        return "\n".join(str(event.get("text")) for event in self.events)

    def append(self, kind: str, **fields: Any) -> int:
        self.events.append({"event": kind, **fields})
        for listener in self.listeners:
            listener(self.events[-1])
        return len(self.events)


class Virtual:
    """GPUs on which ``speed(n)`` steps a second are done by n trials together; beyond ``memory`` trials one fails."""

    def __init__(self, speed: Callable[[int], float], gpus: int = 2, memory: int = 99, most: int = 32) -> None:
        self.speed, self.memory, self.journal = speed, memory, Journal()
        self.density = Density(gpus, lambda level: level <= most)
        self.journal.listeners.append(self.density.apply)
        self.gpus: list[dict[int, float]] = [{} for _ in range(gpus)]
        self.steps: list[tuple[float, int, int, int, float]] = []
        self.made, self.most_at_once = 0, 0

    def run(self, trials: int) -> Virtual:
        self.journal.append("session", slots=1)
        self._fill(0.0, trials)
        while self.steps:
            now, number, gpu, step, elapsed = heapq.heappop(self.steps)
            if step == 1:
                self.journal.append("worker", number=number, gpu=self.gpus[gpu][number])
            if len(self.gpus[gpu]) > self.memory:
                self._end(number, gpu, "oom")
            else:
                self.journal.append("report", number=number, iteration=step, metrics={}, elapsed=elapsed)
                if step < STEPS:
                    self._step(now, number, gpu, step + 1, elapsed)
                else:
                    self._end(number, gpu, "completed")
            self._fill(now, trials)
        return self

    def _end(self, number: int, gpu: int, state: str) -> None:
        self.journal.append("end", number=number, state=state)
        del self.gpus[gpu][number]

    def _fill(self, now: float, trials: int) -> None:
        while self.made < trials:
            self.density.settle(self.journal)
            share = self.density.share
            roomy = [n for n, gpu in enumerate(self.gpus) if sum(gpu.values()) + share <= 1 + 1e-9]
            if not roomy:
                return
            gpu = min(roomy, key=lambda n: sum(self.gpus[n].values()))
            number, self.made = self.made, self.made + 1
            self.gpus[gpu][number] = share
            self.most_at_once = max(self.most_at_once, *map(len, self.gpus))
            self.journal.append("start", number=number)
            self._step(now, number, gpu, 1, 0.0)

    def _step(self, now: float, number: int, gpu: int, step: int, elapsed: float) -> None:
        together = max(1, len(self.gpus[gpu]))
        seconds = together / self.speed(together) * (3 if step == 1 else 1)  # the first one compiles
        heapq.heappush(self.steps, (now + seconds, number, gpu, step, elapsed + seconds))

    @property
    def decisions(self) -> list[tuple[int, int, bool]]:
        told = [event for event in self.journal.events if event["event"] == "density"]
        return [(event["level"], event["next"], event["final"]) for event in told]


@pytest.mark.parametrize(
    ("speed", "kept", "tried"),
    [
        (lambda n: min(n, 3.5), 4, 8),  # saturated by four
        (lambda n: 1.0, 1, 2),  # one fills it
        (lambda n: {1: 1.0, 2: 1.8, 4: 1.2}.get(n, 1.5), 2, 4),  # four are slower together than two
        (lambda n: n / (1 + 0.02 * n), 8, 8),  # there is no room for more than eight
    ],
)
def test_as_many_trials_share_a_gpu_as_get_most_done(speed: Any, kept: int, tried: int) -> None:
    virtual = Virtual(speed, most=8).run(300)
    assert (virtual.density.level, virtual.density.final) == (kept, True)
    assert virtual.most_at_once == tried
    assert virtual.density.speeds[kept] == pytest.approx(speed(kept), rel=0.25)


def test_running_out_of_memory_is_a_reason_to_go_back() -> None:
    virtual = Virtual(lambda n: float(n), memory=3).run(300)
    assert (virtual.density.level, virtual.density.final) == (2, True)
    assert virtual.decisions[-1] == (4, 2, True)
    assert "one ran out of memory: 2 a GPU from now on" in virtual.journal.events_text()


def test_every_decision_says_what_it_rests_on() -> None:
    virtual = Virtual(lambda n: min(n, 1.5), gpus=1).run(100)
    texts = [event["text"] for event in virtual.journal.events if event["event"] == "density"]
    assert texts[0] == "1 a GPU did 1 steps/s together, more are tried"
    assert texts[-1].endswith("2 did 1.5: 2 a GPU from now on")


def test_a_resumed_study_goes_on_where_it_was() -> None:
    virtual = Virtual(lambda n: min(n, 3.5)).run(300)
    again = Density(2, lambda level: level <= 32)
    for event in virtual.journal.events:
        again.apply(event)
    assert (again.level, again.final, again.share) == (4, True, 0.25)


def test_a_level_is_judged_only_while_all_gpus_are_filled_with_it() -> None:
    measured = Density(2, lambda level: True)
    for number in range(1):  # one of two GPUs is taken
        measured.apply({"event": "start", "number": number})
        measured.apply({"event": "worker", "number": number, "gpu": 1.0})
        for step in range(1, 20):
            measured.apply({"event": "report", "number": number, "iteration": step, "elapsed": float(step)})
    log = Journal()
    measured.settle(log)
    assert log.events == []


def test_trials_share_a_gpu_only_as_far_as_cpus_go() -> None:
    found = density(Request(cpu=2, gpu=1), Cluster((Node(8, 1),)))
    assert found is not None
    assert [found._possible(level) for level in (2, 4, 8)] == [True, True, False]
    assert density(Request(cpu=1, gpu=0), Cluster((Node(8),))) is None
    one = density(Request(cpu=8, gpu=1), Cluster((Node(8, 1),)))
    assert one is not None
    assert one.final
