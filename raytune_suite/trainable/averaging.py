"""Means over the samples of an epoch, without waiting for the GPU at every batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raytune_suite.trainable import team


class Mean:
    """Running means of named values, each batch weighted by its number of samples.

    >>> mean = Mean()
    >>> mean.add(3, {"loss": 1.0})
    >>> mean.add(1, {"loss": 5.0})
    >>> mean.compute()
    {'loss': 2.0}
    """

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}
        self._weights: dict[str, float] = {}

    def add(self, samples: float, values: Mapping[str, Any]) -> None:
        """Count ``samples`` samples whose mean values are ``values``: numbers or tensors with one element."""
        for name, value in values.items():
            # float64 and on the value's own device: sums stay exact and nothing is copied until compute()
            value = value.detach().double() if hasattr(value, "detach") else float(value)
            self._sums[name] = self._sums.get(name, 0.0) + value * samples
            self._weights[name] = self._weights.get(name, 0.0) + samples

    def compute(self) -> dict[str, float]:
        """The means so far, over all processes of the trial; a name that was never counted is missing."""
        sums = {name: (float(total), float(self._weights[name])) for name, total in self._sums.items()}
        parts = team.current().gather(sums)
        names = list(dict.fromkeys(name for part in parts for name in part))
        return {name: _mean([part[name] for part in parts if name in part]) for name in names}


def _mean(parts: Sequence[Sequence[float]]) -> float:
    return sum(total for total, _ in parts) / sum(weight for _, weight in parts)
