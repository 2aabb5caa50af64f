"""A controller small enough to read, which drives Ray's real scheduler objects without a cluster.

It keeps to what ``TuneController`` promises a scheduler: the order of the calls, the statuses, one event a step.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from raytune_suite.schedulers.core import Explanation, Scheduler, trial_id

PENDING, RUNNING, PAUSED, TERMINATED = "PENDING", "RUNNING", "PAUSED", "TERMINATED"
Curve = Callable[[int, int], float | None]


class FakeTrial:
    """As much of a ``ray.tune.experiment.Trial`` as schedulers look at."""

    def __init__(self, number: int, config: dict[str, Any] | None = None) -> None:
        self.number, self.trial_id = number, trial_id(number)
        self.status = PENDING
        self.config = dict(config or {})
        self.iteration = 0
        self.last_result: dict[str, Any] = {}
        self.is_saving = False
        self.experiment_tag = str(number)
        self.evaluated_params: dict[str, Any] = {}
        self.temporary_state = SimpleNamespace(saving_to=None)
        manager = SimpleNamespace(checkpoint_config=SimpleNamespace(num_to_keep=None), _latest_checkpoint_result=None)
        self.run_metadata = SimpleNamespace(checkpoint_manager=manager)

    @property
    def checkpoint(self) -> Any:
        held = self.run_metadata.checkpoint_manager._latest_checkpoint_result
        return held.checkpoint if held is not None else None

    def is_finished(self) -> bool:
        return self.status == TERMINATED

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config

    def set_experiment_tag(self, tag: str) -> None:
        self.experiment_tag = tag


class FakeController:
    """Runs ``trials`` on ``slots`` until all have ended, in an order drawn from ``seed``.

    ``curve(number, iteration)`` gives what a trial reports; ``stride`` how many iterations a report covers;
    ``failing`` maps a trial's number to the iteration at which it dies for good.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        curve: Curve,
        *,
        trials: int,
        slots: int = 2,
        max_iterations: int = 27,
        stride: int = 1,
        seed: int = 0,
        metric: str = "loss",
        failing: dict[int, int] | None = None,
        make: Callable[[int], dict[str, Any]] = lambda number: {},
        ahead: int = 0,
        up_front: bool = True,
    ) -> None:
        self.scheduler, self.inner, self.curve = scheduler, scheduler.ray, curve
        self.trials: list[FakeTrial] = []
        self.to_make, self.slots, self.ahead, self.up_front = trials, slots, ahead, up_front
        self.max_iterations, self.stride, self.metric = max_iterations, stride, metric
        self.failing, self.make = failing or {}, make
        self.rng = random.Random(seed)
        self.steps = 0
        self.ended: dict[int, int] = {}
        self.why: dict[int, list[Explanation]] = {}
        self.restores: list[tuple[int, int]] = []
        self.search_alg = SimpleNamespace(is_finished=lambda: not self.to_make)

    # -- what a scheduler may call

    def get_trials(self) -> list[FakeTrial]:
        return self.trials

    def get_live_trials(self) -> list[FakeTrial]:
        return [trial for trial in self.trials if trial.status != TERMINATED]

    def stop_trial(self, trial: FakeTrial) -> None:
        if trial.status == TERMINATED:
            return
        if trial.status == RUNNING:
            self.inner.on_trial_complete(self, trial, trial.last_result)
        else:
            self._keep(trial, self.scheduler.explain(trial.trial_id, trial.iteration, None, "STOP"))
            self.inner.on_trial_remove(self, trial)
        trial.status = TERMINATED
        self.ended[trial.number] = trial.iteration

    def pause_trial(self, trial: FakeTrial, should_checkpoint: bool = True) -> None:
        if should_checkpoint:
            self._save(trial)
        trial.status = PAUSED

    def _schedule_trial_save(self, trial: FakeTrial, result: dict[str, Any] | None = None) -> Any:
        return self._save(trial)

    def _save(self, trial: FakeTrial) -> Any:
        # The iteration a real checkpoint would carry inside it.
        checkpoint = SimpleNamespace(path=f"{trial.trial_id}/{trial.iteration:06d}", iteration=trial.iteration)
        held = SimpleNamespace(checkpoint=checkpoint, metrics=trial.last_result)
        trial.run_metadata.checkpoint_manager._latest_checkpoint_result = held
        return checkpoint

    # -- the loop

    def run(self, limit: int = 20_000) -> FakeController:
        """Run until everything has ended; a run that can make no step is an error."""
        while self.to_make or self.get_live_trials():
            self.steps += 1
            assert self.steps < limit, "the run does not end"
            self._make_trials()
            self._start_one()
            running = [trial for trial in self.trials if trial.status == RUNNING]
            if running:
                self._report(self.rng.choice(running))
            else:
                assert not self.get_live_trials(), self._stuck()
        return self

    def _stuck(self) -> str:
        paused = [trial.number for trial in self.get_live_trials()]
        return f"nothing runs and nothing can start; paused: {paused}; {self.inner.debug_string()}"

    def _make_trials(self) -> None:
        """Create a trial for every free slot (and ``ahead`` more), or the whole population at once."""
        busy = sum(trial.status in (PENDING, RUNNING) for trial in self.trials)
        busy += sum(self.trials[int(trial_id)].status == PAUSED for trial_id in self.scheduler.waking())
        wanted = self.to_make if self.scheduler.population and self.up_front else max(0, self.slots + self.ahead - busy)
        for _ in range(min(wanted, self.to_make)):
            trial = FakeTrial(len(self.trials), self.make(len(self.trials)))
            self.to_make -= 1
            self.trials.append(trial)
            self.inner.on_trial_add(self, trial)

    def _start_one(self) -> None:
        if sum(trial.status == RUNNING for trial in self.trials) >= self.slots:
            return
        chosen = self.inner.choose_trial_to_run(self)
        if chosen is None and self.scheduler.promotes:  # it leaves pending trials to the controller
            chosen = next((trial for trial in self.trials if trial.status == PENDING), None)
        if chosen is None:
            return
        if chosen.checkpoint is not None and chosen.status == PAUSED:
            self.restores.append((chosen.number, chosen.checkpoint.iteration))
            chosen.iteration = chosen.checkpoint.iteration
        chosen.status = RUNNING

    def _report(self, trial: FakeTrial) -> None:
        trial.iteration += self.stride
        if trial.iteration >= self.failing.get(trial.number, sys.maxsize):
            self._fail(trial)
            return
        value = self.curve(trial.number, trial.iteration)
        result = {"training_iteration": trial.iteration, self.metric: value}
        action = self.inner.on_trial_result(self, trial, result)
        self._keep(trial, self.scheduler.explain(trial.trial_id, trial.iteration, value, action))
        for other, explanation in self.scheduler.others():
            self.why.setdefault(int(other), []).append(explanation)
        trial.last_result = result
        if trial.iteration >= self.max_iterations or action == "STOP":
            self.stop_trial(trial)
        elif action == "PAUSE":
            self.pause_trial(trial)

    def _fail(self, trial: FakeTrial) -> None:
        self.inner.on_trial_error(self, trial)
        trial.status = TERMINATED
        self.ended[trial.number] = -1

    def _keep(self, trial: FakeTrial, explanation: Explanation | None) -> None:
        if explanation is not None:
            self.why.setdefault(trial.number, []).append(explanation)


class Table:
    """Feeds one scheduler report by report and shows each answer: decisions as a table."""

    def __init__(self, scheduler: Scheduler, metric: str = "loss", others: list[FakeTrial] | None = None) -> None:
        self.scheduler, self.metric = scheduler, metric
        self.controller = FakeController(scheduler, lambda n, i: None, trials=0)
        self.trials: dict[int, FakeTrial] = {}

    def report(self, number: int, iteration: int, value: float | None) -> tuple[str, Explanation | None]:
        """Report one value; the trial is added at its first report and completed when it is stopped."""
        if number not in self.trials:
            self.add(number)
        trial = self.trials[number]
        trial.status, trial.iteration = RUNNING, iteration
        result = {"training_iteration": iteration, self.metric: value}
        action = self.scheduler.ray.on_trial_result(self.controller, trial, result)
        trial.last_result = result
        why = self.scheduler.explain(trial.trial_id, iteration, value, action)
        if action == "STOP":
            self.controller.stop_trial(trial)
        elif action == "PAUSE":
            self.controller.pause_trial(trial)
        return action, why

    def add(self, number: int) -> FakeTrial:
        trial = self.trials[number] = FakeTrial(number)
        self.controller.trials.append(trial)
        self.scheduler.ray.on_trial_add(self.controller, trial)
        return trial
