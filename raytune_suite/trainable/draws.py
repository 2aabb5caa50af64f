"""Samples drawn at random: as many of a data set as a pass is to have."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

_SPARSE = 4


def drawn(length: int, samples: int, generator: torch.Generator | None) -> torch.Tensor:
    """``samples`` indices below ``length`` in random order, each at most once unless there are more samples than that.

    A few of many are drawn again until they are distinct: an order of millions, from which torch's ``RandomSampler``
    would take its first few, costs a good part of a second in every pass, and hundreds of megabytes.
    """
    if samples > length:
        return torch.randint(length, (samples,), generator=generator)
    if _SPARSE * samples > length:
        return torch.randperm(length, generator=generator)[:samples]
    found: dict[int, None] = {}
    while len(found) < samples:
        found.update(dict.fromkeys(torch.randint(length, (samples - len(found),), generator=generator).tolist()))
    return torch.tensor(list(found), dtype=torch.int64)


class DrawnSampler(Sampler[int]):
    """The indices of :func:`drawn`, new ones for each pass. ``generator``: its state is part of a checkpoint."""

    def __init__(self, length: int, samples: int, generator: torch.Generator) -> None:
        self.length, self.samples, self.generator = length, samples, generator

    def __iter__(self) -> Iterator[int]:
        return iter(drawn(self.length, self.samples, self.generator).tolist())

    def __len__(self) -> int:
        """Samples in a pass."""
        return self.samples
