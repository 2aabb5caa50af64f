"""The code that the documentation shows for wrapping what exists keeps the contract of a trainable."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from test_docs import ROOT, docs
from torch import Tensor, nn

from raytune_suite.testing import TrainableContract
from raytune_suite.trainable import Context, Data

PAGE = ROOT / "docs" / "writing-a-trainable.md"
NEEDS_LIGHTNING = pytest.mark.skipif(find_spec("lightning") is None, reason="lightning is not installed")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Imports a file that the page shows."""
    folder = tmp_path_factory.mktemp("shown")
    names = []
    for block in docs.blocks(PAGE):
        if block.marks.get("file", "").endswith(".py"):
            (folder / block.marks["file"]).write_text(block.text)
            names.append(Path(block.marks["file"]).stem)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield importlib.import_module
    sys.path.remove(str(folder))
    for name in names:
        sys.modules.pop(name, None)


def keep_the_contract(trainable: Any, config: dict[str, Any], tmp_path: Path) -> None:
    """Run every test of the contract on a class that is made at run time."""
    kept = type("Kept", (TrainableContract,), {"trainable": trainable, "config": config, "steps": 3})()
    tests = [name for name in dir(kept) if name.startswith("test_")]
    assert len(tests) >= 9
    for name in tests:
        folder = tmp_path / name
        folder.mkdir()
        getattr(kept, name)(folder)


def test_an_existing_loop_behind_a_trainable_keeps_the_contract(shown: Any, tmp_path: Path) -> None:
    keep_the_contract(shown("tuned").Tuned, {"batch_size": 64, "width": 8, "learning_rate": 0.05}, tmp_path)


class Regression(nn.Module):
    """A module with Lightning's methods and nothing of Lightning."""

    log: Any
    log_dict: Any

    def __init__(self, planned: str) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.planned = planned

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = (self.layer(batch[0]) - batch[1]).square().mean()
        self.log("train_loss", loss, on_epoch=True)
        return {"loss": loss}

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = (self.layer(batch[0]) - batch[1]).square().mean()
        self.log_dict({"val_loss": loss, "val_batch": float(batch_idx)}, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        return {
            "nothing": optimizer,
            "lists": ([optimizer], [schedule]),
            "epoch": {"optimizer": optimizer, "lr_scheduler": schedule},
            "step": {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}},
        }[self.planned]


def wrapped(shown: Any) -> Any:
    base: ModuleType = shown("litrainable")

    class Wrapped(base.LitTrainable):  # type: ignore[misc, name-defined]
        def build_data(self) -> Data:
            x = torch.randn(32, 4)
            y = x.sum(1, keepdim=True)
            return Data(self.loader(x, y, batch_size=8, shuffle=True), self.loader(x, y, batch_size=16))

        def build_model(self) -> nn.Module:
            return Regression(self.config["planned"])

    return Wrapped


@pytest.mark.parametrize(
    ("planned", "rates"),
    [("nothing", None), ("lists", [0.1, 0.05]), ("epoch", [0.1, 0.05]), ("step", [0.1, 0.1 / 16])],
)
def test_a_modules_steps_logs_and_schedules_are_used(
    planned: str, rates: list[float] | None, shown: Any, tmp_path: Path
) -> None:
    trial = wrapped(shown)({"planned": planned}, replace(Context.standalone(tmp_path), metric="validation/loss"))
    first, second = trial.step(), trial.step()
    assert second["validation/loss"] < first["validation/loss"]
    assert first["validation/batch"] == 0.5
    if rates is None:
        assert "train/learning_rate" not in first
    else:
        assert [m["train/learning_rate"] for m in (first, second)] == pytest.approx(rates)
    trial.close()


def test_a_module_behind_a_trainable_keeps_the_contract(shown: Any, tmp_path: Path) -> None:
    keep_the_contract(wrapped(shown), {"planned": "step"}, tmp_path)


@NEEDS_LIGHTNING
def test_a_real_lightning_module_keeps_the_contract(shown: Any, tmp_path: Path) -> None:
    keep_the_contract(shown("litmodel").TunedLit, {"width": 8, "learning_rate": 1e-2}, tmp_path)
