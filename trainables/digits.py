"""A small CNN on scikit-learn's 1,797 handwritten digits: 8 x 8 real images, split 1077 / 360 / 360."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from raytune_suite.trainable import Data, TorchTrainable


class DigitsCNN(TorchTrainable):
    """Parameters: learning_rate, channels, batch_size, optimizer, momentum (sgd), weight_decay, dropout."""

    @classmethod
    def prepare_data(cls, folder: Path) -> None:
        """Split once, every class in proportion; the split is the same for every study."""
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        images, labels = load_digits(return_X_y=True)
        images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
        train, rest = train_test_split(np.arange(len(labels)), test_size=720, stratify=labels, random_state=0)
        validation, test = train_test_split(rest, test_size=360, stratify=labels[rest], random_state=0)
        for name, rows in {"train": train, "validation": validation, "test": test}.items():
            np.save(folder / f"{name}_images.npy", images[rows])
            np.save(folder / f"{name}_labels.npy", labels[rows])

    def build_data(self) -> Data:
        """Three loaders over the memory-mapped arrays."""
        size = self.config.get("batch_size", 64)

        def split(name: str, shuffle: bool = False) -> Any:
            arrays = self.array(f"{name}_images"), self.array(f"{name}_labels")
            return self.loader(*arrays, batch_size=size, shuffle=shuffle)

        return Data(split("train", shuffle=True), split("validation"), split("test"))

    def build_model(self) -> nn.Module:
        """Two convolutions, a pooling, a linear layer."""
        width = self.config.get("channels", 32)
        return nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(self.config.get("dropout", 0.0)),
            nn.Linear(width * 16, 10),
        )

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """AdamW, or SGD with momentum."""
        rate, decay = self.config["learning_rate"], self.config.get("weight_decay", 0.0)
        if self.config.get("optimizer", "adamw") == "sgd":
            momentum = self.config.get("momentum", 0.9)
            return torch.optim.SGD(model.parameters(), rate, momentum=momentum, weight_decay=decay)
        return torch.optim.AdamW(model.parameters(), rate, weight_decay=decay)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy of the ten classes."""
        return functional.cross_entropy(outputs, targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """The share of images recognised."""
        return {"accuracy": (outputs.argmax(1) == targets).float().mean()}
