"""Trainables for rehearsals: one whose memory can be reckoned by hand, and some that cannot run without contents."""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from raytune_suite.trainable import Data, TorchTrainable


class Square(TorchTrainable):
    """One square matrix of ``width``, batches of ``batch_size``, plain SGD; ``then`` happens while it is built."""

    def build_data(self) -> Data:
        rows = torch.zeros(64, self.config["width"])
        made = self.loader(rows, torch.zeros(64, self.config["width"]), batch_size=self.config.get("batch_size", 8))
        return Data(made, made)

    def build_model(self) -> nn.Module:
        if self.config.get("then") == "dies":
            os._exit(3)
        if self.config.get("then") == "sleeps":
            time.sleep(60)
        return nn.Linear(self.config["width"], self.config["width"], bias=False)

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        momentum = self.config.get("momentum", 0.0)
        return torch.optim.SGD(model.parameters(), 0.1, momentum=momentum)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean()  # every step an operator of its own: none hides a buffer


class Reading(Square):
    """Reads its loss and counts hits, as many loops do."""

    def train_epoch(self) -> dict[str, Any]:
        hits, total = 0, 0.0
        for inputs, targets in self.data.train:
            outputs = self.model(inputs.to(self.device))
            loss = self.loss(outputs, targets.to(self.device))
            if torch.isnan(loss):
                raise ValueError("diverged")
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            hits += int((outputs.argmax(1) == targets.argmax(1)).sum().item())
            total += loss.item()
        return {"loss": total, "hits": hits}


class Choosing(Square):
    """Trains on those rows that are positive: how many, only their contents tell."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs[outputs > 0].sum()


class Converting(Square):
    """Takes its outputs to numpy."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.sum() * float(outputs.detach().numpy().mean())


@torch.library.custom_op("raytune_tests::doubled", mutates_args=())
def doubled(x: Tensor) -> Tensor:
    return x * 2


class Custom(Square):
    """Uses an operator that torch knows nothing about."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.mse_loss(doubled(outputs.detach()) + outputs, targets)


class Chatty(Square):
    """Prints, which must not get between the answers."""

    def build_model(self) -> nn.Module:
        print("{'not': 'an answer'}")
        return super().build_model()
