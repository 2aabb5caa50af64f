"""Trials from which nothing is heard: those that wait for a worker too long, and workers that do not answer.

A step that hangs is ended by its own process (``watchdog.py``). What is left for the driver are processes and machines
that cannot even do that: one that is stopped, swaps, or has lost its network. Nothing here knows Ray.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from raytune_suite.failures import Failure
from raytune_suite.states import State
from raytune_suite.stoppers import duration

PENDING_S = 60.0
"""So long a trial may wait for its worker before that is worth a word."""
SLACK_S = 20.0
"""So much longer than a step may take nothing is heard before the driver ends the worker itself."""


class Silence:
    """Keeps the time since each trial was heard of; listens to the journal.

    ``step_time``: seconds a step may take, None for no limit. ``clock`` gives seconds and does not jump.
    """

    def __init__(self, step_time: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = None if step_time is None else step_time + max(SLACK_S, 0.5 * step_time)
        self._clock = clock
        self._waiting: dict[int, float] = {}
        self._heard: dict[int, float] = {}
        self._said = False

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take an event into account."""
        kind, number = event["event"], event.get("number")
        if number is None:
            return
        if kind in ("trial", "retry"):
            self._heard.pop(number, None)
            self._waiting[number] = self._clock()
        elif kind in ("start", "report", "worker"):
            self._waiting.pop(number, None)
            self._heard[number] = self._clock()
        elif kind == "end" or event.get("action") == "pause":
            self._waiting.pop(number, None)
            self._heard.pop(number, None)

    def pending(self) -> tuple[int, float] | None:
        """The trial that has waited for a worker the longest, and how long (seconds); once, when it is too long."""
        if self._said or not self._waiting:
            return None
        number = min(self._waiting, key=self._waiting.__getitem__)
        waited = self._clock() - self._waiting[number]
        if waited < PENDING_S:
            return None
        self._said = True
        return number, waited

    def overdue(self) -> dict[int, Failure]:
        """The trials whose workers must be ended, with what is to be said of them; again after as long a silence."""
        if self._limit is None:
            return {}
        now = self._clock()
        late = {number: now - at for number, at in self._heard.items() if now - at > self._limit}
        self._heard.update(dict.fromkeys(late, now))
        return {number: _silent(waited) for number, waited in late.items()}


def waits(number: int, waited: float, wanted: str, free: str, total: str) -> str:
    """Say that a trial has no worker yet, what it wants, and what there is."""
    return (
        f"trial {number} has waited {duration(round(waited))} for a worker: it wants {wanted}; "
        f"free are {free} of {total}. Either others use this cluster, or the worker cannot start there: "
        "ray status, and the logs of Ray, tell more"
    )


def _silent(waited: float) -> Failure:
    message = (
        f"nothing was heard of the trial for {duration(round(waited))}, and its worker did not end the step by itself: "
        "the process is stopped or swapped out, or its machine cannot be reached"
    )
    return Failure(State.TIMED_OUT, "Timeout", message)
