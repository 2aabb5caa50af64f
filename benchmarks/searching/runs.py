"""Running searchers on tasks in virtual time, a JSON line for each run."""

from __future__ import annotations

import fcntl
import gzip
import heapq
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from searching.sessions import SEARCHERS, Session
from searching.task import Task
from searching.tasks import TASKS, VERSION


@dataclass(frozen=True)
class Mode:
    """How many evaluations, and how many of them in flight at a time."""

    name: str
    evaluations: int
    in_flight: int


MODES = {
    "sequential": Mode("sequential", 60, 1),
    "asynchronous": Mode("asynchronous", 80, 8),
}

QUICK_MODES = {
    "sequential": Mode("sequential", 30, 1),
    "asynchronous": Mode("asynchronous", 40, 8),
}
"""The modes of the short run: other budgets, so never mixed with the whole ones."""

_NOISE, _DURATION = 4211, 4212


@dataclass(frozen=True)
class Run:
    """One run to do: a searcher, a task, a mode, a seed."""

    searcher: str
    task: str
    mode: Mode
    seed: int

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        """What tells runs apart in result files."""
        return (self.searcher, self.task, self.mode.name, self.mode.evaluations, self.seed)


def drawn(kind: int, seed: int, number: int) -> float:
    """A standard normal number of (seed, evaluation), the same for every searcher."""
    return float(np.random.default_rng([kind, seed, number]).standard_normal())


def evaluate(session: Session, task: Task, mode: Mode, seed: int) -> dict[str, Any]:
    """Search in virtual time: durations are lognormal, results come back in the order trials end.

    Returns:
        ``losses`` without and ``observed`` with noise by evaluation, and ``seconds`` and ``cpu_seconds`` per
        suggestion: those of the ask and of the tell before it.
    """
    session.start(task, seed, mode.evaluations, mode.in_flight)
    running: list[tuple[float, int]] = []
    losses: list[float] = []
    observed: list[float] = []
    took: list[tuple[float, float]] = []
    clock = 0.0
    for number in range(mode.evaluations):
        told = (0.0, 0.0)
        if len(running) == mode.in_flight:
            clock, ended = heapq.heappop(running)
            told = session.tell(ended, observed[ended])
        point, asked = session.ask(number)
        if point is None:
            break
        took.append((told[0] + asked[0], told[1] + asked[1]))
        losses.append(task.loss(point))
        observed.append(losses[-1] + task.noise * drawn(_NOISE, seed, number))
        heapq.heappush(running, (clock + float(np.exp(0.5 * drawn(_DURATION, seed, number))), number))
    seconds, cpu_seconds = zip(*took, strict=True)
    return {"losses": losses, "observed": observed, "seconds": seconds, "cpu_seconds": cpu_seconds}


def record(run: Run, session: Session) -> dict[str, Any]:
    """Do a run and describe it."""
    started = time.perf_counter()
    found = evaluate(session, TASKS[run.task], run.mode, run.seed)
    rounded = {
        key: [float(f"{x:.8g}") if key in ("losses", "observed") else round(x, 5) for x in values]
        for key, values in found.items()
    }
    best = [float(x) for x in np.minimum.accumulate(rounded["losses"])]
    return {
        "searcher": run.searcher,
        "task": run.task,
        "mode": run.mode.name,
        "evaluations": run.mode.evaluations,
        "in_flight": run.mode.in_flight,
        "seed": run.seed,
        "tasks_version": VERSION,
        "best": best,
        **rounded,
        "wall": round(time.perf_counter() - started, 3),
        "versions": dict(session.versions),
    }


def read(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """All runs of result files, packed (.gz) or not, but those of another version of the tasks and torn last lines."""
    found = []
    for path in paths:
        for line in _text(path).splitlines() if path.exists() else ():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if entry["tasks_version"] == VERSION:
                found.append(entry)
    return found


def _text(path: Path) -> str:
    if path.suffix != ".gz":
        return path.read_text()
    with gzip.open(path, "rt") as file:
        return file.read()


def append(path: Path, entry: dict[str, Any]) -> None:
    """Add a line, whole even when several processes write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(entry) + "\n")


def plan(searchers: Sequence[str], tasks: Sequence[str], modes: Sequence[Mode], seeds: Sequence[int]) -> list[Run]:
    """The runs in order, seeds outermost: a part of them covers all tasks."""
    return [Run(s, t, m, seed) for m in modes for seed in seeds for s in searchers for t in tasks]


def work(runs: Sequence[Run], results: Path, environments: Path) -> None:
    """Do the runs that ``results`` lacks, with a line of progress each."""
    done = {(e["searcher"], e["task"], e["mode"], e["evaluations"], e["seed"]) for e in read([results])}
    left = [run for run in runs if run.key not in done]
    sessions: dict[str, Session] = {}
    started = time.perf_counter()
    for count, run in enumerate(left, start=1):
        if run.searcher not in sessions:
            sessions[run.searcher] = SEARCHERS[run.searcher].open(environments)
        entry = record(run, sessions[run.searcher])
        append(results, entry)
        minutes = (time.perf_counter() - started) / 60
        print(
            f"{count}/{len(left)} {run.searcher} {run.task} {run.mode.name} seed {run.seed}: "
            f"{entry['best'][-1]:.4g} in {entry['wall']:.1f} s; {minutes * (len(left) - count) / count:.0f} min left",
            flush=True,
        )
    for session in sessions.values():
        session.close()
