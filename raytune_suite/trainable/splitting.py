"""Batches cut into pieces, for trainings that do not fit into memory as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from raytune_suite.errors import TrainableError


def sizes(samples: int, micro_batch: int | None, split: int) -> list[tuple[int, int]]:
    """Where each piece of a batch begins and how many samples it has: as even as can be, none above ``micro_batch``.

    >>> sizes(10, None, 4)
    [(0, 3), (3, 3), (6, 2), (8, 2)]
    >>> sizes(10, 8, 1)
    [(0, 5), (5, 5)]
    """
    count = max(split, -(-samples // micro_batch) if micro_batch else 1)
    count = max(1, min(count, samples))
    small, larger = divmod(samples, count)
    starts = [number * small + min(number, larger) for number in range(count)]
    return [(start, small + (number < larger)) for number, start in enumerate(starts)]


def cut(batch: Any, samples: int, start: int, size: int) -> Any:
    """The samples from ``start`` of every tensor of the batch that has ``samples`` of them; the rest as it is.

    Raises :class:`TrainableError` if a tensor of the batch has another length: nobody knows how to cut it.
    """
    import torch

    if isinstance(batch, torch.Tensor):
        if batch.ndim == 0:
            return batch
        if len(batch) != samples:
            raise TrainableError(
                f"a batch of {samples} samples holds a tensor of shape {tuple(batch.shape)}, which cannot be cut into "
                "micro-batches: set splits_batches = False, or leave micro_batch out"
            )
        return batch[start : start + size]
    if isinstance(batch, dict):
        return {key: cut(value, samples, start, size) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(cut(value, samples, start, size) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(cut(value, samples, start, size) for value in batch)
    return batch


def normalises_batches(values: Iterable[Any]) -> bool:
    """Whether a module among the values takes statistics over a batch, which those of its pieces would not be."""
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm

    found = (module for value in values if isinstance(value, nn.Module) for module in value.modules())
    return any(isinstance(module, _BatchNorm) for module in found)
