"""The samples of a ``DataLoader`` shared out among the processes of a trial."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

from torch.utils.data import Sampler


class PartSampler(Sampler[int]):
    """One process's part of what ``inner`` draws in the same order in all: each ``size``-th from its rank on.

    Unlike torch's ``DistributedSampler`` it draws from the loader's generator, whose place is part of a checkpoint.
    """

    even = False
    """Whether all processes get as many samples, the first being repeated where they do not come out even."""

    def __init__(self, inner: Any, part: tuple[int, int]) -> None:
        self.inner, self.rank, self.size = inner, *part

    @property
    def generator(self) -> Any:
        """That of the sampler behind it."""
        return getattr(self.inner, "generator", None)

    def __iter__(self) -> Iterator[int]:
        drawn = list(self.inner)
        if self.even:
            drawn += [drawn[n % len(drawn)] for n in range(-len(drawn) % self.size)]
        return iter(drawn[self.rank :: self.size])

    def __len__(self) -> int:
        """How many this process gets."""
        total = len(self.inner) if isinstance(self.inner, Sized) else 0
        return -(-total // self.size) if self.even else len(range(self.rank, total, self.size))
