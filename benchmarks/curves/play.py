"""One study in virtual time: workers, a searcher and a rule on a recorded table."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.curves.rules import Rule
from benchmarks.curves.table import Table
from raytune_suite.search import Observation
from raytune_suite.states import State


class Asked(Protocol):
    """The part of a searcher that a study in virtual time needs."""

    def ask(self, number: int) -> Any:
        """A suggestion with its ``point``; None if there is none left."""
        ...

    def tell(self, observation: Observation) -> None:
        """Take note of a report or an end."""
        ...


@dataclass
class Trace:
    """What came of a study. ``steps``: (time, best loss so far, that configuration's loss after a whole training)."""

    steps: list[tuple[float, float, float]] = field(default_factory=list)
    trials: int = 0
    completed: int = 0
    iterations: int = 0
    exhausted: float | None = None
    """When the searcher had no point left."""


class Play:
    """Plays until ``horizon`` virtual seconds; suggestions and decisions take no time.

    ``until_best``: or until the best loss of the table is met, after which nothing more can be learnt of a searcher.

    Tells in the driver's order: every report as of a running trial, then what the rule decides, then the end of
    a trial that ended, and only then asks. Nothing is told of a pause. Ties in time are broken by who began first.
    """

    def __init__(
        self, table: Table, searcher: Asked, rule: Rule, workers: int, horizon: float, until_best: bool = False
    ) -> None:
        self._table, self._searcher, self._rule = table, searcher, rule
        self._free, self._horizon, self._until_best = workers, horizon, until_best
        self._points: list[dict[str, Any]] = []
        self._rows: list[int] = []
        self._done: list[int] = []  # iterations by trial
        self._running: list[tuple[float, int, int]] = []  # when the next report comes, tie-break, trial
        self._clock, self._events = 0.0, 0
        self.trace = Trace()

    def run(self) -> Trace:
        """The whole study."""
        self._fill()
        while self._running and self._running[0][0] <= self._horizon and not self._over:
            self._clock, _, trial = heapq.heappop(self._running)
            self._report(trial)
            self._fill()
        return self.trace

    @property
    def _over(self) -> bool:
        return self._until_best and bool(self.trace.steps) and self.trace.steps[-1][1] <= self._table.best

    def _fill(self) -> None:
        while self._free and (trial := self._next()) is not None:
            self._free -= 1
            self._train(trial)

    def _next(self) -> int | None:
        paused = self._rule.resume()
        if paused is not None or self.trace.exhausted is not None:
            return paused
        suggestion = self._searcher.ask(len(self._rows))
        if suggestion is None:
            self.trace.exhausted = self._clock
            return None
        self._points.append(suggestion.point)
        self._rows.append(self._table.row(suggestion.point))
        self._done.append(0)
        self.trace.trials += 1
        return len(self._rows) - 1

    def _train(self, trial: int) -> None:
        """One more iteration."""
        seconds = float(self._table.seconds[self._rows[trial], self._done[trial]])
        self._events += 1
        heapq.heappush(self._running, (self._clock + seconds, self._events, trial))

    def _report(self, trial: int) -> None:
        self._done[trial] += 1
        self.trace.iterations += 1
        iteration, whole = self._done[trial], self._table.iterations
        loss = float(self._table.losses[self._rows[trial], iteration - 1])
        self._note(trial, loss)
        self._tell(trial, loss, State.RUNNING)
        action = self._rule.report(trial, iteration, loss) if iteration < whole else "stop"
        if action == "continue":
            self._train(trial)
            return
        self._free += 1
        if action == "stop":
            self.trace.completed += iteration == whole
            self._tell(trial, loss, State.COMPLETED if iteration == whole else State.STOPPED)

    def _tell(self, trial: int, loss: float, state: State) -> None:
        done = self._done[trial]
        seconds = float(self._table.seconds[self._rows[trial], :done].sum())
        self._searcher.tell(Observation(trial, self._points[trial], loss, done, state, seconds=seconds))

    def _note(self, trial: int, loss: float) -> None:
        best = self.trace.steps[-1][1] if self.trace.steps else math.inf
        if loss < best:
            final = float(self._table.losses[self._rows[trial], -1])
            self.trace.steps.append((round(self._clock, 4), loss, final))
