"""What the suite costs beside bare Ray Tune: the same no-op trials, in the same run, each system in its own process.

    python benchmarks/overhead.py [--repeats 3] [--quick] [--systems NAME ...]

Two slots. The clock runs from before the study is built to its end; starting Ray itself and the driver's import of
ray.tune are left out on both sides, starting workers is in. Journal and TensorBoard are on in the suite; bare Ray Tune
has its default loggers, or none in its best settings. Figures are medians; ratios are against the row they name, in
the same run.
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

HERE = Path(__file__).resolve().parent
DEFAULTS, REUSE, BEST = "ray tune, defaults", "ray tune, reuse_actors", "ray tune, best public settings"
OWN, ANY, POOL = "raytune_suite, tune's workers", "raytune_suite, a tune.Trainable", "raytune_suite"
SYSTEMS = (DEFAULTS, REUSE, BEST, OWN, ANY, POOL)
BEST_SETTINGS = {
    "TUNE_MAX_PENDING_TRIALS_PG": "4",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_worker_niceness": "0",
}
"""With ``reuse_actors``, no ``max_concurrent_trials`` and no checkpoint at the end: what was measured to be fastest."""


def measure(system: str, trials: int, reports: int) -> dict[str, float]:
    """Run one system once in this process."""
    import psutil

    folder = tempfile.mkdtemp(prefix="rb-", dir="/tmp")
    try:
        wall = (_suite if system in (OWN, ANY, POOL) else _bare)(system, trials, reports, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rss = psutil.Process().memory_info().rss / 2**20
    return {"wall": wall, "rss": rss, "trials": trials / wall, "reports": trials * reports / wall}


def _init(folder: str) -> None:
    import ray

    ray.init(
        num_cpus=2,
        _node_ip_address="127.0.0.1",
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=folder + "/ray",
    )


def _bare(system: str, trials: int, reports: int, folder: str) -> float:
    from noop import BareNoop
    from ray import tune

    os.environ.update(BEST_SETTINGS if system == BEST else {})
    _init(folder)
    started = time.perf_counter()
    tune.Tuner(
        tune.with_resources(BareNoop, {"cpu": 1}),
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="loss", mode="min", num_samples=trials, reuse_actors=system in (REUSE, BEST)
        ),
        run_config=tune.RunConfig(
            stop={"training_iteration": reports},
            storage_path=folder,
            name="bare",
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False if system == BEST else None),
        ),
    ).fit()
    return time.perf_counter() - started


def _suite(system: str, trials: int, reports: int, folder: str) -> float:
    from raytune_suite import Study, ray_runtime, run

    with ray_runtime.environment():
        from ray import tune  # noqa: F401  # its import is left out on both sides

        _init(folder)
        started = time.perf_counter()
        study = Study.from_dict(
            {
                "name": "suite",
                "trainable": "noop:BareNoop" if system == ANY else "noop:SuiteNoop",
                "metric": "loss",
                "num_trials": trials,
                "max_iterations": reports,
                "space": {"x": {"uniform": [0, 1]}},
                "search": "random",
                "checkpoint": {"every": 0},
                "storage": folder,
            },
            project=HERE,
        )
        run(study, verbosity=-1, engine="tune" if system == OWN else "pool")
        return time.perf_counter() - started


def _child(system: str, trials: int, reports: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", system, str(trials), str(reports)]
    env = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise SystemExit(f"{system} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def compare(title: str, what: str, plan: dict[str, tuple[int, int]], repeats: int) -> list[str]:
    """One table: every system ``repeats`` times, interleaved, with the ratio to the suite's median."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in plan}
    for _ in range(repeats):
        for name, (trials, reports) in plan.items():
            runs[name].append(_child(name, trials, reports))
    suite = statistics.median(r[what] for r in runs[POOL])
    memory = statistics.median(r["rss"] for r in runs[POOL])
    rows = [f"| {title} | trials x reports | {what}/s (min-max) | suite is | driver MB | suite's share |"]
    rows.append("|---|---|---|---|---|---|")
    for name, found in runs.items():
        values, rss = [r[what] for r in found], statistics.median(r["rss"] for r in found)
        middle = statistics.median(values)
        trials, reports = plan[name]
        rows.append(
            f"| {name} | {trials} x {reports} | {middle:.2f} ({min(values):.2f}-{max(values):.2f}) "
            f"| {suite / middle:.1f}x | {rss:.0f} | {memory / rss:.2f}x |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the trials, once")
    parser.add_argument("--systems", nargs="*", help=f"only some of: {'; '.join(SYSTEMS)} (the last always)")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        system, trials, reports = args.one
        print(json.dumps(measure(system, int(trials), int(reports))))
        return
    scale, repeats = (10, 1) if args.quick else (1, args.repeats)
    equal = (BEST, OWN, ANY, POOL)
    plans = [
        ("no-op trials", "trials", {DEFAULTS: (20, 1), REUSE: (200, 1), **dict.fromkeys(equal, (2000, 1))}),
        ("reports", "reports", {REUSE: (50, 100), **dict.fromkeys(equal, (200, 100))}),
    ]
    chosen = {name: args.systems is None or name in args.systems or name == POOL for name in SYSTEMS}
    tables = [
        compare(title, what, {n: (max(t // scale, 4), r) for n, (t, r) in plan.items() if chosen[n]}, repeats)
        for title, what, plan in plans
    ]
    for table in tables:
        print("\n".join(table), end="\n\n")


if __name__ == "__main__":
    main()
