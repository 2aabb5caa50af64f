"""CIFAR-10 from its binary distribution: a small residual network with augmentation on the device.

The study's constant ``data`` names the folder with ``data_batch_1.bin`` ... ``data_batch_5.bin`` and
``test_batch.bin`` (https://www.cs.toronto.edu/~kriz/cifar.html): records of one label byte and 3 x 32 x 32 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from raytune_suite.errors import TrainableError
from raytune_suite.trainable import Data, TorchTrainable

RECORD = 1 + 3 * 32 * 32
TRAINING = [f"data_batch_{number}.bin" for number in range(1, 6)]
HELD_OUT = "test_batch.bin"


class CifarResNet(TorchTrainable):
    """Parameters: learning_rate, width, weight_decay, batch_size, label_smoothing, augment."""

    schedule_every = "batch"

    @classmethod
    def prepare_data(cls, folder: Path, data: str) -> None:
        """Decode the records; a tenth of the training images, drawn once, is for validation."""
        parts = [read_records(Path(data), name) for name in TRAINING]
        records = np.concatenate(parts)
        order = np.random.default_rng(0).permutation(len(records))
        held = len(records) // 10
        splits = {
            "validation": records[order[:held]],
            "train": records[order[held:]],
            "test": read_records(Path(data), HELD_OUT),
        }
        for name, rows in splits.items():
            np.save(folder / f"{name}_images.npy", rows[:, 1:].reshape(-1, 3, 32, 32))
            np.save(folder / f"{name}_labels.npy", rows[:, 0].astype(np.int64))

    def build_data(self) -> Data:
        """Bytes as they lie in the memory map; they become numbers on the device."""
        size = self.config.get("batch_size", 128)

        def split(name: str, **options: Any) -> Any:
            arrays = self.array(f"{name}_images"), self.array(f"{name}_labels")
            return self.loader(*arrays, batch_size=size, **options)

        return Data(split("train", shuffle=True), split("validation"), split("test"))

    def build_model(self) -> nn.Module:
        """Three stages of two residual blocks; each stage halves the picture and doubles the width."""
        width = self.config.get("width", 32)
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=False)]
        before = width
        for stage in range(3):
            after = width * 2**stage
            layers += [Residual(before, after, stride=2 if stage else 1), Residual(after, after)]
            before = after
        head = [nn.BatchNorm2d(before), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10)]
        return nn.Sequential(*layers, *head)

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """SGD with Nesterov's momentum."""
        rate, decay = self.config["learning_rate"], self.config.get("weight_decay", 5e-4)
        return torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=decay, nesterov=True)

    def build_schedule(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """Up and down once over the whole trial."""
        batches = self.context.max_iterations * self.epochs_per_step * len(self.data.train)  # type: ignore[arg-type]
        rate = self.config["learning_rate"]
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=batches + 1, pct_start=0.2)

    def forward(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Scale the bytes, and vary them while training."""
        images, labels = batch
        pixels = (images.float() / 255 - 0.473) / 0.251  # mean and deviation over the training set
        if self.model.training and self.config.get("augment", True):
            pixels = flip_and_shift(pixels)
        return self.model(pixels), labels

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy; labels are smoothed for training only, so that values can be compared."""
        smoothing = self.config.get("label_smoothing", 0.0) if self.model.training else 0.0
        return functional.cross_entropy(outputs, targets, label_smoothing=smoothing)

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """The share of images recognised."""
        return {"accuracy": (outputs.argmax(1) == targets).float().mean()}


class Residual(nn.Module):
    """Two convolutions added to their input, normalised before each."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.ReLU(),
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
        )
        same = before == after and stride == 1
        self.carry = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, before, height, width]`` to ``[batch, after, height / stride, width / stride]``."""
        return self.carry(x) + self.change(x)  # type: ignore[no-any-return]


def flip_and_shift(images: Tensor, by: int = 4) -> Tensor:
    """Mirror every other image and move each by up to ``by`` pixels; ``[batch, channels, height, width]``."""
    count, channels, height, width = images.shape
    where = images.device
    mirrored = torch.rand(count, 1, 1, 1, device=where) < 0.5
    padded = functional.pad(torch.where(mirrored, images.flip(3), images), (by,) * 4)
    down, right = torch.randint(2 * by + 1, (2, count, 1, 1, 1), device=where)
    rows = down + torch.arange(height, device=where).view(1, 1, -1, 1)
    columns = right + torch.arange(width, device=where).view(1, 1, 1, -1)
    image = torch.arange(count, device=where).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=where).view(1, -1, 1, 1)
    return padded[image, channel, rows, columns]


def read_records(folder: Path, name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The records of one file, ``[records, 3073]``; says what is wrong with a file that is not CIFAR-10."""
    path = folder / name
    if not path.is_file():
        wanted = ", ".join([*TRAINING, HELD_OUT])
        raise TrainableError(f"data: {path} is missing. {folder} must hold {wanted} (the binary version)")
    size = path.stat().st_size
    if size == 0 or size % RECORD:
        raise TrainableError(f"{path} has {size} bytes, not a multiple of {RECORD}: it is cut short, or no CIFAR-10")
    records = np.fromfile(path, dtype=np.uint8).reshape(-1, RECORD)
    if (wrong := int(records[:, 0].max())) > 9:
        raise TrainableError(f"{path} has the label {wrong}, not 0 to 9: is it CIFAR-100?")
    return records
