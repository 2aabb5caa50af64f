"""A session, as in test_restore.py, of a scheduler that pauses trials and wakes some of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from test_restore import Session

from raytune_suite.live import PAUSE
from raytune_suite.recall import StandIn, StandInController
from raytune_suite.study import Study


class Controller(StandInController):
    """Ray Tune's, as far as pausing and stopping paused trials goes."""

    def __init__(self, session: Promoting) -> None:
        super().__init__()
        self.session = session

    @property
    def search_alg(self) -> Any:
        return self

    @property
    def exhausted(self) -> bool:
        return self.session.driver.finished and not self.session.driver.stopping

    def stop_trial(self, trial: StandIn) -> None:
        assert trial.status == "PAUSED"
        trial.status = "TERMINATED"
        self.session.scheduler.ray.on_trial_remove(self, trial)
        self.session.driver.ended(trial.number)


class Promoting(Session):
    """A session whose trials leave their slots when they are paused, and get one back before any new trial."""

    def __init__(self, made: Study, folder: Path, **options: Any) -> None:
        super().__init__(made, folder, **options)
        self.controller = Controller(self)
        self.paused: dict[int, StandIn] = {}

    def _fill(self) -> None:
        while len(self.running) < self.slots and (self._resume() or self._begin()):
            pass

    def _resume(self) -> bool:
        chosen = self.scheduler.ray.choose_trial_to_run(self.controller)
        if chosen is None:
            return False
        chosen.status = "RUNNING"
        self.running[chosen.number] = self.paused.pop(chosen.number)
        self.driver.started(chosen.number)
        return True

    def _begin(self) -> bool:
        new = self.driver.next_trial()
        if new is None:
            return False
        trial = StandIn(new.number, new.config)
        held = self.scheduler.holds(trial.trial_id)
        trial.status = "PAUSED" if held else "RUNNING"
        (self.paused if held else self.running)[new.number] = trial
        self.scheduler.ray.on_trial_add(self.controller, trial)
        self.iterations[new.number] = self.checkpoints.get(new.number, 0)
        if not held:
            self.driver.started(new.number)
        return True

    def _step(self, number: int) -> None:
        trial = self.running[number]
        decisions: list[str] = []
        report = self.driver.report

        def noted(*given: Any) -> str:
            decisions.append(report(*given))
            return decisions[-1]

        self.driver.report = noted  # type: ignore[method-assign]
        try:
            super()._step(number)
        finally:
            self.driver.report = report  # type: ignore[method-assign]
        if decisions == [PAUSE]:
            trial.status = "PAUSED"
            self.paused[number] = self.running.pop(number)
