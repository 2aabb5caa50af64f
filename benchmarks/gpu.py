"""One study three ways on the GPUs of this machine: one trial on each, a guessed quarter, and gpu: auto.

    python benchmarks/gpu.py                   # the small CNN of studies/digits.yaml; needs a GPU
    python benchmarks/gpu.py --dry             # the same steps on the CPU: shows that they work, measures nothing

Prints, for each way, trials per hour, the largest peak that a trial reserved, how many ran out of memory on the way and
how many failed in the end, and where the time of the GPUs went. The same seed everywhere: the same configurations.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from raytune_suite import Study, run
from raytune_suite.analysis import Experiment, load
from raytune_suite.hardware import visible_gpus

ROOT = Path(__file__).parents[1]
WAYS: dict[str, dict[str, Any]] = {"one a GPU": {"gpu": 1}, "0.25": {"gpu": 0.25}, "auto": {"gpu": "auto"}}
DRY: dict[str, dict[str, Any]] = {name: {"cpu": 1, "gpu": 0} for name in WAYS}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=ROOT / "studies" / "digits.yaml")
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--iterations", type=int, default=9)
    parser.add_argument("--cpu", type=float, default=0.25, help="CPUs of a trial: few, so that GPUs are what is short")
    parser.add_argument("--dry", action="store_true", help="on the CPU, whatever the shares")
    return parser.parse_args()


def play(options: argparse.Namespace, way: str, storage: str) -> tuple[Experiment, float]:
    """Run the study in one way; random search and no early stopping, so that all ways do the same work."""
    plain = Study.load(options.study, project=ROOT).model_dump(by_alias=True, exclude_none=True)
    resources = DRY[way] if options.dry else {"cpu": options.cpu, **WAYS[way]}
    changes = {"num_trials": options.trials, "max_iterations": options.iterations, "search": "random"}
    changes |= {"scheduler": "fifo", "resources": resources, "storage": storage, "name": way.replace(" ", "-")}
    started = time.monotonic()
    quiet = Console(file=io.StringIO())
    run(Study.from_dict({**plain, **changes}, project=ROOT), verbosity=-1, console=quiet)
    return load(Path(storage) / str(changes["name"])), time.monotonic() - started


def row(way: str, experiment: Experiment, seconds: float) -> str:
    trials = list(experiment.record.trials.values())
    ended = sum(trial.state.succeeded for trial in trials)
    peaks = [r.metrics["memory/gpu_mb"] for t in trials for r in t.reports if "memory/gpu_mb" in r.metrics]
    ooms = sum(trial.retries.count("oom") for trial in trials)
    failed = sum(trial.state.failure for trial in trials)
    peak = f"{max(peaks):.0f} MiB" if peaks else "-"
    hourly = 3600 * ended / seconds
    return f"{way:<10} {hourly:>11.0f} {peak:>10} {ooms:>13} {failed:>6}  {experiment.usage.describe()}"


def main() -> int:
    options = arguments()
    gpus = visible_gpus()
    if not gpus and not options.dry:
        print("No GPU is visible here: nothing to measure. --dry goes through the steps on the CPU.", file=sys.stderr)
        return 2
    where = "dry run on the CPU, no measurement" if options.dry else f"{len(gpus)} x {gpus[0].name}"
    print(f"{where}, {time.strftime('%Y-%m-%d')}, {options.trials} trials of {options.iterations} iterations\n")
    lines = [f"{'way':<10} {'trials/hour':>11} {'peak':>10} {'out of memory':>13} {'failed':>6}  time"]
    with tempfile.TemporaryDirectory(prefix="rt-gpu-") as storage:
        lines += [row(way, *play(options, way, storage)) for way in WAYS]
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
