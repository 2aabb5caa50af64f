"""A small folder in CIFAR-10's binary format: every class is a colour with noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainables.cifar import HELD_OUT, TRAINING


def make_cifar(folder: Path, images: int = 20) -> Path:
    """Write the six files with ``images`` records each."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in [*TRAINING, HELD_OUT]:
        labels = rng.integers(0, 10, images)
        colours = np.stack([labels * 25, 250 - labels * 25, labels % 2 * 200], axis=1)
        pixels = np.clip(colours[:, :, None] + rng.normal(0, 20, (images, 3, 1024)), 0, 255)
        records = np.concatenate([labels[:, None], pixels.reshape(images, -1)], axis=1)
        records.astype(np.uint8).tofile(folder / name)
    return folder
