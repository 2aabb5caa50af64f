"""A recorded table: every configuration of a grid with its whole learning curve."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raytune_suite.space import Space

DATA = Path(__file__).parent / "data"
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Losses (inf where not finite) and CPU seconds by configuration and iteration, both (rows, iterations)."""

    name: str
    space: Space
    points: list[dict[str, Any]]
    losses: Array
    seconds: Array

    def __post_init__(self) -> None:
        rows = {self.space.key(point): row for row, point in enumerate(self.points)}
        object.__setattr__(self, "_rows", rows)

    @classmethod
    def load(cls, name: str, folder: Path = DATA) -> Table:
        """Read ``name.jsonl.gz``, as benchmarks/record_curves.py packs it."""
        with gzip.open(folder / f"{name}.jsonl.gz", "rt") as file:
            head, *lines = [json.loads(line) for line in file]
        losses = np.array([line["values"] for line in lines], dtype=float)
        losses[np.isnan(losses)] = np.inf
        # one number where the time of an iteration was measured per shape, else one per iteration
        seconds = np.array([np.broadcast_to(line["seconds"], losses.shape[1]) for line in lines], dtype=float)
        return cls(name, Space.parse(head["space"]), [line["point"] for line in lines], losses, seconds)

    def row(self, point: Mapping[str, Any]) -> int:
        """The row of a configuration; KeyError if the grid does not hold it."""
        rows: dict[str, int] = self._rows  # type: ignore[attr-defined]
        return rows[self.space.key(dict(point))]

    @property
    def iterations(self) -> int:
        """The length of a whole curve."""
        return int(self.losses.shape[1])

    @property
    def whole(self) -> float:
        """Mean seconds of a whole training."""
        return float(self.seconds.sum(1).mean())

    @property
    def best(self) -> float:
        """The best loss anywhere in the table."""
        return float(self.losses.min())

    def best_of(self, count: int) -> float:
        """The median of the best loss that ``count`` whole trainings of random configurations meet, exactly."""
        ranked = np.sort(self.losses.min(1))
        left = len(ranked) - np.arange(len(ranked))  # configurations at least as bad as this rank
        ways = [np.prod([(n - k) / (len(ranked) - k) for k in range(count)]) for n in left]
        # ways[i]: the chance that all drawn are of rank i or worse
        return float(ranked[np.flatnonzero(np.array(ways) >= 0.5)[-1]])
