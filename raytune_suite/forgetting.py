"""Lets Tune's controller forget trials that have ended.

It keeps every trial there ever was, looks through all of them twice a step, and at the end makes a table of each, from
files that the suite does not write. The journal is the record; what has ended there is of no use here.
"""

from __future__ import annotations

from typing import Any

from ray.tune import Callback

from raytune_suite.schedulers.core import Scheduler

_BATCH = 64


class Forgetting(Callback):  # type: ignore[misc]
    """Takes ended trials, except the latest, from the list of all that callbacks are shown: the controller's own."""

    def __init__(self) -> None:
        super().__init__()
        self._at = _BATCH

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """See ``Callback``."""
        if len(trials) >= self._at:
            self._forget(trials)
            self._at = len(trials) + _BATCH

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """See ``Callback``."""
        self._forget(trials)

    def _forget(self, trials: list[Any]) -> None:
        trials[:] = [trial for trial in trials[:-1] if not trial.is_finished()] + trials[-1:]


def suited(scheduler: Scheduler) -> list[Callback]:
    """The callback, if the scheduler needs no trial that has ended. Users' callbacks may count on the whole list."""
    looks_back = scheduler.pauses or scheduler.promotes or scheduler.population is not None
    return [] if looks_back else [Forgetting()]
