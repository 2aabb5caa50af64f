"""Experiments whose trials the Bayesian searcher itself proposed, over made-up losses; nothing is trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from journals import Clock

from raytune_suite.journal import Journal
from raytune_suite.search import Observation, build
from raytune_suite.states import State
from raytune_suite.study import Study

METRIC = "validation/loss"
SPACE = {
    "learning_rate": {"loguniform": [1e-5, 1e-1]},
    "channels": {"choice": [16, 32, 64]},
    "batch_size": {"qrandint": [32, 256, 32]},
    "optimizer": {"choice": ["sgd", "adamw", "lion"]},
    "momentum": {"uniform": [0.5, 0.99], "when": "optimizer == 'sgd'"},
    "dropout": {"uniform": [0.0, 0.6]},
}


def written(trials: int, mode: str = "min", search: str = "bayesian", **fields: Any) -> dict[str, Any]:
    """The study, as its file has it."""
    return {
        "version": 1,
        "trainable": "package.module:Class",
        "metric": METRIC,
        "mode": mode,
        "num_trials": trials,
        "max_iterations": 9,
        "default": {"learning_rate": 1e-3, "channels": 32, "batch_size": 128, "optimizer": "adamw", "dropout": 0.0},
        "space": SPACE,
        "search": search,
        "name": "searched",
        **fields,
    }


def loss(point: dict[str, Any], iteration: int, noise: float) -> float:
    """Lowest at a learning rate of about 0.005, many channels, sgd with a momentum of 0.9."""
    off = abs(math.log10(point["learning_rate"]) + 2.3)
    floor = 0.1 + 0.2 * off**1.5 + 0.05 * (64 - point["channels"]) / 48
    floor += {"adamw": 0.05, "sgd": 0.0, "lion": 0.2}[point["optimizer"]]
    floor += 1.0 * abs(point.get("momentum", 0.9) - 0.9) + 0.1 * abs(point["dropout"] - 0.2)
    return floor + 2.0 * iteration**-1.2 + 0.01 * noise


def searched(folder: Path, trials: int = 14, *, mode: str = "min", stopping: bool = False, **fields: Any) -> Path:
    """One trial after another; with ``stopping`` the worse two thirds of iteration 1 and of iteration 3 end there."""
    study = Study.from_dict(written(trials, mode, **fields))
    searcher, sign, clock = build(study), -1.0 if mode == "max" else 1.0, Clock()
    rng, seen = np.random.default_rng(0), {1: [], 3: []}  # type: ignore[var-annotated]
    with Journal.create(folder, clock=clock) as journal:
        (folder / "study.yaml").write_text(yaml.safe_dump(written(trials, mode, **fields), sort_keys=False))
        journal.append("experiment", version=1, name="searched", metric=METRIC, mode=mode, seed=0, num_trials=trials,
                       max_iterations=9, space=study.search_space.describe(), constants={}, suite="0")  # fmt: skip
        journal.append("session", pid=1, host="here", slots=1, resources={"cpu": 1}, rungs=[1, 3], plan=[])
        for number in range(trials):
            made = searcher.ask(number)
            if made is None:
                break
            journal.append("trial", number=number, trial_id=f"{number:05d}", config=made.point, point=made.point,
                           seed=number, origin=made.origin, note=made.note, resources={"cpu": 1})  # fmt: skip
            journal.append("start", number=number, attempt=0, node="a", pid=1, gpu_ids=[])
            state, noise = State.COMPLETED, float(rng.standard_normal())
            for iteration in range(1, 10):
                clock.now += 1.0
                value = loss(made.point, iteration, noise)
                journal.append("report", number=number, iteration=iteration, metrics={METRIC: sign * value},
                               elapsed=float(iteration))  # fmt: skip
                searcher.tell(Observation(number, made.point, sign * value, iteration, State.RUNNING))
                if stopping and number and iteration in seen:
                    seen[iteration].append(value)
                    if value > np.quantile(seen[iteration], 1 / 3):
                        state = State.STOPPED
                        break
            searcher.tell(Observation(number, made.point, sign * value, iteration, state))
            journal.append("end", number=number, state=state.value, by="asha" if state is State.STOPPED else None,
                           reason=None, iteration=iteration, value=sign * value, best=sign * value, error=None,
                           attempt=0)  # fmt: skip
        journal.append("close", state="finished", reason=None, exit_code=0)
    return folder
