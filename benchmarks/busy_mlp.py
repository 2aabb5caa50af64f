"""A small MLP that says how long each of its steps took: for the suite, and for bare Ray Tune."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ray import tune

from raytune_suite.trainable import Context
from trainables.tabular import TabularMLP


class TimedMLP(TabularMLP):
    def step(self) -> dict[str, Any]:
        started = time.perf_counter()
        metrics = super().step()
        return {**metrics, "time/step_s": time.perf_counter() - started}


class TunedMLP(tune.Trainable):
    """The same for bare Ray Tune: the model is kept from trial to trial where it can be reset, as in the suite."""

    def setup(self, config: dict[str, Any]) -> None:
        self._inner = TabularMLP(config["drawn"], self._context())

    def _context(self) -> Context:
        folder = Path(self.logdir)
        return Context(
            trial_id=self.trial_id,
            number=0,
            seed=0,
            trial_dir=folder,
            data_dir=folder.parent / "data",
            tensorboard_dir=folder,
            cpus=1,
            gpu=0,
            max_iterations=27,
        )

    def step(self) -> dict[str, Any]:
        started = time.perf_counter()
        metrics = self._inner.step()
        loss = metrics["validation"]["loss"] if "validation" in metrics else metrics["validation/loss"]
        return {"loss": loss, "step_s": time.perf_counter() - started}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if not self._inner.reset(new_config["drawn"], self._context()):
            self._inner.close()
            self._inner = TabularMLP(new_config["drawn"], self._context())
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> str:
        self._inner.save(Path(checkpoint_dir, "state"))
        return checkpoint_dir

    def load_checkpoint(self, checkpoint: Any) -> None:
        self._inner.load(Path(checkpoint, "state"))

    def cleanup(self) -> None:
        self._inner.close()
