"""What is tuned by study.yaml: a small network that tells the three arms of a spiral apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from raytune_suite import TorchTrainable
from raytune_suite.trainable import Data


class Spirals(TorchTrainable):
    """One trial. ``self.config`` holds its parameters, ``self.device`` is the CPU or GPU it was given.

    Replace the four methods below by your own data, model, optimiser and loss; what they build is moved to the
    device, trained, evaluated, and saved in checkpoints. For another training loop override ``train_epoch`` and
    ``evaluate`` as well.
    """

    def build_data(self) -> Data:
        """Train, validation and test loaders."""
        train, validation, test = (spirals(count, seed) for seed, count in enumerate((1200, 400, 400)))
        size = self.config["batch_size"]
        return Data(
            train=self.loader(*train, batch_size=size, shuffle=True),
            validation=self.loader(*validation, batch_size=size),
            test=self.loader(*test, batch_size=size),
        )

    def build_model(self) -> nn.Module:
        """A multilayer perceptron."""
        width, layers = self.config["width"], self.config["layers"]
        hidden: list[nn.Module] = [nn.Linear(2, width), nn.ReLU()]
        for _ in range(layers - 1):
            hidden += [nn.Linear(width, width), nn.ReLU()]
        return nn.Sequential(*hidden, nn.Linear(width, 3))

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Momentum exists only in configurations with sgd."""
        rate = self.config["learning_rate"]
        if self.config["optimizer"] == "sgd":
            return torch.optim.SGD(model.parameters(), rate, momentum=self.config["momentum"])
        return torch.optim.AdamW(model.parameters(), rate)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What training makes small; reported as train/loss and validation/loss."""
        return functional.cross_entropy(outputs, targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Any]:
        """More numbers to report: validation/accuracy."""
        return {"accuracy": (outputs.argmax(1) == targets).float().mean()}


def spirals(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return ``count`` noisy points of the plane and the arm (0, 1, 2) that each lies on."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=generator)
    radius = torch.rand(count, generator=generator)
    angle = 4 * radius + labels * (2 * math.pi / 3) + 0.2 * torch.randn(count, generator=generator)
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return points, labels
