"""Trainables and a callback for bare Ray Tune, as anyone would write them; nothing of the suite is in here."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from ray import tune


class Steps(tune.Trainable):
    """Counts; fails, or kills its process, at the third step of its first life if told to."""

    def setup(self, config: dict[str, Any]) -> None:
        self.steps, self.fresh = 0, True

    def step(self) -> dict[str, Any]:
        self.steps += 1
        how = self.config.get("how")
        if self.steps == 3 and how and self.fresh:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("the third step")
        return {"loss": self.config["x"] / self.steps, "steps": self.steps}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "steps").write_text(json.dumps(self.steps))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.steps, self.fresh = json.loads(Path(checkpoint, "steps").read_text()), False


class Setup(Steps):
    """Cannot be set up."""

    def setup(self, config: dict[str, Any]) -> None:
        raise RuntimeError("no such data set")


class Notes(tune.Callback):
    """What happens to each trial, in order: Started, each step, Kept, Restored, Completed, Error."""

    def __init__(self) -> None:
        self.seen: dict[float, list[str]] = {}

    def _note(self, trial: Any, what: str) -> None:
        self.seen.setdefault(trial.config["x"], []).append(what)

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._note(trial, "started")

    def on_trial_restore(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._note(trial, "restored")

    def on_trial_save(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._note(trial, "saved")

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        self._note(trial, f"step {result['steps']} of {result['training_iteration']}")

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._note(trial, "completed")

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._note(trial, "recovered")

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._note(trial, "failed")
