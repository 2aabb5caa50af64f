"""Trials that do nothing, for measuring what everything around a trial costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import tune


class BareNoop(tune.Trainable):
    """For bare Ray Tune: one number a step; ``reset_config`` so that ``reuse_actors`` works."""

    def setup(self, config: dict[str, Any]) -> None:
        self.x = config["x"]

    def step(self) -> dict[str, Any]:
        return {"loss": self.x / (self.iteration + 1)}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.x = new_config["x"]
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        return None

    def load_checkpoint(self, checkpoint: Any) -> None:
        return None


class SuiteNoop:
    """For the suite: the same number a step."""

    def __init__(self, config: dict[str, Any], context: Any) -> None:
        self.reset(config, context)

    def reset(self, config: dict[str, Any], context: Any) -> bool:
        self.x, self.iteration = config["x"], 0
        return True

    def step(self) -> dict[str, Any]:
        self.iteration += 1
        return {"loss": self.x / self.iteration}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)

    def load(self, folder: Path) -> None:
        return None

    def close(self) -> None:
        return None
