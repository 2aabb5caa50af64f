"""How much of the time workers train: 64 trials of the small MLPs of studies/tabular.yaml under ASHA on two slots.

    python benchmarks/busy.py [--repeats 3] [--search random|bayesian] [--systems NAME ...]

Training is the time inside steps (an epoch and its evaluation). "After the start" runs from the first report, when the
workers have started, to the last: what is lost is resets, checkpoints, round trips and waiting for the searcher.
Overhead is the whole wall, from the study to its end with Ray running, less the training of one slot: what is lost
includes starting workers and importing torch. Bare Ray Tune has the best public settings, random search, the same
model as a ``ray.tune.Trainable``, and no journal. Checkpoints are written by none but one, after each epoch. Each run
has a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]
SLOTS, TRIALS = 2, 64
BEST, OWN, POOL, SAVING, SECOND = (
    "ray tune, best public settings",
    "suite, tune's workers",
    "suite",
    "suite, a checkpoint every epoch",
    "suite, second of a session",
)
SYSTEMS = (BEST, OWN, POOL, SAVING, SECOND)


def study(folder: str, name: str, search: str, every: int = 0) -> Any:
    """``studies/tabular.yaml``: 64 trials, a trainable that times its steps, a checkpoint ``every`` so many epochs."""
    from raytune_suite import Study

    made = Study.load(HERE.parent / "studies" / "tabular.yaml").model_dump(exclude_unset=True)
    changes = {"name": name, "storage": folder, "num_trials": TRIALS, "search": search}
    changes |= {"resources": {"cpu": 1, "gpu": 0}, "trainable": "benchmarks.busy_mlp:TimedMLP"}
    changes["checkpoint"] = {"every": every}
    return Study.from_dict({**made, **changes}, project=HERE.parent)


def measure(system: str, search: str, folder: str) -> dict[str, float]:
    """Run one system in this process."""
    from raytune_suite import Session, run

    if system == BEST:
        return _bare(folder)
    with Session(num_cpus=SLOTS):
        engine = "tune" if system == OWN else "pool"
        if system == SECOND:
            run(study(folder, "first", search), verbosity=-1, engine=engine)
        started = time.time()
        measured = study(folder, "measured", search, every=int(system == SAVING))
        record = run(measured, verbosity=-1, engine=engine).experiment.record
        wall = time.time() - started
    steps = [(r.time, r.metrics["time/step_s"]) for trial in record.trials.values() for r in trial.reports]
    return figures(steps, wall)


def figures(steps: list[tuple[float, float]], wall: float) -> dict[str, float]:
    """From (time of the report, seconds of its step): shares of the slots' time, and the overhead."""
    steps.sort()
    clock = steps[-1][0] - steps[0][0]
    train = sum(seconds for _, seconds in steps)
    return {
        "after": (train - steps[0][1]) / (SLOTS * clock),
        "whole": train / (SLOTS * wall),
        "overhead": wall - train / SLOTS,
        "wall": wall,
        "epochs": len(steps),
    }


def _bare(folder: str) -> dict[str, float]:
    import numpy as np
    import ray
    from overhead import BEST_SETTINGS
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    from benchmarks.busy_mlp import TunedMLP

    os.environ.update(BEST_SETTINGS)
    ray.init("local", num_cpus=SLOTS, _node_ip_address="127.0.0.1", include_dashboard=False, log_to_driver=False)
    started = time.time()
    steps: list[tuple[float, float]] = []
    generator = np.random.default_rng(0)

    class Times(tune.Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
            steps.append((time.time(), result["step_s"]))

    space = study(folder, "space", "random").search_space

    def draw(_: Any) -> dict[str, Any]:
        return space.config(space.sample(generator))

    tune.Tuner(
        tune.with_resources(TunedMLP, {"cpu": 1}),
        param_space={"drawn": tune.sample_from(draw)},
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=TRIALS,
            reuse_actors=True,
            scheduler=ASHAScheduler(max_t=27, grace_period=3, reduction_factor=3),
        ),
        run_config=tune.RunConfig(
            stop={"training_iteration": 27},
            callbacks=[Times()],
            storage_path=folder,
            name="bare",
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
    return figures(steps, time.time() - started)


def _child(system: str, search: str) -> dict[str, float]:
    folder = tempfile.mkdtemp(prefix="ry-", dir="/tmp")
    env = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": f"{HERE.parent}:{HERE}"}
    env |= {"OMP_NUM_THREADS": "1", "RAYTUNE_NUM_CPUS": str(SLOTS)}
    command = [sys.executable, __file__, "--one", system, search, folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if done.returncode:
        raise SystemExit(f"{system} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--search", default="random")
    parser.add_argument("--systems", nargs="*", default=SYSTEMS, help="; ".join(SYSTEMS))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*args.one)))
        return
    runs: dict[str, list[dict[str, float]]] = {system: [] for system in args.systems}
    for _ in range(args.repeats):
        for system, found in runs.items():
            found.append(_child(system, args.search))
    titles = ("training after the start (min-max)", "of the whole", "overhead s (min-max)", "wall s", "epochs")
    print(f"\n| {args.search} | {' | '.join(titles)} |\n|---|---|---|---|---|---|")
    for system, found in runs.items():
        print(f"| {system} | {row(found)} |")


def row(found: list[dict[str, float]]) -> str:
    """Medians of several runs."""
    after, overhead = ([one[key] for one in found] for key in ("after", "overhead"))
    whole, wall, epochs = (statistics.median(one[key] for one in found) for key in ("whole", "wall", "epochs"))
    cells = (
        f"{statistics.median(after):.0%} ({min(after):.0%}-{max(after):.0%})",
        f"{whole:.0%}",
        f"{statistics.median(overhead):.1f} ({min(overhead):.1f}-{max(overhead):.1f})",
        f"{wall:.1f}",
        f"{epochs:.0f}",
    )
    return " | ".join(cells)


if __name__ == "__main__":
    main()
