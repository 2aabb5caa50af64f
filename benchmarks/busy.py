"""How much of the time workers train: 64 trials of the small MLPs of studies/tabular.yaml under ASHA on two slots.

    python benchmarks/busy.py [--repeats 3] [--search random|bayesian]

Training is the time inside steps (an epoch and its evaluation); the clock runs from the first report, when the
workers have started, to the last. What is lost is resets, checkpoints, round trips and waiting for the searcher.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SLOTS = 2


def study(folder: str, name: str, search: str) -> dict[str, Any]:
    """``studies/tabular.yaml`` with 64 trials and a trainable that times its steps."""
    from raytune_suite import Study

    made = Study.load(HERE.parent / "studies" / "tabular.yaml").model_dump(exclude_unset=True)
    changes = {"name": name, "storage": folder, "num_trials": 64, "search": search, "resources": {"cpu": 1, "gpu": 0}}
    return {**made, **changes, "trainable": "benchmarks.busy_mlp:TimedMLP"}


def busy(folder: str, name: str, search: str) -> tuple[float, float, int]:
    """Share of the slots' time spent in steps, seconds on the clock, epochs."""
    from raytune_suite import Study, run

    made = Study.from_dict(study(folder, name, search), project=HERE.parent)
    record = run(made, verbosity=-1, num_cpus=SLOTS).experiment.record
    reports = sorted(
        (report.time, report.metrics["time/step_s"]) for trial in record.trials.values() for report in trial.reports
    )
    clock = reports[-1][0] - reports[0][0]
    return sum(seconds for _, seconds in reports[1:]) / (SLOTS * clock), clock, len(reports)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--search", default="random")
    args = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "disabled"
    folder = tempfile.mkdtemp(prefix="ry-", dir="/tmp")
    try:
        found = [busy(folder, f"busy-{i}", args.search) for i in range(args.repeats)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    shares = [share for share, _, _ in found]
    print("\n| search | training, share of the slots' time (min-max) | seconds | epochs |\n|---|---|---|---|")
    print(
        f"| {args.search} | {statistics.median(shares):.0%} ({min(shares):.0%}-{max(shares):.0%}) "
        f"| {statistics.median(clock for _, clock, _ in found):.1f} "
        f"| {statistics.median(epochs for _, _, epochs in found):.0f} |"
    )


if __name__ == "__main__":
    main()
