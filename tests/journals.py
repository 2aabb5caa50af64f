"""Made-up experiments, written through the Journal in virtual time: what a study under ASHA leaves behind."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from raytune_suite.journal import Journal

METRIC = "validation/loss"
START = 1_767_000_000.0  # unix seconds: the virtual clock's beginning
RUNGS = (1, 3, 9)
MAX_ITERATIONS = 27
NODES = ("node-a", "node-b")
DEFAULT = {"learning_rate": 1e-3, "channels": 32, "batch_size": 128, "optimizer": "adamw"}

STUDY = """\
version: 1
trainable: trainables.digits:DigitsCNN
metric: validation/loss
mode: min
num_trials: {trials}
max_iterations: 27
default: {{learning_rate: 1e-3, channels: 32, batch_size: 128, optimizer: adamw}}
space:
  learning_rate: {{loguniform: [1e-5, 1e-1]}}
  channels: {{choice: [16, 32, 64]}}
  batch_size: {{qrandint: [32, 256, 32]}}
  optimizer: {{choice: [sgd, adamw]}}
  momentum: {{uniform: [0.5, 0.99], when: "optimizer == 'sgd'"}}
  epochs_per_step: 1
search: {{name: bayesian, initial_points: 10}}
scheduler: {{name: asha, grace_period: 1, reduction_factor: 3}}
name: digits
seed: {seed}
"""

SPACE: list[dict[str, Any]] = [
    {"name": "learning_rate", "kind": "float", "lower": 1e-5, "upper": 1e-1, "log": True, "q": None},
    {"name": "channels", "kind": "choice", "values": [16, 32, 64]},
    {"name": "batch_size", "kind": "int", "lower": 32, "upper": 256, "log": False, "q": 32},
    {"name": "optimizer", "kind": "choice", "values": ["sgd", "adamw"]},
    {"name": "momentum", "kind": "float", "lower": 0.5, "upper": 0.99, "log": False, "q": None,
     "when": "optimizer == 'sgd'"},
]  # fmt: skip


class Clock:
    """Virtual time, handed to the journal."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Worker:
    """A slot of the made-up cluster."""

    node: str
    pid: int
    gpu: int
    hosted: int = 0
    trial: int | None = None


@dataclass
class Simulation:
    """ASHA over made-up learning curves. ``stop_after`` seconds the driver dies without a word."""

    journal: Journal
    clock: Clock
    trials: int
    seed: int
    failures: bool
    stop_after: float = math.inf
    workers: list[Worker] = field(default_factory=list)
    scores: dict[int, list[float]] = field(default_factory=lambda: {rung: [] for rung in RUNGS})
    queue: list[tuple[float, int, int, int, int]] = field(default_factory=list)
    points: dict[int, dict[str, Any]] = field(default_factory=dict)
    values: dict[int, list[float]] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)
    started: dict[int, float] = field(default_factory=dict)
    fate: dict[int, tuple[str, int]] = field(default_factory=dict)
    next: int = 0

    def run(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        if self.failures:
            self.fate = {5: ("failed", 2), 11: ("oom", 1), 17: ("nan", 2), 23: ("timed_out", 3)}
        for worker in self.workers:
            self._new_trial(worker)
        while self.queue:
            when, number, iteration, attempt, slot = heapq.heappop(self.queue)
            if when > START + self.stop_after:
                return
            self.clock.now = when
            if self.attempts[number] == attempt:
                self._step(number, iteration, self.workers[slot])

    def _new_trial(self, worker: Worker) -> None:
        if self.next == self.trials:
            return
        number, self.next = self.next, self.next + 1
        point = self.points[number] = dict(DEFAULT) if number == 0 else self._draw()
        self.journal.append(
            "trial",
            number=number,
            trial_id=f"{number:05d}",
            config={**point, "epochs_per_step": 1},
            point=point,
            seed=1000 + number,
            origin="default" if number == 0 else "design" if number <= 10 else "model",
            seen=self.journal.seq,
            note={} if number <= 10 else {"acquisition": 0.1},
            resources={"cpu": 1, "gpu": 1},
        )
        self.values[number], self.attempts[number] = [], 0
        self.started[number] = self.clock.now
        self._start(number, worker, restored=None)

    def _draw(self) -> dict[str, Any]:
        rng = self.rng
        point: dict[str, Any] = {
            "learning_rate": float(10 ** rng.uniform(-5, -1)),
            "channels": int(rng.choice([16, 32, 64])),
            "batch_size": int(rng.integers(1, 9)) * 32,
            "optimizer": "sgd" if rng.random() < 0.4 else "adamw",
        }
        if point["optimizer"] == "sgd":
            point["momentum"] = float(rng.uniform(0.5, 0.99))
        return point

    def _start(self, number: int, worker: Worker, restored: int | None) -> None:
        worker.trial = number
        self.journal.append(
            "start",
            number=number,
            attempt=self.attempts[number],
            node=worker.node,
            ip=f"10.0.0.{1 + NODES.index(worker.node)}",
            pid=worker.pid,
            gpu_ids=[worker.gpu],
            environment="e1",
            restored=restored,
            worker_trials=worker.hosted,
        )
        worker.hosted += 1
        self._plan((restored or 0) + 1, number, worker)

    def _plan(self, iteration: int, number: int, worker: Worker) -> None:
        seconds = 1.5 + self.points[number]["channels"] / 32 + 0.2 * self.rng.random()
        seconds += 1.0 if iteration == 1 else 0.0
        slot = self.workers.index(worker)
        heapq.heappush(self.queue, (self.clock.now + seconds, number, iteration, self.attempts[number], slot))

    def _step(self, number: int, iteration: int, worker: Worker) -> None:
        kind, at = self.fate.get(number, ("", 0))
        if iteration == at and kind in ("failed", "oom", "timed_out"):
            self._break(number, iteration - 1, kind, worker)
            return
        value = math.nan if kind == "nan" and iteration >= at else self._loss(number, iteration)
        self.values[number].append(value)
        metrics = {
            METRIC: value,
            "validation/accuracy": 1 - value / 3 if math.isfinite(value) else 0.1,
            "train/loss": value * 0.9,
            "throughput": 1500.0 + 100 * self.rng.random(),
        }
        elapsed = self.clock.now - self.started[number]
        self.journal.append("report", number=number, iteration=iteration, metrics=metrics, elapsed=elapsed)
        self._decide(number, iteration, value, worker)

    def _loss(self, number: int, iteration: int) -> float:
        point = self.points[number]
        target = -2.0 if point["optimizer"] == "sgd" else -2.3
        off = abs(math.log10(point["learning_rate"]) - target)
        floor = 0.02 + 0.25 * off**1.5 + 0.04 * (64 - point["channels"]) / 48
        floor += 0.1 * abs(point.get("momentum", 0.9) - 0.9)
        noise = 0.01 * float(self.rng.standard_normal())
        return float(min(2.4, floor + (2.2 - min(floor, 2.0)) * iteration ** (-0.9 + 0.1 * off) + noise))

    def _decide(self, number: int, iteration: int, value: float, worker: Worker) -> None:
        if math.isnan(value):
            self._end(number, "stopped", "nan", f"{METRIC} is NaN at iteration {iteration}", worker)
        elif iteration == MAX_ITERATIONS:
            self.journal.append(
                "checkpoint", number=number, iteration=iteration, path=self._checkpoint(number, iteration)
            )
            self._end(number, "completed", None, None, worker)
        elif iteration in RUNGS and not self._survives(number, iteration, value):
            text = self.text
            self._end(number, "stopped", "asha", text, worker)
        else:
            self._plan(iteration + 1, number, worker)

    def _checkpoint(self, number: int, iteration: int) -> str:
        path = f"checkpoints/{number:05d}/{iteration:06d}"
        (self.journal.folder / path).mkdir(parents=True, exist_ok=True)
        return path

    def _survives(self, number: int, rung: int, value: float) -> bool:
        scores = self.scores[rung]
        cutoff = float(np.percentile(scores, 100 / 3)) if scores else None
        scores.append(value)
        exempt = number == 0 or number in self.fate  # the default, and those whose fate is another
        action = "stop" if cutoff is not None and value > cutoff and not exempt else "continue"
        verdict = "no cutoff yet" if cutoff is None else f"cutoff {cutoff:.4g} of {len(scores) - 1}"
        self.text = f"asha: {METRIC} {value:.4g} at rung {rung}, {verdict}: {action}"
        reason = {"rung": rung, "score": value, "cutoff": cutoff, "compared": len(scores) - 1}
        self.journal.append(
            "decision",
            number=number,
            iteration=rung,
            action=action,
            by="asha",
            reason=reason,
            text=self.text,
        )
        return action == "continue"

    def _break(self, number: int, iteration: int, state: str, worker: Worker) -> None:
        error = {
            "type": "ValueError" if state == "failed" else "OutOfMemoryError",
            "message": "expected 64 channels, got <16>" if state == "failed" else "CUDA out of memory",
            "traceback": 'Traceback (most recent call last):\n  File "digits.py", line 41, in train_epoch\n',
        }
        if state == "oom" and self.attempts[number] == 0:
            self.attempts[number] = 1
            self.journal.append("retry", number=number, attempt=1, state="oom")
            self._start(number, worker, restored=None)
            return
        self._end(number, state, None, None, worker, None if state == "timed_out" else error)

    def _end(
        self,
        number: int,
        state: str,
        by: str | None,
        reason: str | None,
        worker: Worker,
        error: dict[str, Any] | None = None,
    ) -> None:
        values = self.values[number]
        finite = [value for value in values if math.isfinite(value)]
        self.journal.append(
            "end",
            number=number,
            state=state,
            by=by,
            reason=reason,
            iteration=len(values),
            value=values[-1] if values else None,
            best=min(finite) if finite else None,
            error=error,
            attempt=self.attempts[number],
        )
        worker.trial = None
        self._new_trial(worker)


def header(journal: Journal, *, trials: int = 40, seed: int = 0, **changes: Any) -> None:
    """The events every journal begins with."""
    fields: dict[str, Any] = {
        "version": 1,
        "name": "digits",
        "study_sha256": "0" * 64,
        "metric": METRIC,
        "mode": "min",
        "seed": seed,
        "num_trials": trials,
        "max_iterations": MAX_ITERATIONS,
        "space": SPACE,
        "constants": {"epochs_per_step": 1},
        "suite": "0.1.0",
    }
    journal.append("experiment", **{**fields, **changes})
    plan = ["40 trials of at most 27 iterations", "asha: rungs 1, 3, 9", "4 slots: 1 CPU, 1 GPU each"]
    resources = {"cpu": 1, "gpu": 1}
    journal.append("session", pid=100, host="node-a", slots=4, resources=resources, rungs=list(RUNGS), plan=plan)
    facts = {"python": "3.12.4", "torch": "2.13.0", "cuda": "12.8", "gpu": "NVIDIA H200", "git": "1a2b3c4"}
    journal.append("environment", id="e1", facts=facts)


def asha_experiment(
    folder: Path,
    *,
    trials: int = 40,
    seed: int = 0,
    slots: int = 4,
    failures: bool = True,
    stop_after: float = math.inf,
) -> Path:
    """An experiment of ``trials`` trials under ASHA on ``slots`` workers of two nodes.

    With ``failures`` trial 5 fails, 11 runs out of memory twice, 17 becomes NaN and 23 times out.
    ``stop_after`` virtual seconds the journal breaks off, as after ``kill -9``.
    """
    clock = Clock()
    with Journal.create(folder, clock=clock) as journal:
        (folder / "study.yaml").write_text(STUDY.format(trials=trials, seed=seed))
        header(journal, trials=trials, seed=seed)
        clock.now += 2.0
        workers = [Worker(NODES[slot * 2 // slots], 5000 + slot, slot % 2) for slot in range(slots)]
        Simulation(journal, clock, trials, seed, failures, stop_after, workers).run()
        if stop_after == math.inf:
            journal.append("test", number=0, metrics={"test/accuracy": 0.95})
            if trials > 2:
                journal.append("test", number=2, metrics={"test/accuracy": 0.975})
            journal.append("close", state="finished", reason=None, exit_code=0)
    return folder


def events_of(number: int, values: list[float], *, state: str | None = "completed") -> Iterator[dict[str, Any]]:
    """The events of one trial with these values, one an iteration; ``state=None`` leaves it running."""
    point = {**DEFAULT, "learning_rate": 10.0 ** -(1 + number % 4)}
    config = {**point, "epochs_per_step": 1}
    yield {"kind": "trial", "number": number, "trial_id": f"{number:05d}", "config": config, "point": point,
           "seed": number, "origin": "random", "seen": 0, "note": {}, "resources": {"cpu": 1}}  # fmt: skip
    yield {"kind": "start", "number": number, "attempt": 0, "node": "node-a", "pid": 7, "gpu_ids": [],
           "environment": "e1", "restored": None, "worker_trials": 0}  # fmt: skip
    for iteration, value in enumerate(values, start=1):
        metrics = {METRIC: value}
        yield {"kind": "report", "number": number, "iteration": iteration, "metrics": metrics,
               "elapsed": float(iteration)}  # fmt: skip
    if state:
        finite = [value for value in values if math.isfinite(value)]
        yield {"kind": "end", "number": number, "state": state, "by": None, "reason": None,
               "iteration": len(values), "value": values[-1] if values else None,
               "best": min(finite) if finite else None, "error": None, "attempt": 0}  # fmt: skip


def small_experiment(folder: Path, *trials: tuple[list[float], str | None], **changes: Any) -> Path:
    """An experiment whose trials have exactly these values and states, one after the other."""
    clock = Clock()
    with Journal.create(folder, clock=clock) as journal:
        (folder / "study.yaml").write_text(STUDY.format(trials=max(1, len(trials)), seed=0))
        header(journal, trials=max(1, len(trials)), **changes)
        for number, (values, state) in enumerate(trials):
            for event in events_of(number, values, state=state):
                clock.now += 1.0
                journal.append(**event)
    return folder
