"""The studies' trainables with short iterations: what a searcher can learn shows long before noise is all that is left.

Trained to the end, the good configurations of these small problems differ by less than two runs of one of them.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from raytune_suite.trainable import ArrayLoader, Data
from trainables.bytes import CONTEXT, BytesTransformer
from trainables.digits import DigitsCNN
from trainables.tabular import TabularMLP

SAMPLES = 256
"""Rows of an iteration: a quarter of the training rows of the digits."""
WINDOWS, WINDOWS_MEASURED = 64, 32
"""Stretches of text of an iteration: trained on, and held out."""
MOST_WINDOWS = 16_384


class BriefMLP(TabularMLP):
    """A quarter of an epoch an iteration."""

    def build_data(self) -> Data:
        """Loaders that draw a part of the rows."""
        return _brief(self, super().build_data())


class BriefCNN(DigitsCNN):
    """A quarter of an epoch an iteration."""

    def build_data(self) -> Data:
        """Loaders that draw a part of the rows."""
        return _brief(self, super().build_data())


class BriefTransformer(BytesTransformer):
    """An eighth of the study's iteration, on windows that do not overlap."""

    def build_data(self) -> Data:
        """Windows as arrays of ``CONTEXT`` bytes and of those that follow."""
        size = self.config.get("batch_size", 32)
        train, held = (self._windows(split) for split in ("train", "validation"))
        step = len(held[0]) // WINDOWS_MEASURED  # spread over the text
        held = tuple(array[::step][:WINDOWS_MEASURED] for array in held)
        return Data(
            self.loader(*train, batch_size=size, samples=WINDOWS),
            self.loader(*held, batch_size=WINDOWS_MEASURED),
        )

    def _windows(self, split: str) -> tuple[Tensor, ...]:
        text = self.array(split)
        count = min(MOST_WINDOWS, (len(text) - 1) // CONTEXT)
        return tuple(
            torch.from_numpy(text[first : first + count * CONTEXT].astype(np.int64).reshape(count, CONTEXT))
            for first in (0, 1)
        )


def _brief(trainable: Any, data: Data) -> Data:
    train, held = cast(ArrayLoader, data.train), cast(ArrayLoader, data.validation)
    return Data(
        trainable.loader(*train.arrays, batch_size=train.batch_size, samples=SAMPLES),
        trainable.loader(*held.arrays, batch_size=held.length),
    )
