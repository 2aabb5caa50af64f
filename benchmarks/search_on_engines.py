"""Whether Bayesian search finds as much on the pool of workers as on Ray Tune's own, at the same concurrency.

    python benchmarks/search_on_engines.py [--seeds 8] [--trials 40] [--slots 2]

The same study with the same seeds on both: the shifted Hartmann function of six parameters, three iterations a trial,
each of which sleeps for as long as a small epoch takes. Compared, seed by seed, are how far the best trial is from the
minimum (log10), and how fresh suggestions are: how many earlier trials were still unknown when each was made. Intervals
are 95% bootstrap intervals of the mean over seeds.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from searching.synthetic import TASKS  # noqa: E402

ENGINES = ("pool", "tune")
HARTMANN = next(task for task in TASKS if task.name == "hartmann6")


class Hartmann:
    """A trial that comes nearer to the function's value with each iteration."""

    def __init__(self, config: dict[str, Any], context: Any) -> None:
        self.reset(config, context)

    def reset(self, config: dict[str, Any], context: Any) -> bool:
        self._value, self._iteration = HARTMANN.loss(config), 0
        return True

    def step(self) -> dict[str, Any]:
        self._iteration += 1
        time.sleep(0.03)
        return {"loss": self._value + 0.3 / self._iteration**2 - 0.3 / 9}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)

    def load(self, folder: Path) -> None:
        return None

    def close(self) -> None:
        return None


def one(engine: str, seed: int, trials: int, folder: str) -> tuple[float, float]:
    """The log10 of the regret, and how many earlier trials a suggestion did not know the end of, on average."""
    from raytune_suite import Study, run

    study = Study.from_dict(
        {
            "name": f"{engine}-{seed}",
            "trainable": "search_on_engines:Hartmann",
            "metric": "loss",
            "seed": seed,
            "num_trials": trials,
            "max_iterations": 3,
            "space": dict(HARTMANN.raw),
            "search": "bayesian",
            "checkpoint": {"every": 0},
            "storage": folder,
        },
        project=HERE,
    )
    record = run(study, verbosity=-1, engine=engine).experiment.record
    ends = [trial.ended_at or math.inf for trial in record.trials.values()]
    unknown = [sum(end > trial.created_at for end in ends[:number]) for number, trial in record.trials.items()]
    found = min(trial.value for trial in record.trials.values() if trial.value is not None)
    return math.log10(max(found - (HARTMANN.optimum or 0.0), 1e-9)), fmean(unknown)


def mean(values: np.ndarray) -> str:
    """The mean and its bootstrap interval."""
    draws = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--slots", type=int, default=2)
    args = parser.parse_args()
    from raytune_suite import Session

    found: dict[str, list[tuple[float, float]]] = {engine: [] for engine in ENGINES}
    with tempfile.TemporaryDirectory(prefix="ry-", dir="/tmp") as folder, Session(num_cpus=args.slots):
        for seed in range(args.seeds):
            for engine in ENGINES:
                found[engine].append(one(engine, seed, args.trials, folder))
                print(f"seed {seed + 1} of {args.seeds}, {engine}: {found[engine][-1]}", file=sys.stderr)
    table = {engine: np.array(rows) for engine, rows in found.items()}
    table["pool less tune, by seed"] = table["pool"] - table["tune"]
    print("| engine | log10 of the regret | earlier trials not known |\n|---|---|---|")
    for name, rows in table.items():
        print(f"| {name} | {mean(rows[:, 0])} | {mean(rows[:, 1])} |")


if __name__ == "__main__":
    main()
