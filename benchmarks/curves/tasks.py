"""The recorded tasks: finite versions of the spaces of three studies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from raytune_suite.resolve import resolve
from raytune_suite.space import Space

ROOT = Path(__file__).parents[2]
MAX_ITERATIONS = 27
Point = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A trainable over a grid.

    Attributes:
        name: of the study whose trainable it is.
        trainable: as in a study file.
        space: as in a study file, finite.
        stacked: parameters that change neither shapes nor the time of a step: trained in one stack.
        repeats: trainings of each configuration, from other seeds, whose mean is its curve (a study's ``repeats``).
    """

    name: str
    trainable: str
    space: Mapping[str, Any]
    stacked: tuple[str, ...]
    repeats: int = 1

    @property
    def grid(self) -> Space:
        """The space, parsed."""
        return Space.parse(self.space)

    def resolve(self) -> Any:
        """The trainable's class."""
        return resolve(self.trainable, ROOT)

    def stacks(self) -> Iterator[list[tuple[int, Point]]]:
        """All points with their numbers in the grid, those together that are trained in one stack."""

        def shape(numbered: tuple[int, Point]) -> str:
            return repr(sorted((k, v) for k, v in numbered[1].items() if k not in self.stacked))

        for _, members in groupby(sorted(enumerate(self.grid.enumerate()), key=shape), key=shape):
            yield list(members)


def _rates(low: float, high: float, count: int) -> dict[str, list[float]]:
    """``count`` learning rates, evenly spread on a logarithmic scale, to two digits."""
    step = math.log(high / low) / (count - 1)
    return {"grid": [float(f"{low * math.exp(k * step):.1e}") for k in range(count)]}


TASKS = {
    task.name: task
    for task in [
        Task(
            "tabular",
            "benchmarks.curves.brief:BriefMLP",
            {
                "data": "sklearn:digits",
                "target": "target",
                "task": "auto",
                "activation": "relu",
                "learning_rate": _rates(1e-4, 1e-1, 12),
                "width": {"grid": [16, 48, 128]},
                "depth": {"grid": [1, 2, 3]},
                "dropout": {"grid": [0.0, 0.2, 0.4]},
                "weight_decay": {"grid": [0.001, 0.1, 1.0]},
                "batch_size": {"grid": [16, 32, 64]},
            },
            ("learning_rate", "weight_decay"),
            repeats=3,
        ),
        Task(
            "digits",
            "benchmarks.curves.brief:BriefCNN",
            {
                "weight_decay": 1e-4,
                "learning_rate": _rates(3e-4, 1e-1, 10),
                "channels": {"grid": [4, 8]},
                "batch_size": {"grid": [16, 32, 64]},
                "optimizer": {"choice": ["sgd", "adamw"]},
                "momentum": {"grid": [0.8, 0.95], "when": "optimizer == 'sgd'"},
                "dropout": {"grid": [0.0, 0.25, 0.5]},
            },
            ("learning_rate", "momentum"),
            repeats=3,
        ),
        Task(
            "bytes",
            "benchmarks.curves.brief:BriefTransformer",
            {
                "heads": 4,
                "dropout": 0.0,
                "weight_decay": 0.01,
                "learning_rate": _rates(5e-4, 1e-1, 24),
                "width": {"grid": [16, 24, 32]},
                "depth": {"grid": [1, 2]},
                "batch_size": {"grid": [8, 16, 32]},
                "warmup": {"grid": [5, 16, 50]},
            },
            ("learning_rate", "warmup"),
        ),
    ]
}
