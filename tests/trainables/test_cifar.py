"""CIFAR-10's binary format, on small files made in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainables_files import make_cifar

from raytune_suite.errors import TrainableError
from raytune_suite.trainable import Context
from trainables.cifar import HELD_OUT, RECORD, CifarResNet, flip_and_shift, read_records


def start(tmp_path: Path, data: Path, **config: Any) -> CifarResNet:
    settings = {"data": str(data), "learning_rate": 0.05, "width": 4, "batch_size": 16, **config}
    return CifarResNet(settings, Context.standalone(tmp_path / "run", metric="validation/accuracy", max_iterations=2))


def test_records_are_a_label_and_three_planes_of_pixels(tmp_path: Path) -> None:
    record = np.arange(RECORD) % 251
    record[0] = 7
    (tmp_path / HELD_OUT).write_bytes(record.astype(np.uint8).tobytes())
    for name in [f"data_batch_{n}.bin" for n in range(1, 6)]:
        (tmp_path / name).write_bytes(record.astype(np.uint8).tobytes() * 2)
    folder = CifarResNet.prepare(tmp_path / "cache", {"data": str(tmp_path)})
    assert folder is not None
    images, labels = np.load(folder / "test_images.npy"), np.load(folder / "test_labels.npy")
    assert images.shape == (1, 3, 32, 32)
    assert labels.tolist() == [7]
    assert images[0, 0, 0, 0] == record[1], "the first byte after the label is the red of the upper left"
    assert images[0, 1, 0, 5] == record[1 + 1024 + 5], "green follows after 1024 bytes, in rows"
    assert [len(np.load(folder / f"{name}_labels.npy")) for name in ("train", "validation")] == [9, 1]


def test_it_trains_over_the_whole_schedule_and_measures_held_out_images(tmp_path: Path) -> None:
    trial = start(tmp_path, make_cifar(tmp_path / "cifar"))
    first, second = trial.step(), trial.step()
    assert second["train/loss"] < first["train/loss"] < 3
    assert trial.optimizer.param_groups[0]["lr"] < 1e-4, "the schedule ends with the trial"
    assert trial.evaluate_test()["test/samples"] == 20  # type: ignore[index]
    trial.close()


def test_labels_are_smoothed_for_training_only(tmp_path: Path) -> None:
    trial = start(tmp_path, make_cifar(tmp_path / "cifar"), label_smoothing=0.2)
    outputs, targets = torch.tensor([[9.0] + [0.0] * 9]), torch.tensor([0])
    trial.model.train()
    smoothed = trial.loss(outputs, targets)
    trial.model.eval()
    assert smoothed > 1 > trial.loss(outputs, targets)
    trial.close()


def test_augmentation_mirrors_and_shifts_each_image_on_its_own() -> None:
    images = torch.arange(64 * 3 * 32 * 32, dtype=torch.float32).view(64, 3, 32, 32) + 1
    torch.manual_seed(0)
    varied = flip_and_shift(images)
    assert varied.shape == images.shape
    right = [tuple((image[0] - image[0].roll(1, 1)).median().sign().tolist() for _ in "x") for image in varied]
    assert len(set(right)) == 2, "some are mirrored, some are not"
    kept = [set(v.unique().tolist()) - {0.0} <= set(i.unique().tolist()) for v, i in zip(varied, images, strict=True)]
    assert all(kept), "pixels stay in their own image; what is shifted in is zero"


def test_evaluation_sees_images_as_they_are(tmp_path: Path) -> None:
    trial = start(tmp_path, make_cifar(tmp_path / "cifar"))
    first, second = trial.evaluate_test(), trial.evaluate_test()
    assert first == second
    trial.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"test_batch\.bin is missing\. .* must hold data_batch_1\.bin, .*test_batch\.bin"),
        (b"", "has 0 bytes, not a multiple of 3073"),
        (bytes(RECORD - 1), "has 3072 bytes, not a multiple of 3073: it is cut short"),
        (bytes([77]) + bytes(RECORD - 1), "has the label 77, not 0 to 9: is it CIFAR-100"),
    ],
)
def test_a_file_that_is_not_cifar_10_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / HELD_OUT).write_bytes(content)
    with pytest.raises(TrainableError, match=message):
        read_records(tmp_path, HELD_OUT)
