"""A small TorchTrainable for tests on a real Ray; it writes down how often its data was prepared."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from raytune_suite.trainable import Context, Data, TorchTrainable


class Line(TorchTrainable):
    """Fits a line; ``crash`` ends its process at the second step of the first attempt."""

    @classmethod
    def prepare_data(cls, folder: Path) -> None:
        with Path(os.environ.get("TOYS_PREPARED", os.devnull)).open("a") as file:
            file.write(f"{os.getpid()}\n")
        x = np.linspace(-1, 1, 256, dtype=np.float32)[:, None]
        np.save(folder / "x.npy", x)
        np.save(folder / "y.npy", 2 * x + 1)

    def build_data(self) -> Data:
        def split(shuffle: bool = False) -> Any:
            return self.loader(self.array("x"), self.array("y"), batch_size=64, shuffle=shuffle)

        return Data(split(shuffle=True), split(), split())

    def build_model(self) -> nn.Module:
        return nn.Linear(1, 1)

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), self.config["learning_rate"])

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(outputs, targets)

    def evaluate(self, *arguments: Any, **options: Any) -> Any:
        found = super().evaluate(*arguments, **options)
        return {**found, "threads": torch.get_num_threads()}

    def step(self) -> dict[str, Any]:
        crashed = self.context.trial_dir / "crashed"
        is_first = self.iteration == 1 and self.context.rank == 0
        if self.config.get("crash") and is_first and not crashed.exists():
            crashed.touch()
            os._exit(7)
        return super().step()


class Hungry(Line):
    """Runs out of the memory of a GPU of 100 units, of which it has its share, as real training does: on the CPU.

    A batch of n samples takes ``appetite * n`` units, from the second epoch on.
    """

    def _start(self, config: Mapping[str, Any], context: Context) -> None:
        self.share = context.gpu
        super()._start(config, replace(context, gpu=0))

    def forward(self, batch: Any) -> tuple[Any, Any]:
        needed, free = self.config["appetite"] * len(batch[0]), 100 * self.share
        if self.model.training and self.iteration > 1 and needed > free:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {needed} units; {free} are free")
        return super().forward(batch)


class Sized(Line):
    """Looks ``mib`` MiB large to a forecast, which is told of a GPU; it is trained as a line on the CPU.

    It reports a fifth more than that, and what ``share`` of a GPU it had.
    """

    def _start(self, config: Mapping[str, Any], context: Context) -> None:
        self.share = context.gpu
        super()._start(config, replace(context, gpu=0))

    def build_model(self) -> nn.Module:
        model = super().build_model()
        if self.context.gpu:
            model.register_buffer("ballast", torch.zeros(self.config["mib"] * 2**18))
        return model

    def step(self) -> dict[str, Any]:
        return {**super().step(), "share": self.share, "memory/gpu_mb": 1.2 * (self.config["mib"] + 36)}
