"""A session, as in promoting.py, of a population: members pause, and take over one another's checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from promoting import Controller, Promoting

from raytune_suite import schedulers, search
from raytune_suite.driver import Driver
from raytune_suite.recall import StandIn
from raytune_suite.replay import Nowhere
from raytune_suite.restore import restore
from raytune_suite.stoppers import Stoppers
from raytune_suite.study import Study

Event = dict[str, Any]


class Member(StandIn):
    """As much of a trial of Ray Tune's as PBT and PB2 change."""

    def __init__(self, number: int, config: dict[str, Any]) -> None:
        super().__init__(number, config)
        self.status = "PENDING"
        self.evaluated_params: dict[str, Any] = {}
        self.temporary_state = SimpleNamespace(saving_to=None)
        manager = SimpleNamespace(checkpoint_config=SimpleNamespace(num_to_keep=None), _latest_checkpoint_result=None)
        self.run_metadata = SimpleNamespace(checkpoint_manager=manager)

    @property
    def checkpoint(self) -> Any:
        held = self.run_metadata.checkpoint_manager._latest_checkpoint_result
        return held.checkpoint if held is not None else None

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config

    def set_experiment_tag(self, tag: str) -> None:
        self.experiment_tag = tag


class Society(Controller):
    """Ray Tune's controller, as far as a population asks: who is there, save this one, pause that one."""

    session: Evolving

    def get_trials(self) -> list[Any]:
        return list(self.trials.values())

    def _schedule_trial_save(self, trial: Member, result: dict[str, Any] | None = None) -> Any:
        iteration = self.session.iterations[trial.number]
        checkpoint = SimpleNamespace(path=f"checkpoints/{trial.trial_id}/{iteration:06d}")
        trial.run_metadata.checkpoint_manager._latest_checkpoint_result = SimpleNamespace(checkpoint=checkpoint)
        return checkpoint

    def pause_trial(self, trial: Member, should_checkpoint: bool = True) -> None:
        if should_checkpoint:
            self._schedule_trial_save(trial)
        self.session.pause(trial.number)


class Evolving(Promoting):
    """A population of members with a checkpoint after every step; ``snapshots``: what it knew, by event."""

    def __init__(self, made: Study, folder: Path, **options: Any) -> None:
        super().__init__(made, folder, **options)
        self.controller = Society(self)
        self.snapshots: list[tuple[int, Any]] = []
        if self.journal.seq > 2:
            self.scheduler.ray.offer(folder, folder / ".scratch")

    def _fill(self) -> None:
        while len(self.controller.trials) < (self.study.num_trials or 0) and self._begin():
            pass
        while len(self.running) < self.slots and self._resume():
            pass

    def _begin(self) -> bool:
        new = self.driver.next_trial()
        if new is None:
            return False
        trial = Member(new.number, new.config)
        self.paused[new.number] = self.controller.trials[new.number] = trial
        self.iterations[new.number] = self.checkpoints.get(new.number, 0)
        self.scheduler.ray.on_trial_add(self.controller, trial)
        return True

    def _resume(self) -> bool:
        chosen = self.scheduler.ray.choose_trial_to_run(self.controller)
        if chosen is None:
            return False
        if chosen.checkpoint is not None:
            self.iterations[chosen.number] = _iteration(Path(chosen.checkpoint.path))
        chosen.status = "RUNNING"
        self.running[chosen.number] = self.paused.pop(chosen.number)
        self.driver.started(chosen.number)
        return True

    def pause(self, number: int) -> None:
        if number in self.running:
            self.paused[number] = self.running.pop(number)
        self.controller.trials[number].status = "PAUSED"

    def _step(self, number: int) -> None:
        self.snapshots.append((self.journal.seq, population(self.scheduler.ray)))
        trial = self.running[number]
        saved = {"iteration": self.iterations[number] + 1, "best": False}
        saved["path"] = f"checkpoints/{trial.trial_id}/{saved['iteration']:06d}"
        self.log.append("checkpoint", number=number, **saved)
        super()._step(number)
        if number not in self.running and number not in self.paused:
            trial.status = "TERMINATED"
            self.scheduler.ray.on_trial_remove(self.controller, trial)


def _iteration(checkpoint: Path) -> int:
    """The iteration of a checkpoint, also of one that is pointed to after a resume."""
    pointer = checkpoint / "pointer.json"
    target = Path(json.loads(pointer.read_text())["path"]) if pointer.is_file() else checkpoint
    return int(target.name)


def population(ray: Any) -> dict[str, Any]:
    """Where a population stands: each member's configuration, score and moments, and what PB2 learns from."""
    states = {
        trial.trial_id: (trial.config, repr(s.last_score), s.last_train_time, s.last_perturbation_time)
        for trial, s in ray._trial_state.items()
        if not trial.is_finished()
    }
    table = getattr(ray, "data", None)
    rows = [] if table is None else [[str(row[0]).rpartition("_")[2], *row[1:]] for row in table.to_numpy().tolist()]
    return {"members": states, "exploits": dict(ray._exploits), "meet": ray._next_perturbation_sync, "table": rows}


def restored(made: Study, events: list[Event]) -> Driver:
    """A fresh driver that has lived through ``events``."""
    driver = Driver(
        made, Nowhere(), search.build(made), schedulers.build(made), Stoppers(made), num_trials=made.num_trials
    )
    past = restore(driver, events)
    assert past.forgotten is None, past.forgotten
    return driver
