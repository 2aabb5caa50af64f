"""What the suite has Ray Tune's controller call: when a trial starts, after each step, and at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.progress_reporter import TrialProgressCallback

from raytune_suite.adapters import SuiteTrial
from raytune_suite.driver import Driver
from raytune_suite.failures import Failure
from raytune_suite.nodes import amounts
from raytune_suite.schedulers.core import Scheduler
from raytune_suite.silence import Silence, waits

_BATCH = 64


class SilenceCallback(Callback):  # type: ignore[misc]
    """Looks once a second for trials from which nothing is heard, ends their workers, and tells of those without."""

    def __init__(self, silence: Silence, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._silence, self._tell, self._next = silence, tell, 0.0

    def on_step_end(self, iteration: int, trials: list[SuiteTrial], **info: Any) -> None:
        """See ``Callback``."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 1.0
        for number, verdict in self._silence.overdue().items():
            self._end(number, verdict, trials)
        if (late := self._silence.pending()) is not None:
            trial = next((trial for trial in trials if trial.number == late[0]), None)
            wanted = trial.placement_group_factory.required_resources if trial is not None else {}
            self._tell(
                waits(*late, amounts(wanted), amounts(ray.available_resources()), amounts(ray.cluster_resources()))
            )

    def _end(self, number: int, verdict: Failure, trials: list[SuiteTrial]) -> None:
        trial = next((trial for trial in trials if trial.number == number), None)
        if trial is not None and (actor := trial.temporary_state.ray_actor) is not None:
            trial.verdict = verdict
            ray.kill(actor)


class StartCallback(TrialProgressCallback):  # type: ignore[misc]
    """Tells the driver when a trial gets its worker, in the place of a callback of Tune's that prints.

    However quiet Tune is asked to be, that one tells of a trial that ends without having reported to it.
    """

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self._driver = driver

    def log_result(self, trial: SuiteTrial, result: dict[str, Any], error: bool = False) -> None:
        """Print nothing."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: SuiteTrial, **info: Any) -> None:
        """Print nothing."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: SuiteTrial, **info: Any) -> None:
        """See ``Callback``."""
        self._driver.started(trial.number)


class Forgetting(Callback):  # type: ignore[misc]
    """Takes ended trials, except the latest, from the list of all that callbacks are shown: the controller's own.

    The controller looks through all of them twice a step, and at the end it makes a table of each, from files that the
    suite does not write. The journal is the record.
    """

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


def forgetting(scheduler: Scheduler) -> list[Callback]:
    """The callback, if the scheduler needs no trial that has ended. Users' callbacks may count on the whole list."""
    looks_back = scheduler.pauses or scheduler.promotes or scheduler.population is not None
    return [] if looks_back else [Forgetting()]
