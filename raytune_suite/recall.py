"""What a scheduler that cannot be derived again still remembers of earlier sessions: what the journal says of it.

HyperBand is given the logged reports in their order, as ASHA is, but nothing is compared: when a bracket was closed
for lack of trials is not on record. A population is told what was perturbed when, and who took over whose checkpoint.
Where that leads nowhere (a journal of an older version, an odd end) the scheduler begins anew, and the plan says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raytune_suite.live import trial_id
from raytune_suite.schedulers.core import Scheduler
from raytune_suite.states import State

Event = dict[str, Any]


class StandIn:
    """As much of a trial of Ray Tune's as its schedulers look at; equal to the real one of the same id."""

    def __init__(self, number: int, config: dict[str, Any]) -> None:
        self.number, self.trial_id, self.config = number, trial_id(number), config
        self.status = "RUNNING"
        self.is_saving = False
        self.experiment_tag = self.trial_id
        self.last_result: dict[str, Any] = {}

    def __hash__(self) -> int:
        return hash(self.trial_id)

    def __eq__(self, other: object) -> bool:
        return getattr(other, "trial_id", None) == self.trial_id

    def __str__(self) -> str:
        return self.trial_id

    def is_finished(self) -> bool:
        """Say whether the trial has ended."""
        return self.status == "TERMINATED"


class StandInController:
    """The trials there were, for a scheduler that asks."""

    search_alg = None

    def __init__(self, stopped: Callable[[StandIn], None] | None = None) -> None:
        self.trials: dict[int, StandIn] = {}
        self._stopped = stopped

    def stop_trial(self, trial: StandIn) -> None:
        """Stop a trial that is not the one that reports."""
        trial.status = "TERMINATED"
        if self._stopped is not None:
            self._stopped(trial)

    def get_trials(self) -> list[StandIn]:
        """Return all of them."""
        return list(self.trials.values())

    def get_live_trials(self) -> list[StandIn]:
        """Return those that have not ended."""
        return [trial for trial in self.trials.values() if not trial.is_finished()]


class Population:
    """Tells a population what became of its members; see ``schedulers/onray/recalled.py``."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._ray = scheduler.ray

    def apply(self, event: Event, trial: StandIn, metric: str) -> None:
        """Take an event about one member into account."""
        kind = event["event"]
        if kind == "trial":
            self._ray.recall_member(trial)
        elif kind == "report":
            value = event["metrics"].get(metric)
            self._ray.recall_report(trial, {"training_iteration": event["iteration"], metric: value})
        elif kind == "checkpoint":
            self._ray.recall_checkpoint(trial, event["iteration"], event["path"])
        elif kind == "decision" and event["action"] == "exploit":
            trial.config = event["reason"].get("config") or trial.config
            self._ray.recall_exploit(trial, event["reason"])
        elif kind == "end":
            trial.status = "TERMINATED" if State(event["state"]).ended else "PENDING"
        elif kind in ("retry", "start"):
            trial.status = "RUNNING"


class Brackets:
    """Keeps the statuses of HyperBand's trials as they were when their reports came in."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._ray = scheduler.ray

    def session(self, planned: int | None) -> None:
        """Another driver began; so many trials the study had then."""
        if planned is not None:
            self._ray.expect(planned)

    def apply(self, event: Event, trial: StandIn, metric: str) -> None:
        """Take an event about one trial into account, before the scheduler hears of it."""
        if event["event"] in ("start", "report"):
            if trial.is_finished():
                raise ValueError(f"trial {trial.number} went on although its bracket was through with it")
            trial.status = "RUNNING"
        elif event["event"] == "trial":
            trial.status = "PENDING"
        elif event["event"] == "decision" and event["action"] == "pause":
            trial.status = "PAUSED"

    def reopen(self, trial: StandIn) -> None:
        """Another session begins: who waits at a rung goes on waiting there."""
        if not trial.is_finished():
            trial.status = "PAUSED" if self._ray.holds(trial.trial_id) else "PENDING"


def memory_of(scheduler: Scheduler) -> Population | Brackets | None:
    """How this scheduler is reminded of the past; None if it is derived again, or cannot be reminded."""
    if scheduler.replayable:
        return None
    if hasattr(scheduler.ray, "recall_member"):
        return Population(scheduler)
    return Brackets(scheduler) if hasattr(scheduler.ray, "expect") else None
