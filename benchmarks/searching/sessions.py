"""One way to speak to every searcher: the suite's own in this process, the peers in theirs."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from searching.environments import interpreter
from searching.task import Task

from raytune_suite.search import Observation, Searcher
from raytune_suite.search.bayesian import BayesianSearcher
from raytune_suite.search.random import RandomSearcher
from raytune_suite.states import State

PEERS = Path(__file__).parent / "peers"

_ONE_CPU = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), "1")

# SMAC's trees reserve room for a million leaves: without these each of its fits maps and returns 100 MB ten times.
_KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "4000000000"}


Took = tuple[float, float]
"""Seconds a call took by the clock, and of the processor (which others on the machine do not lengthen)."""


class Session(Protocol):
    """A searcher at work on tasks, one after the other."""

    versions: Mapping[str, str]

    def start(self, task: Task, seed: int, trials: int, in_flight: int) -> None:
        """Begin a search."""

    def ask(self, number: int) -> tuple[dict[str, Any] | None, Took]:
        """The point of evaluation ``number`` (None: no more)."""

    def tell(self, number: int, value: float) -> Took:
        """Give the loss of evaluation ``number``."""

    def close(self) -> None:
        """End the session."""


class Local:
    """A searcher of the suite."""

    def __init__(self, kind: type[Searcher], options: Mapping[str, Any]) -> None:
        self._kind = kind
        self._options = options
        self.versions: Mapping[str, str] = {
            name: version(name) for name in ("raytune-suite", "bayesian-optimization", "scipy")
        }

    def start(self, task: Task, seed: int, trials: int, in_flight: int) -> None:
        """A fresh searcher."""
        self._searcher = self._kind(task.space, seed=seed, num_trials=trials, options=self._options)
        self._searcher.prepare()

    def ask(self, number: int) -> tuple[dict[str, Any] | None, Took]:
        """Ask, timed."""
        started = _now()
        suggestion = self._searcher.ask(number)
        return (None if suggestion is None else suggestion.point), _since(started)

    def tell(self, number: int, value: float) -> Took:
        """Tell, timed."""
        observation = Observation(number, self._searcher.pending[number], value, 1, State.COMPLETED)
        started = _now()
        self._searcher.tell(observation)
        return _since(started)

    def close(self) -> None:
        """Nothing to end."""


class Remote:
    """A peer in a process of its own."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            env={**os.environ, **_ONE_CPU, **_KEEP_MEMORY},
        )
        self.versions: Mapping[str, str] = {}

    def start(self, task: Task, seed: int, trials: int, in_flight: int) -> None:
        """A fresh search in the same process."""
        settings = {"parameters": task.parameters(), "seed": seed, "trials": trials, "in_flight": in_flight}
        self.versions = self._call({"op": "start", **settings})["versions"]

    def ask(self, number: int) -> tuple[dict[str, Any] | None, Took]:
        """Ask; the seconds are the peer's own, without the transport."""
        answer = self._call({"op": "ask"})
        return answer["point"], (answer["seconds"], answer["cpu_seconds"])

    def tell(self, number: int, value: float) -> Took:
        """Tell, timed likewise."""
        answer = self._call({"op": "tell", "number": number, "value": value})
        return answer["seconds"], answer["cpu_seconds"]

    def close(self) -> None:
        """Close the peer's input, which ends it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(30)

    def _call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the peer has no pipes")
        self._process.stdin.write(json.dumps(request) + "\n")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended with code {self._process.wait()}: {self._process.args!r}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _now() -> Took:
    return time.perf_counter(), time.process_time()


def _since(started: Took) -> Took:
    now = _now()
    return now[0] - started[0], now[1] - started[1]


@dataclass(frozen=True)
class Entry:
    """A searcher of the comparison.

    Attributes:
        title: what the report calls it.
        open: gives a session, peers' environments being under a folder.
    """

    title: str
    open: Callable[[Path], Session]


def _local(kind: type[Searcher], **options: Any) -> Callable[[Path], Session]:
    return lambda _: Local(kind, options)


def _peer(environment: str, script: str, *arguments: str) -> Callable[[Path], Session]:
    return lambda folder: Remote([str(interpreter(environment, folder)), str(PEERS / script), *arguments])


SEARCHERS = {
    "suite": Entry("suite (Bayesian)", _local(BayesianSearcher)),
    "tpe": Entry("Optuna TPE (its defaults)", _peer("optuna", "with_optuna.py", "tpe")),
    "gp": Entry("Optuna GPSampler", _peer("optuna", "with_optuna.py", "gp")),
    "smac": Entry("SMAC3 (HPO facade)", _peer("smac", "with_smac.py")),
    "ax": Entry("Ax", _peer("ax", "with_ax.py")),
    "random": Entry("random", _local(RandomSearcher)),
    "sobol": Entry("scrambled Sobol", _local(RandomSearcher, sampling="sobol")),
}
