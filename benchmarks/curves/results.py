"""Results of studies in virtual time, a JSON line each: written as they come, so that a run goes on where it ended."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.curves.play import Trace

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """What was played: ``arm`` is searcher[@label]/rule."""

    task: str
    workers: int
    arm: str
    seed: int


@dataclass(frozen=True)
class Result:
    """One study: ``steps`` (n, 3) of time as a fraction of the horizon, best loss so far and its final loss."""

    case: Case
    steps: Array
    facts: dict[str, Any]

    def loss(self, fraction: float, column: int = 1) -> float:
        """The best loss any trial has reported by then; column 2: that configuration's after a whole training."""
        known = np.flatnonzero(self.steps[:, 0] <= fraction)
        return float(self.steps[known[-1], column]) if len(known) else math.inf

    def reaches(self, level: float) -> float:
        """When the best loss first is at most ``level``; inf if not within the horizon."""
        there = np.flatnonzero(self.steps[:, 1] <= level)
        return float(self.steps[there[0], 0]) if len(there) else math.inf


def write(path: Path, case: Case, trace: Trace, horizon: float, facts: dict[str, Any]) -> None:
    """Append one study to the results."""
    steps = [[round(time / horizon, 6), loss, final] for time, loss, final in trace.steps]
    exhausted = None if trace.exhausted is None else round(trace.exhausted / horizon, 4)
    counts = {"trials": trace.trials, "completed": trace.completed, "iterations": trace.iterations}
    line = {**case.__dict__, **counts, "exhausted": exhausted, **facts, "steps": steps}
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def read(path: Path) -> Iterator[Result]:
    """All results, the last of each case, in the order in which they were first written; ``.gz``: packed."""
    found: dict[Case, Result] = {}
    for line in _text(path).splitlines():
        facts = json.loads(line)
        case = Case(*(facts.pop(key) for key in ("task", "workers", "arm", "seed")))
        found[case] = Result(case, np.array(facts.pop("steps"), dtype=float).reshape(-1, 3), facts)
    yield from found.values()


def _text(path: Path) -> str:
    if not path.exists():
        return ""
    return gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
