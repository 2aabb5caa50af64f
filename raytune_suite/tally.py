"""What the terminal needs to know of a running study, counted event by event so that drawing costs nothing."""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from raytune_suite.record import Record, TrialRecord
from raytune_suite.states import State
from raytune_suite.usage import Usage

RECENT = 24
"""So many of a running trial's last values are kept for its curve."""

Event = dict[str, Any]


@dataclass
class ErrorGroup:
    """Trials that failed in the same way."""

    type: str
    message: str
    traceback: str
    numbers: list[int] = field(default_factory=list)


class Tally:
    """Counts over a record; ``apply`` comes after the record has seen the event and takes microseconds."""

    def __init__(self, record: Record, clock: Callable[[], float] = time.monotonic) -> None:
        self.record = record
        self.running: dict[int, deque[float | None]] = {}
        self.ended: Counter[State] = Counter()
        self.usage = Usage()
        self.errors: dict[tuple[str, str], ErrorGroup] = {}
        self.best: tuple[float, int, int] | None = None  # value, trial, iteration
        self._clock = clock
        self._started = clock()
        self._done: dict[int, int] = {}  # iterations of the trials that have not ended, for the time left
        self._ended_iterations = 0
        self._ended_before = 0

    def take_over(self) -> None:
        """Count what the record of earlier sessions holds already; the time left follows from this one alone."""
        counts = self.record.counts()
        self.ended.update({state: count for state, count in counts.items() if state.ended})
        self._ended_before = self.ended.total()
        if (trial := self.record.best()) and (found := trial.best()):
            self.best = (found.value, trial.number, found.iteration)

    def apply(self, event: Event) -> None:
        """Count one event."""
        self.usage.apply(event)
        kind, number = event["event"], event.get("number")
        if number is None:
            return
        if kind == "report":
            self._report(number, event)
        elif kind == "start":
            self.running[number] = deque(maxlen=RECENT)
        elif kind == "retry" or (kind == "decision" and event.get("action") == "pause"):
            self.running.pop(number, None)
        elif kind == "end":
            self._end(number, event)

    @property
    def elapsed(self) -> float:
        """Seconds since the tally was made."""
        return self._clock() - self._started

    @property
    def slots(self) -> int | None:
        """How many trials may run at a time."""
        return self.record.sessions[-1].get("slots") if self.record.sessions else None

    @property
    def left(self) -> float | None:
        """Seconds left by the iterations done so far; None while nothing has ended or no number is set."""
        total, ended = self.record.num_trials, self.ended.total()
        done = self._ended_iterations + sum(list(self._done.values()))
        if not total or ended == self._ended_before or not done:
            return None
        work = max(self._ended_iterations / (ended - self._ended_before), 1e-9)
        remaining = sum(max(0.0, work - self._done.get(number, 0)) for number in list(self.running))
        remaining += max(0, total - ended - len(self.running)) * work
        return remaining * self.elapsed / done

    def best_trial(self) -> TrialRecord | None:
        """The trial that holds the best value so far."""
        return self.record.trials.get(self.best[1]) if self.best else None

    def _report(self, number: int, event: Event) -> None:
        value = event["metrics"].get(self.record.metric)
        plain = float(value) if isinstance(value, int | float) else None
        recent = self.running.setdefault(number, deque(maxlen=RECENT))
        recent.append(plain)
        self._done[number] = self._done.get(number, 0) + 1
        found = self.record.trials[number].best()
        if found is None:
            return
        sign = -1 if self.record.mode == "max" else 1
        if self.best is None or sign * found.value < sign * self.best[0]:
            self.best = (found.value, number, found.iteration)

    def _end(self, number: int, event: Event) -> None:
        state = State(event["state"])
        self.running.pop(number, None)
        self.ended[state] += 1
        self._ended_iterations += self._done.pop(number, 0)
        if event.get("error"):
            self._error(number, event["error"])
        if state.failure and self.best and self.best[1] == number:  # rare: look for the next best
            self.best = None
            if (trial := self.record.best()) and (found := trial.best()):
                self.best = (found.value, trial.number, found.iteration)

    def _error(self, number: int, error: Event) -> None:
        kind, message = str(error.get("type") or "Error"), str(error.get("message") or "")
        group = self.errors.setdefault((kind, alike(message)), ErrorGroup(kind, message, error.get("traceback") or ""))
        group.numbers.append(number)


def alike(message: str) -> str:
    """A message without what differs between equal errors: numbers, addresses, paths."""
    line = message.strip().splitlines()[0] if message.strip() else ""
    return re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?|(/[\w.\-]+)+", "#", line)
