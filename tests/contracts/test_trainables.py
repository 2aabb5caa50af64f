"""Every shipped trainable, and one that uses everything the base offers, keeps the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from trainables_files import make_cifar

from raytune_suite.testing import TrainableContract
from raytune_suite.trainable import Data, TorchTrainable
from trainables.bytes import BytesTransformer
from trainables.cifar import CifarResNet
from trainables.digits import DigitsCNN
from trainables.tabular import TabularMLP


class TestDigits(TrainableContract):
    trainable = DigitsCNN
    config: ClassVar = {"learning_rate": 3e-3, "channels": 8, "batch_size": 128, "dropout": 0.3}
    other_config: ClassVar = {"learning_rate": 1e-2, "channels": 16, "batch_size": 64, "optimizer": "sgd"}
    metric = "validation/accuracy"


class TestTabular(TrainableContract):
    trainable = TabularMLP
    config: ClassVar = {"data": "sklearn:wine", "learning_rate": 1e-3, "dropout": 0.2, "width": 16}
    other_config: ClassVar = {"data": "sklearn:diabetes", "learning_rate": 1e-2, "width": 8, "activation": "tanh"}


class ShortBytes(BytesTransformer):
    training_windows = 32
    measured_windows = 16


class TestBytes(TrainableContract):
    trainable = ShortBytes
    config: ClassVar = {"learning_rate": 3e-3, "width": 16, "depth": 1, "batch_size": 8, "dropout": 0.1}
    steps = 3


class TestCifar(TrainableContract):
    trainable = CifarResNet
    config: ClassVar = {"data": "set by the fixture", "learning_rate": 0.05, "width": 2, "batch_size": 32}
    metric = "validation/accuracy"
    steps = 3

    @pytest.fixture(autouse=True)
    def _files(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = make_cifar(tmp_path_factory.mktemp("cifar") / "bin")
        monkeypatch.setattr(type(self), "config", {**self.config, "data": str(folder)})


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Samples that every generator has a hand in, so that a loader worker with a wrong seed is noticed."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        import random

        import numpy as np

        x = torch.full((4,), index / 24) + 0.1 * torch.randn(4)
        x = x + 0.1 * random.random() + 0.1 * float(np.random.rand())
        return x, x.sum(0, keepdim=True).sin()


class Everything(TorchTrainable):
    """Loader workers, dropout, batch norm, a schedule per batch, clipping, averaged weights, several epochs."""

    max_grad_norm = 1.0
    schedule_every = "batch"
    epochs_per_step = 2

    def build_data(self) -> Data:
        workers = self.config["workers"]
        kept = {"persistent_workers": True} if self.config.get("persistent") else {}
        return Data(
            self.loader(Noisy(), batch_size=8, shuffle=True, num_workers=workers, **kept),
            self.loader(Noisy(), batch_size=16),
            self.loader(torch.zeros(8, 4), torch.zeros(8, 1), batch_size=8),
        )

    def build_model(self) -> nn.Module:
        layers = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1)
        return nn.Sequential(*layers)

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)

    def build_schedule(self, optimizer: torch.optim.Optimizer) -> Any:
        self.averaged = torch.optim.swa_utils.AveragedModel(self.model)
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=4 * 2 * 3)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.mse_loss(outputs, targets)

    def train_epoch(self) -> dict[str, float]:
        found = dict(super().train_epoch())
        self.averaged.update_parameters(self.model)
        return found


class TestEverythingAtOnce(TrainableContract):
    trainable = Everything
    config: ClassVar = {"workers": 2}
    steps = 3


class TestEverythingWithoutWorkers(TrainableContract):
    trainable = Everything
    config: ClassVar = {"workers": 0}
    steps = 3


def test_closing_ends_even_workers_that_are_kept_between_epochs(tmp_path: Path) -> None:
    class Kept(TestEverythingAtOnce):
        config: ClassVar = {"workers": 2, "persistent": True}

    Kept().test_closing_ends_loader_workers_and_drops_the_model(tmp_path)


@pytest.mark.gpu
class TestDigitsOnAGpu(TestDigits):
    gpu = 0.1


@pytest.mark.gpu
class TestTabularOnAGpu(TestTabular):
    gpu = 0.1


@pytest.mark.gpu
class TestBytesOnAGpu(TestBytes):
    gpu = 0.1


@pytest.mark.gpu
class TestCifarOnAGpu(TestCifar):
    gpu = 0.1


@pytest.mark.gpu
class TestEverythingAtOnceOnAGpu(TestEverythingAtOnce):
    gpu = 0.1


@pytest.mark.gpu
class TestHalfPrecisionOnAGpu(TestDigits):
    gpu = 0.1
    config: ClassVar = {**TestDigits.config, "amp": "float16"}
    other_config: ClassVar = {**TestDigits.other_config, "amp": "bfloat16"}


@pytest.mark.gpu
@pytest.mark.slow
def test_a_compiled_model_trains_on_a_gpu_and_its_worker_goes_on_with_another(tmp_path: Path) -> None:
    class Compiled(TestDigits):
        gpu = 0.1
        config: ClassVar = {**TestDigits.config, "compile": True}

    Compiled().test_a_used_worker_can_go_on_from_a_checkpoint(tmp_path)
