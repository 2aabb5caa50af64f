"""Batches computed in pieces: the same training, in less memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from raytune_suite.errors import TrainableError
from raytune_suite.trainable import Context, Data, Mean, TorchTrainable
from raytune_suite.trainable.splitting import cut, sizes


class Curve(TorchTrainable):
    """Learns 50 points in batches of 16, the last of which has 2; notes the size of all it is asked to compute."""

    def build_data(self) -> Data:
        x = torch.linspace(-2, 2, 50)[:, None]
        return Data(self.loader(x, x.sin(), batch_size=16, shuffle=True), self.loader(x, x.sin(), batch_size=50))

    def build_model(self) -> nn.Module:
        self.seen: list[int] = []
        norm = [nn.BatchNorm1d(8)] if self.config.get("norm") else []
        return nn.Sequential(nn.Linear(1, 8), *norm, nn.Tanh(), nn.Linear(8, 1)).double()

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(model.parameters(), lr=1e-2)

    def forward(self, batch: Any) -> tuple[Any, Any]:
        x, y = batch
        self.seen.append(len(x))
        return self.model(x.double()), y.double()

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(outputs, targets)


class OwnLoop(Curve):
    def train_epoch(self) -> dict[str, Any]:
        mean = Mean()
        for batch in self.batches(self.data.train):
            for piece, weight in self.pieces(batch):
                loss = self.loss(*self.forward(piece))
                self.backward(loss, weight)
                mean.add(len(piece[0]), {"loss": loss})
            self.update()
        return mean.compute()


class SaysSo(OwnLoop):
    splits_batches = True


def trained(folder: Path, split: int = 1, **config: Any) -> tuple[Curve, list[dict[str, Any]]]:
    kind = config.pop("kind", Curve)
    trial = kind(config, Context.standalone(folder, split=split))
    return trial, [trial.step() for _ in range(3)]


@pytest.mark.parametrize("config", [{"split": 3}, {"micro_batch": 5}, {"split": 2, "micro_batch": 3}, {"split": 99}])
def test_pieces_lead_to_the_same_weights_and_the_same_metrics(tmp_path: Path, config: dict[str, Any]) -> None:
    whole, curve = trained(tmp_path / "whole", max_grad_norm=0.5)
    split, pieces = trained(tmp_path / "split", max_grad_norm=0.5, **config)
    assert max(split.seen) < max(whole.seen)
    for one, other in zip(whole.model.parameters(), split.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
    for one, other in zip(curve, pieces, strict=True):
        for name in ("train/loss", "validation/loss"):
            assert other[name] == pytest.approx(one[name], rel=1e-9)


def test_a_loop_of_ones_own_may_compute_pieces_as_well(tmp_path: Path) -> None:
    whole, _ = trained(tmp_path / "whole", kind=OwnLoop)
    split, _ = trained(tmp_path / "split", kind=OwnLoop, split=4)
    for one, other in zip(whole.model.parameters(), split.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("kind", "config", "split", "divisible"),
    [
        (Curve, {}, 1, 50),  # the batch of the evaluation is the largest
        (Curve, {}, 4, 13),
        (Curve, {"micro_batch": 10}, 1, 10),
        (Curve, {"norm": True}, 1, 0),  # its statistics would be those of the pieces
        (OwnLoop, {}, 1, 0),  # nobody knows what it does
        (SaysSo, {}, 1, 50),
    ],
)
def test_batches_are_divisible_where_it_changes_nothing_else(
    tmp_path: Path, kind: type[Curve], config: dict[str, Any], split: int, divisible: int
) -> None:
    trial, _ = trained(tmp_path, kind=kind, split=split, **config)
    assert trial.divisible == divisible


def test_nothing_is_divisible_before_anything_was_computed(tmp_path: Path) -> None:
    assert Curve({}, Context.standalone(tmp_path)).divisible == 0


@pytest.mark.parametrize("samples", [0, 1, 7, 64])
@pytest.mark.parametrize("split", [1, 2, 5, 100])
def test_pieces_cover_a_batch_evenly(samples: int, split: int) -> None:
    found = sizes(samples, None, split)
    assert sum(size for _, size in found) == samples
    assert [start for start, _ in found] == [sum(size for _, size in found[:n]) for n in range(len(found))]
    assert max(size for _, size in found) - min(size for _, size in found) <= 1


def test_a_batch_of_any_shape_is_cut() -> None:
    batch = {
        "x": torch.arange(6),
        "more": (torch.ones(6, 2), [torch.zeros(6)]),
        "name": "kept",
        "scale": torch.ones(()),
    }
    piece = cut(batch, 6, 2, 3)
    assert piece["x"].tolist() == [2, 3, 4]
    assert (piece["more"][0].shape, piece["more"][1][0].shape) == ((3, 2), (3,))
    assert (piece["name"], piece["scale"].item()) == ("kept", 1.0)


def test_a_batch_that_nobody_knows_how_to_cut_is_an_error_that_says_so() -> None:
    with pytest.raises(TrainableError, match=r"4 samples holds a tensor of shape \(3,\)"):
        cut((torch.ones(4), torch.ones(3)), 4, 0, 2)


def test_a_wrong_micro_batch_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainableError, match="micro_batch: must be a whole number from 1, got 0"):
        Curve({"micro_batch": 0}, Context.standalone(tmp_path))
