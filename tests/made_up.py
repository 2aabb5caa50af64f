"""Journals of experiments that never ran: what a driver would have written, every kind of end in it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from raytune_suite.journal import Journal

SPACE: list[dict[str, Any]] = [
    {"name": "learning_rate", "kind": "float", "lower": 1e-5, "upper": 0.1, "log": True},
    {"name": "model.channels", "kind": "choice", "values": [16, 32, 64]},
    {"name": "optimizer", "kind": "choice", "values": ["sgd", "adamw"]},
    {"name": "momentum", "kind": "float", "lower": 0.5, "upper": 0.99, "when": "optimizer == 'sgd'"},
    {"name": "batch_size", "kind": "int", "lower": 32, "upper": 256, "q": 32},
    {"name": "schedule", "kind": "choice", "values": [None, "cosine", 3]},
    {"name": "layers", "kind": "choice", "values": [[64], [64, 64]]},
    {"name": "amp", "kind": "choice", "values": [True, False]},
]
CONSTANTS = {"epochs_per_step": 1}
RUNGS = [1, 3, 9]
METRIC = "validation/loss"


class Story:
    """Writes a journal event by event; time passes by one second with each."""

    def __init__(self, folder: Path, *, rungs: list[int] | None = None, **facts: Any) -> None:
        self.folder = folder
        self.clock = 1_760_000_000.0
        self.journal = Journal.create(folder, clock=self._now)
        experiment = {"metric": METRIC, "mode": "min", "num_trials": 10, "max_iterations": 9, **facts}
        self._say(
            "experiment",
            version=1,
            name="made-up",
            study_sha256="0",
            seed=0,
            space=facts.pop("space", SPACE),
            constants=CONSTANTS,
            suite="0",
            **{key: value for key, value in experiment.items() if key != "space"},
        )
        self.session(RUNGS if rungs is None else rungs)

    def _now(self) -> float:
        self.clock += 1
        return self.clock

    def _say(self, kind: str, **fields: Any) -> None:
        self.journal.append(kind, **fields)

    def session(self, rungs: list[int]) -> None:
        self._say("session", pid=1, host="here", slots=2, resources={"cpu": 1}, rungs=rungs, plan=["a plan"])

    def trial(self, number: int, origin: str = "random", **values: Any) -> None:
        drawn = {**point(number), **values}
        self._say(
            "trial",
            number=number,
            trial_id=f"{number:05d}",
            config=nested({**drawn, **CONSTANTS}),
            point=drawn,
            seed=number,
            origin=origin,
            seen=0,
            note={},
            resources={"cpu": 1},
        )

    def start(self, number: int, attempt: int = 0, restored: int | None = None) -> None:
        where = {"node": "node-a", "ip": "127.0.0.1", "pid": 7, "gpu_ids": [], "environment": None}
        self._say("start", number=number, attempt=attempt, restored=restored, worker_trials=0, **where)

    def report(self, number: int, iteration: int, value: float, **metrics: Any) -> None:
        found = {METRIC: value, "training/loss": value / 2 if math.isfinite(value) else value, **metrics}
        self._say("report", number=number, iteration=iteration, metrics=found, elapsed=iteration * 2.0)

    def curve(self, number: int, values: list[float]) -> None:
        for iteration, value in enumerate(values, start=1):
            self.report(number, iteration, value)

    def decide(self, number: int, iteration: int, action: str = "stop", by: str = "asha") -> None:
        reason = {"rung": iteration, "score": 0.9, "cutoff": 0.5, "compared": 4}
        text = f"0.9 is worse than the cutoff 0.5 of rung {iteration}, 4 trials compared"
        self._say("decision", number=number, iteration=iteration, action=action, by=by, reason=reason, text=text)

    def end(self, number: int, state: str = "completed", *, iteration: int = 0, **fields: Any) -> None:
        facts = {
            "by": None,
            "reason": None,
            "value": None,
            "best": None,
            "error": None,
            "attempt": 0,
            **fields,
        }
        self._say("end", number=number, state=state, iteration=iteration, **facts)

    def fail(self, number: int, kind: str = "ValueError", message: str = "no such layer") -> None:
        error = {
            "type": kind,
            "message": message,
            "traceback": f'  File "model.py", line 3\n{kind}: {message}',
        }
        self.end(number, "failed", reason=f"{kind}: {message}", error=error)

    def whole(self, number: int, values: list[float], state: str = "completed", **fields: Any) -> None:
        """A trial from its creation to its end."""
        self.trial(number, "default" if number == 0 else "model")
        self.start(number)
        self.curve(number, values)
        finite = [value for value in values if math.isfinite(value)]
        facts = {"value": values[-1], "best": min(finite, default=None), **fields}
        self.end(number, state, iteration=len(values), **facts)

    def test(self, number: int, **metrics: float) -> None:
        self._say("test", number=number, metrics=metrics)

    def retry(self, number: int, attempt: int, state: str = "oom") -> None:
        self._say("retry", number=number, attempt=attempt, state=state)

    def close(self, state: str = "finished", exit_code: int = 0) -> None:
        self._say("close", state=state, reason=None, exit_code=exit_code)
        self.journal.close()


def point(number: int) -> dict[str, Any]:
    """A point of SPACE; momentum exists for every other one."""
    made: dict[str, Any] = {
        "learning_rate": 0.0031234321 * (number + 1),
        "model.channels": (16, 32, 64)[number % 3],
        "optimizer": ("sgd", "adamw")[number % 2],
        "batch_size": 32 * (1 + number % 8),
        "schedule": (None, "cosine", 3)[number % 3],
        "layers": ([64], [64, 64])[number % 2],
        "amp": number % 2 == 0,
    }
    return made | ({"momentum": 0.9} if number % 2 == 0 else {})


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """``{"a.b": 1}`` as ``{"a": {"b": 1}}``."""
    made: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split(".")
        place = made
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = value
    return made


def tell(folder: Path, trials: int = 10) -> Story:
    """An experiment with every kind of end, closed."""
    story = Story(folder, num_trials=trials)
    for number in range(trials):
        start = 1.0 / (1 + number % 7)
        values = [start * 0.8**step for step in range(9)]
        kind = number % 5
        if kind == 1:
            story.trial(number)
            story.start(number)
            story.curve(number, values[:3])
            story.decide(number, 3)
            story.end(
                number,
                "stopped",
                iteration=3,
                by="asha",
                reason="below the cutoff",
                value=values[2],
                best=values[2],
            )
        elif kind == 3:
            story.trial(number)
            story.start(number)
            story.fail(number)
        else:
            story.whole(number, values)
    story.test(0, **{"test/accuracy": 0.9})
    story.close()
    return story
