"""The language model: its text, its windows, and that it looks only backwards."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from raytune_suite.trainable import Context
from trainables.bytes import CONTEXT, BytesTransformer, Transformer, Windows


class Short(BytesTransformer):
    training_windows = 64
    measured_windows = 32


def test_the_text_is_the_standard_librarys_and_no_file_is_in_two_splits(tmp_path: Path) -> None:
    folder = Short.prepare(tmp_path)
    assert folder is not None
    texts = {name: np.load(folder / f"{name}.npy").tobytes() for name in ("train", "validation", "test")}
    assert all(len(text) > 100_000 for text in texts.values())
    assert len(texts["train"]) > 4 * len(texts["validation"])
    other = (Path(np.__file__).parent / "version.py").read_bytes()
    assert not any(other in text for text in texts.values()), "numpy is not of the standard library"
    assert sum(b"def heapify(x):" in text for text in texts.values()) == 1


def test_windows_hold_the_text_and_the_bytes_that_follow() -> None:
    text = np.arange(200, dtype=np.uint8)
    inputs, targets = Windows(text)[3]
    assert inputs.tolist() == list(range(3, 3 + CONTEXT))
    assert targets.tolist() == list(range(4, 4 + CONTEXT))
    assert len(Windows(text)) == 200 - CONTEXT - 1
    spread = Windows(text, count=5)
    assert [int(spread[i][0][0]) for i in range(len(spread))] == [0, 27, 54, 81, 108]


def test_the_model_sees_nothing_of_what_comes_after() -> None:
    model = Transformer(width=16, depth=2, heads=2, dropout=0.0).eval()
    text = torch.randint(256, (1, CONTEXT))
    changed = text.clone()
    changed[0, 40:] = 7
    with torch.no_grad():
        first, second = model(text), model(changed)
    assert torch.allclose(first[0, :40], second[0, :40], atol=1e-6)
    assert not torch.allclose(first[0, 40:], second[0, 40:], atol=1e-3)


def test_a_study_may_shorten_its_iterations(tmp_path: Path) -> None:
    config = {"learning_rate": 5e-3, "width": 32, "batch_size": 8, "training_windows": 24, "measured_windows": 70}
    trial = BytesTransformer(config, Context.standalone(tmp_path, metric="validation/loss"))
    loaders = trial.build_data().loaders()
    windows = {name: sum(len(inputs) for inputs, _ in loader) for name, loader in loaders.items()}
    assert windows == {"train": 24, "validation": 70, "test": 70}
    trial.close()


def test_it_learns_more_than_the_frequencies_of_nothing(tmp_path: Path) -> None:
    config = {"learning_rate": 5e-3, "width": 32, "depth": 1, "batch_size": 8, "warmup": 4}
    trial = Short(config, Context.standalone(tmp_path, metric="validation/loss"))
    losses = [trial.step()["validation/loss"] for _ in range(4)]
    assert losses[0] < math.log(256)
    assert losses[-1] < 3.6, "nats a byte; guessing costs 5.5"
    trial.close()


def test_the_rate_warms_up_over_batches(tmp_path: Path) -> None:
    config = {"learning_rate": 1e-3, "width": 16, "depth": 1, "batch_size": 8, "warmup": 16}
    trial = Short(config, Context.standalone(tmp_path, metric="validation/loss"))
    rates = [trial.step()["train/learning_rate"] for _ in range(3)]
    assert rates == pytest.approx([1e-3 / 16, 1e-3 * 9 / 16, 1e-3])
    trial.close()
