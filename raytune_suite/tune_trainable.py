"""Gives a :class:`~raytune_suite.trainable.TorchTrainable` to a bare ``ray.tune.Tuner``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import tune

from raytune_suite.metrics import flatten
from raytune_suite.seeds import trial_seed
from raytune_suite.trainable import Context


def as_tune(cls: type, *, seed: int = 0, max_iterations: int = 1) -> type:
    """A ``ray.tune.Trainable`` class that trains ``cls``; ``reuse_actors=True`` works with it.

    ``max_iterations`` is what ``cls`` is told to plan its learning-rate schedule for; stopping stays Tune's. The
    seed of a trial follows from ``seed`` and its trial id.
    """

    class Hosted(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            self._inner = cls(config, self._context())

        def _context(self) -> Context:
            needs = self.trial_resources.required_resources if self.trial_resources else {"CPU": 1}
            folder = Path(self.logdir)
            number = int.from_bytes(self.trial_id.encode()[-6:], "big")
            return Context(
                trial_id=self.trial_id,
                number=number,
                seed=trial_seed(seed, number),
                trial_dir=folder,
                data_dir=folder.parent / "data",
                tensorboard_dir=folder,
                cpus=needs.get("CPU", 0),
                gpu=needs.get("GPU", 0),
                max_iterations=max_iterations,
            )

        def step(self) -> dict[str, Any]:
            return flatten(self._inner.step())

        def save_checkpoint(self, checkpoint_dir: str) -> str:
            self._inner.save(Path(checkpoint_dir, "state"))
            return checkpoint_dir

        def load_checkpoint(self, checkpoint: Any) -> None:
            self._inner.load(Path(checkpoint, "state"))

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            if not self._inner.reset(new_config, self._context()):
                self._inner.close()
                self._inner = cls(new_config, self._context())
            return True

        def cleanup(self) -> None:
            self._inner.close()

    Hosted.__name__ = Hosted.__qualname__ = cls.__name__
    return Hosted
