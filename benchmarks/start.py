"""From the command to the first report: ``raytune run`` beside a bare ``Tuner`` with the same trainable.

    python benchmarks/start.py [--repeats 5]

Both train ``trainables.digits:DigitsCNN`` on two slots, each started as a process of its own, in turn. The clock
starts when the process is started and stops at the first result its driver sees. Prepared data is in the cache.
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

ROOT = Path(__file__).resolve().parents[1]

STUDY = """
trainable: trainables.digits:DigitsCNN
metric: validation/loss
num_trials: 2
max_iterations: 1
space: {learning_rate: {loguniform: [1e-4, 1e-2]}}
resources: {cpu: 1, gpu: 0}
name: start
"""

BARE = """
import sys, time
from ray import tune
from raytune_suite import as_tune
from trainables.digits import DigitsCNN
import ray

class First(tune.Callback):
    def on_trial_result(self, **info):
        open(sys.argv[1], "a").write(f"{time.time()}\\n")

ray.init("local", num_cpus=2, _node_ip_address="127.0.0.1", log_to_driver=False)
tune.Tuner(
    tune.with_resources(as_tune(DigitsCNN), {"cpu": 1}),
    param_space={"learning_rate": tune.loguniform(1e-4, 1e-2)},
    tune_config=tune.TuneConfig(metric="validation/loss", mode="min", num_samples=2, reuse_actors=True),
    run_config=tune.RunConfig(stop={"training_iteration": 1}, storage_path=sys.argv[2], callbacks=[First()], verbose=0),
).fit()
"""


def suite(folder: Path) -> float:
    """Seconds from ``raytune run`` to the first report in its journal."""
    file = folder / "study.yaml"
    file.write_text(STUDY)
    command = [sys.executable, "-m", "raytune_suite", "run", str(file), "-q", "--set", f"storage={folder}"]
    started = time.time()
    _run([*command, "--set", "search=bayesian"], folder)
    events = map(json.loads, (folder / "start" / "journal.jsonl").read_text().splitlines())
    return float(next(event["time"] for event in events if event["event"] == "report")) - started


def bare(folder: Path) -> float:
    """Seconds from ``python`` to the first result that a callback sees."""
    script, first = folder / "bare.py", folder / "first"
    script.write_text(BARE)
    started = time.time()
    _run([sys.executable, str(script), str(first), str(folder)], folder)
    return float(first.read_text().splitlines()[0]) - started


def _run(command: list[str], folder: Path) -> None:
    env = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT), "RAYTUNE_DATA_DIR": str(folder.parent)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, check=False)
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    systems = {"bare Tuner": bare, "raytune run": suite}
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    top = Path(tempfile.mkdtemp(prefix="rs-", dir="/tmp"))
    try:
        for repeat in range(repeats):
            for name, measure in systems.items():
                folder = top / f"{repeat}{name[0]}"
                folder.mkdir()
                seconds[name].append(measure(folder))
    finally:
        shutil.rmtree(top, ignore_errors=True)
    base = statistics.median(seconds["bare Tuner"])
    print("| to the first report | seconds (min-max) | share of bare Tuner |\n|---|---|---|")
    for name, found in seconds.items():
        middle = statistics.median(found)
        print(f"| {name} | {middle:.1f} ({min(found):.1f}-{max(found):.1f}) | {middle / base:.2f}x |")


if __name__ == "__main__":
    main()
