"""Trainables that several processes train together: on the CPU, over gloo."""

from __future__ import annotations

import os
import signal
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

from raytune_suite.trainable import Data, TorchTrainable


class Waves(TorchTrainable):
    """Learns 64 points in batches of 16; 51 others are held out. ``fail`` says how rank 1 fails in its second step."""

    def build_data(self) -> Data:
        x = torch.linspace(-2, 2, 115, dtype=torch.float64)[:, None]
        order = torch.randperm(115)
        train, rest = (x[order[:64]], x[order[:64]].sin()), (x[order[64:]], x[order[64:]].sin())
        if self.config.get("dataset"):
            train, rest = (TensorDataset(*train),), (TensorDataset(*rest),)  # type: ignore[assignment]
        validation = self.loader(*rest, batch_size=20)
        return Data(self.loader(*train, batch_size=16, shuffle=True), validation, validation)

    def build_model(self) -> nn.Module:
        dropout = nn.Dropout(self.config.get("dropout", 0.0))
        return nn.Sequential(nn.Linear(1, 16), nn.Tanh(), dropout, nn.Linear(16, 1)).double()

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        assert next(name for name, _ in model.named_parameters()) == "0.weight"
        return torch.optim.Adam(model.parameters(), lr=1e-2)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(outputs, targets)

    def train_epoch(self) -> Any:
        how = self.config.get("fail") if self.context.rank == 1 and self.iteration == 2 else None
        if how == "oom":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train_epoch()


class Unshared(Waves):
    """Builds its model itself and does not share it."""

    def build(self) -> None:
        super().build()
        self.model = self.model.module  # type: ignore[assignment,union-attr]
