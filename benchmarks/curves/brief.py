"""The bytes transformer with short iterations, so that hundreds of whole curves take minutes to record."""

from __future__ import annotations

from raytune_suite.trainable import Data
from trainables.bytes import CONTEXT, BytesTransformer, Windows


class BriefTransformer(BytesTransformer):
    """A fifth of the study's iteration, on windows that do not overlap: drawing among fewer of them is quick."""

    training_windows = 96
    measured_windows = 64

    def build_data(self) -> Data:
        """The windows of the base class, those for training ``CONTEXT`` bytes apart."""
        data = super().build_data()
        train = Windows(self.array("train"), step=CONTEXT)
        size = self.config.get("batch_size", 32)
        return Data(self.loader(train, batch_size=size, samples=self.training_windows), data.validation, data.test)
