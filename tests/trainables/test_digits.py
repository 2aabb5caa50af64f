"""The CNN of the demo: its data, its default, and what a good configuration reaches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from raytune_suite.trainable import Context
from trainables.digits import DigitsCNN


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = DigitsCNN.prepare(tmp_path_factory.mktemp("digits"))
    assert folder is not None
    return folder


def test_the_splits_hold_every_image_once_and_every_class_in_proportion(prepared: Path) -> None:
    images = [np.load(prepared / f"{name}_images.npy") for name in ("train", "validation", "test")]
    labels = [np.load(prepared / f"{name}_labels.npy") for name in ("train", "validation", "test")]
    assert [len(part) for part in images] == [1077, 360, 360]
    assert images[0].shape[1:] == (1, 8, 8)
    assert images[0].dtype == np.float32
    whole = load_digits().images.reshape(-1, 1, 8, 8) / 16
    assert np.array_equal(np.sort(np.concatenate(images), axis=0), np.sort(whole.astype(np.float32), axis=0))
    for part in labels:
        assert np.abs(np.bincount(part) / len(part) - 0.1).max() < 0.01


def test_a_good_configuration_recognises_more_than_98_percent(tmp_path: Path, prepared: Path) -> None:
    good = {"learning_rate": 3e-3, "channels": 32, "batch_size": 32, "dropout": 0.4, "weight_decay": 1e-5}
    trial = DigitsCNN(good, Context.standalone(tmp_path, metric="validation/loss", max_iterations=27))
    best = max(trial.step()["validation/accuracy"] for _ in range(15))
    assert best >= 0.985
    assert trial.evaluate_test()["test/samples"] == 360  # type: ignore[index]
    trial.close()
