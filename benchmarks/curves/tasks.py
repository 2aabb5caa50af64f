"""The recorded tasks: finite versions of the spaces of three studies, and how one configuration is trained."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytune_suite.resolve import resolve
from raytune_suite.seeds import trial_seed
from raytune_suite.space import Space
from raytune_suite.study import Study
from raytune_suite.trainable import Context

STUDIES = Path(__file__).parents[2] / "studies"
MAX_ITERATIONS = 27
_SEED = 77


@dataclass(frozen=True)
class Task:
    """A study's trainable over a grid: ``space`` as in a study file; ``trainable`` instead of the study's own."""

    name: str
    space: Mapping[str, Any]
    trainable: str | None = None

    @property
    def study(self) -> Study:
        """The study whose trainable, metric and mode the task has."""
        return Study.load(STUDIES / f"{self.name}.yaml")


def _rates(low: float, high: float, count: int) -> dict[str, list[float]]:
    """``count`` learning rates, evenly spread on a logarithmic scale, to two digits."""
    step = math.log(high / low) / (count - 1)
    return {"grid": [float(f"{low * math.exp(k * step):.1e}") for k in range(count)]}


TASKS = {
    task.name: task
    for task in [
        Task(
            "tabular",
            {
                "data": "sklearn:digits",
                "target": "target",
                "task": "auto",
                "activation": "relu",
                "learning_rate": _rates(1e-4, 1e-1, 8),
                "width": {"grid": [16, 64, 256]},
                "depth": {"grid": [1, 2, 3]},
                "dropout": {"grid": [0.0, 0.2, 0.4]},
                "weight_decay": {"grid": [0.001, 0.3]},
                "batch_size": {"grid": [32, 64, 128]},
            },
        ),
        Task(
            "digits",
            {
                "weight_decay": 1e-4,
                "learning_rate": _rates(1e-4, 1e-1, 8),
                "channels": {"grid": [8, 16, 24]},
                "batch_size": {"grid": [32, 64, 128]},
                "optimizer": {"choice": ["sgd", "adamw"]},
                "momentum": {"grid": [0.8, 0.95], "when": "optimizer == 'sgd'"},
                "dropout": {"grid": [0.0, 0.25, 0.5]},
            },
        ),
        Task(
            "bytes",
            {
                "heads": 4,
                "dropout": 0.0,
                "weight_decay": 0.01,
                "learning_rate": _rates(3e-4, 1e-1, 8),
                "width": {"grid": [16, 32, 48]},
                "depth": {"grid": [1, 2]},
                "batch_size": {"grid": [8, 16, 32]},
                "warmup": {"grid": [5, 50]},
            },
            "benchmarks.curves.brief:BriefTransformer",
        ),
    ]
}


class Trainer:
    """Trains configurations of one task in this process, without Ray."""

    def __init__(self, task: Task) -> None:
        self._study = task.study
        self._space = Space.parse(task.space)
        self._cls = resolve(task.trainable or self._study.trainable, self._study.project)

    def train(self, point: Mapping[str, Any], number: int) -> tuple[list[float], list[float]]:
        """Metrics (inf where not finite) and CPU seconds of every iteration of configuration ``number``."""
        study = self._study
        context = Context.standalone(
            seed=trial_seed(_SEED, number), max_iterations=MAX_ITERATIONS, metric=study.metric, mode=study.mode
        )
        trainable = self._cls(self._space.config(dict(point)), context)
        values, seconds = [], []
        for _ in range(MAX_ITERATIONS):
            started = time.process_time()
            value = float(trainable.step()[study.metric])
            seconds.append(time.process_time() - started)
            values.append(value if math.isfinite(value) else math.inf)
        trainable.close()
        return values, seconds
