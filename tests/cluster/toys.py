"""Small trainables of every kind for tests on a real Ray. They import neither torch nor the suite's internals."""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from ray import tune


class Quadratic:
    """Its loss falls towards (x - 0.3)^2; what it has done so far lies in its checkpoint."""

    def __init__(self, config: dict[str, Any], context: Any) -> None:
        self.reset(config, context)

    def reset(self, config: dict[str, Any], context: Any) -> bool:
        self.config, self.context, self.steps = config, context, 0
        return True

    def step(self) -> dict[str, Any]:
        self.steps += 1
        time.sleep(self.config.get("sleep", 0))
        loss = (self.config["x"] - 0.3) ** 2 + 1.0 / self.steps
        return {"validation": {"loss": loss, "accuracy": 1 - loss}, "steps": self.steps}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"steps": self.steps, "x": self.config["x"]}))

    def load(self, folder: Path) -> None:
        self.steps = json.loads((folder / "state.json").read_text())["steps"]

    def evaluate_test(self) -> dict[str, Any] | None:
        return {"loss": (self.config["x"] - 0.3) ** 2, "steps": self.steps}

    def close(self) -> None:
        pass


class Failing(Quadratic):
    """Fails in every way a trial can, at its second step, as ``config["how"]`` says."""

    def step(self) -> dict[str, Any]:
        how = self.config.get("how")
        marker = Path(self.context.trial_dir) / "failed-once"
        if self.steps == 1 and how and not (how.endswith("-once") and marker.exists()):
            marker.touch()
            self.fail(how.removesuffix("-once"))
        if how == "nan" and self.steps == 1:
            return {"validation": {"loss": float("nan")}}
        return super().step()

    def fail(self, how: str) -> None:
        if how == "raise":
            raise ValueError("the learning rate exploded")
        if how == "oom":
            raise MemoryError("no more")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "sleep":
            time.sleep(3600)
        if how == "lock":  # PyDLL keeps the interpreter's lock during the call
            ctypes.PyDLL(None).sleep(3600)


class Deadly(Failing):
    """Two of its configurations kill their process, one of them only once."""

    def reset(self, config: dict[str, Any], context: Any) -> bool:
        how = {0.2: "kill", 0.4: "kill-once"}.get(config["x"])
        return super().reset({**config, "how": how}, context)


class Diverged(Quadratic):
    """Never has a value."""

    def step(self) -> dict[str, Any]:
        return {"validation": {"loss": float("nan")}}


class Noisy(Quadratic):
    """Its loss depends on its seed as well."""

    def step(self) -> dict[str, Any]:
        found = super().step()
        noise = random.Random(f"{self.context.seed}/{self.config['x']:.3f}").gauss(0, 0.01)
        shared = random.Random(self.context.seed).gauss(0, 1)
        return {"validation": {"loss": found["validation"]["loss"] + noise + shared}}


class Setup(Quadratic):
    """Cannot be set up."""

    def reset(self, config: dict[str, Any], context: Any) -> bool:
        raise RuntimeError("no such data set")


class TuneClass(tune.Trainable):
    """A trainable written for bare Ray Tune, with a dict for a checkpoint."""

    def setup(self, config: dict[str, Any]) -> None:
        self.x, self.steps = config["x"], 0

    def step(self) -> dict[str, Any]:
        self.steps += 1
        return {"validation": {"loss": (self.x - 0.3) ** 2 + 1.0 / self.steps}, "steps": self.steps}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.steps = checkpoint["steps"]


def function(config: dict[str, Any]) -> None:
    """A function written for bare Ray Tune, with checkpoints."""
    import tempfile

    start = 0
    if (checkpoint := tune.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            start = int(Path(folder, "steps").read_text())
    for step in range(start + 1, config.get("steps", 3) + 1):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "steps").write_text(str(step))
            tune.report(
                {"validation/loss": (config["x"] - 0.3) ** 2 + 1.0 / step, "steps": step},
                checkpoint=tune.Checkpoint.from_directory(folder),
            )


class Environment(Quadratic):
    """Runs in another environment than the driver, as far as a recorded variable goes."""

    def reset(self, config: dict[str, Any], context: Any) -> bool:
        os.environ["MKL_CBWR"] = "COMPATIBLE"
        return super().reset(config, context)


class Device(Quadratic):
    """Reports which GPU it was given, and how many threads it may use."""

    def step(self) -> dict[str, Any]:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return {**super().step(), "visible": visible, "gpu": self.context.gpu, "cpus": self.context.cpus}


def asked(config: dict[str, Any]) -> dict[str, Any]:
    """As many GPUs as the configuration says."""
    return {"cpu": 0.5, "gpu": config["gpu"]}


class Counting(tune.Callback):
    """A callback of Ray's kind, as MLflow's and W&B's are: writes what it is shown."""

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        with Path(os.environ["TOYS_CALLBACK"]).open("a") as file:
            file.write(json.dumps([trial.trial_id, result["training_iteration"], sorted(result)]) + "\n")
