"""The contract catches what it is there for: each of these breaks one promise, and the test for it fails."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from raytune_suite.errors import TrainableError
from raytune_suite.testing import TrainableContract
from raytune_suite.trainable import Data, TorchTrainable


class Sound(TorchTrainable):
    """Keeps every promise; what is below spoils one each."""

    def build_data(self) -> Data:
        x = torch.randn(24, 2)
        return Data(*(self.loader(x, x, batch_size=8, shuffle=shuffle) for shuffle in (True, False)))

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1))

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean()


class Forgets(Sound):
    """Trains with a number that is in no checkpoint."""

    seen = 0

    def train_epoch(self) -> Any:
        self.seen += 1
        self.optimizer.param_groups[0]["lr"] = 0.1 / self.seen
        return super().train_epoch()


class Remembers(Sound):
    """Keeps something for the next trial in the process."""

    kept: ClassVar[list[float]] = []

    def train_epoch(self) -> Any:
        self.kept.append(0.0)
        return {**super().train_epoch(), "count": float(len(self.kept))}


class Insists(Sound):
    """Fixes its own seed wherever a number is drawn."""

    def build_data(self) -> Data:
        torch.manual_seed(0)
        data = super().build_data()
        data.train.generator.manual_seed(0)  # type: ignore[attr-defined]
        return data

    def build_model(self) -> nn.Module:
        torch.manual_seed(0)
        return nn.Linear(2, 2)


class Unseeded(Sound):
    """Draws from a generator that nobody seeds."""

    def train_epoch(self) -> Any:
        noise = torch.Generator()
        noise.seed()
        return {**super().train_epoch(), "noise": torch.rand((), generator=noise)}


class Silent(Sound):
    """Does not report the metric."""

    def evaluate(self, loader: Any) -> Any:
        return {"lose": 1.0}


class Explodes(Sound):
    """Diverges."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().loss(outputs, targets) / 0


class Pickles(Sound):
    """Puts an object of its own into the checkpoint."""

    def extra_state(self) -> dict[str, Any]:
        return {"where": Path()}


class Clings(Sound):
    """Holds on to its model in a global."""

    models: ClassVar[list[nn.Module]] = []

    def build_model(self) -> nn.Module:
        self.models.append(super().build_model())
        return self.models[-1]


class Spawns(Sound):
    """Leaves a process behind."""

    def build(self) -> None:
        super().build()
        multiprocessing.Process(target=time.sleep, args=(60,), daemon=True).start()


class Shuffles(Sound):
    """Measures held-out data with noise."""

    def test(self) -> Any:
        return {"loss": torch.rand(())}


BROKEN = [
    (Forgets, "a_trial_goes_on_from_a_checkpoint_bit_for_bit"),
    (Forgets, "a_used_worker_can_go_on_from_a_checkpoint"),
    (Remembers, "two_trials_on_one_worker_equal_two_on_fresh_ones"),
    (Insists, "another_seed_gives_another_curve"),
    (Unseeded, "the_same_seed_gives_the_same_curve"),
    (Silent, "the_metric_is_reported_as_a_finite_number"),
    (Explodes, "the_metric_is_reported_as_a_finite_number"),
    (Pickles, "a_checkpoint_holds_numbers_and_no_pickled_classes"),
    (Clings, "closing_ends_loader_workers_and_drops_the_model"),
    (Spawns, "closing_ends_loader_workers_and_drops_the_model"),
    (Shuffles, "held_out_metrics_are_finite_numbers"),
]


class TestSound(TrainableContract):
    trainable = Sound
    config: ClassVar = {"anything": 1}
    steps = 3


@pytest.mark.parametrize(("broken", "promise"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_promise_is_noticed(broken: type[TorchTrainable], promise: str, tmp_path: Path) -> None:
    class Kept(TrainableContract):
        trainable = broken
        config: ClassVar = {"anything": 1}
        steps = 3

    with pytest.raises((AssertionError, TrainableError)):
        getattr(Kept(), f"test_{promise}")(tmp_path)
    for child in multiprocessing.active_children():
        child.terminate()
        child.join()
