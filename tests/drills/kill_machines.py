"""Kill workers, a node of a cluster, and the whole head, in the middle of a study; then count what was lost.

    python tests/drills/kill_machines.py [--trials 12] [--engine pool] [worker] [node] [head]

worker: SIGKILL for a worker every few seconds, with retries for failures. node: three raylets on this machine, one of
them killed with its workers in the middle of a trial, which goes on elsewhere and counts as preempted. head: driver,
Ray and the local folder are gone; a server that speaks S3 (moto) has the copy, and another driver goes on from there.

"went on" has, for each trial that was cut off, the iteration of the checkpoint it went on from and how many iterations
had been reported by then; 0 is its beginning. Curves without a gap or an iteration twice are whole.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from raytune_suite.journal import read
from raytune_suite.record import Record, Run, TrialRecord, fold

STUDY = """
trainable: toys:Quadratic
metric: validation/loss
num_trials: {trials}
max_iterations: 9
space: {{x: {{uniform: [0, 1]}}, sleep: 0.3}}
search: random
retries: {{failed: 100}}
resources: {{cpu: 1, gpu: 0}}
name: drill
storage: {storage}
"""
LOOPBACK = """
import sys
from ray._private import services
services.get_node_ip_address = lambda *_, **__: "127.0.0.1"
from raytune_suite.cli import main
sys.exit(main(sys.argv[1:]))
"""
Row = list[str]
Driver = subprocess.Popen[bytes]


class Project:
    """A folder with toys and a study, and the driver that runs it."""

    def __init__(
        self, folder: Path, trials: int, engine: str, storage: str = "./experiments", **environment: str
    ) -> None:
        self.folder, self.trials, self.engine = folder, trials, engine
        folder.mkdir(parents=True)
        (folder / "toys.py").write_text((Path(__file__).parents[1] / "cluster" / "toys.py").read_text())
        (folder / "study.yaml").write_text(STUDY.format(trials=trials, storage=storage))
        self.environment = {**os.environ, "RAYTUNE_NUM_CPUS": "2", **environment}
        self.experiment = folder / "experiments" / "drill"

    def start(self, *words: str, loopback: bool = False) -> Driver:
        """Start a command of raytune's; ``loopback``: to join one on 127.0.0.1."""
        program = ["-c", LOOPBACK] if loopback else ["-m", "raytune_suite"]
        command = [sys.executable, *program, *words, "--engine", self.engine, "-q"]
        log = (self.folder / "log").open("ab")
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)

    def record(self) -> Record:
        """What the journal says so far."""
        return fold(read(self.experiment)) if (self.experiment / "journal.jsonl").exists() else Record()

    def until(
        self, condition: Callable[[Record], object], driver: subprocess.Popen[bytes], patience: float = 300
    ) -> None:
        """Wait for something in the record."""
        end = time.monotonic() + patience
        while not condition(self.record()) and driver.poll() is None and time.monotonic() < end:
            time.sleep(0.2)

    def row(self, what: str, kills: int, before: Record, code: int, until: float = math.inf) -> Row:
        """A row of the table: what was lost of what had ended by ``until``, what ran again, how trials went on."""
        after = self.record()
        ended = {n: t for n, t in before.trials.items() if t.state.ended and (t.ended_at or 0) <= until}
        lost = sum((after.trials[n].state, after.trials[n].value) != (t.state, t.value) for n, t in ended.items())
        again = sum(len(after.trials[n].runs) != len(t.runs) for n, t in ended.items())
        whole = sum([r.iteration for r in t.reports] == list(range(1, 10)) for t in after.trials.values())
        retried = [e for e in read(self.experiment) if e["event"] == "retry"]
        retries = [f"{e['state']} ({(e.get('error') or {}).get('type')})" for e in retried]
        went_on = [(t, run) for t in after.trials.values() for run in t.runs[1:]]
        places = [f"{run.restored or 0} of {_reported(t, run)}" for t, run in went_on]
        counted = ", ".join(f"{retries.count(why)} {why}" for why in sorted(set(retries))) or "none"
        done = f"{sum(t.state.ended for t in after.trials.values())}/{self.trials}"
        return [
            what,
            str(kills),
            done,
            str(lost),
            str(again),
            f"{whole} whole curves",
            counted,
            ", ".join(places) or "none",
            str(code),
        ]


def _reported(trial: TrialRecord, run: Run) -> int:
    """How far the trial had come when this stay on a worker began."""
    return max((report.iteration for report in trial.reports if report.time < run.started), default=0)


def worker(folder: Path, trials: int, engine: str) -> Row:
    """Kill a worker every few seconds."""
    project, kills = Project(folder / "worker", trials, engine), 0
    driver = project.start("run", "study.yaml")
    while driver.poll() is None and kills < 5:
        reports = sum(len(t.reports) for t in project.record().trials.values())
        project.until(lambda record, n=reports: sum(len(t.reports) for t in record.trials.values()) > n + 8, driver)
        running = [t.runs[-1].pid for t in project.record().trials.values() if t.state == "running" and t.runs]
        before = project.record()
        for pid in filter(None, running[:1]):
            os.kill(pid, signal.SIGKILL)
            kills += 1
    return project.row("worker", kills, before, driver.wait())


def node(folder: Path, trials: int, engine: str) -> Row:
    """Kill one of three raylets and its workers, while it is in the middle of a trial."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_AUTH_MODE"] = "disabled"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "node_ip_address": "127.0.0.1"})
    nodes = [cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1") for _ in range(3)]
    try:
        project = Project(folder / "node", trials, engine, RAY_AUTH_MODE="disabled")
        driver = project.start("run", "study.yaml", "--address", cluster.address, loopback=True)
        project.until(lambda record: any(_in_the_middle(t) for t in record.trials.values()), driver)
        before = project.record()
        where = next(t.node for t in before.trials.values() if _in_the_middle(t))
        raylet = next(node for node in nodes if node.node_id == where).all_processes["raylet"][0].process.pid
        for process in [psutil.Process(raylet), *psutil.Process(raylet).children(recursive=True)]:
            process.kill()
        return project.row("node", 1, before, driver.wait())
    finally:
        cluster.shutdown()


def _in_the_middle(trial: TrialRecord) -> bool:
    return trial.state == "running" and trial.iteration in (4, 5)


def head(folder: Path, trials: int, engine: str) -> Row:
    """Kill driver and Ray, lose the folder, and go on from S3 on another machine."""
    server = subprocess.Popen(
        [sys.executable, "-c", "from moto.server import main; main(['-H', '127.0.0.1', '-p', '5999'])"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    keys = {"AWS_ACCESS_KEY_ID": "drill", "AWS_SECRET_ACCESS_KEY": "drill"}
    query = "endpoint_override=127.0.0.1:5999&scheme=http&region=us-east-1"
    try:
        _bucket(query, keys)
        project = Project(folder / "head", trials, engine, f"s3://bucket/runs?{query}", **keys)
        driver = project.start("run", "study.yaml")
        project.until(lambda record: sum(t.state.ended for t in record.trials.values()) >= trials // 2, driver)
        time.sleep(6)
        killed = time.time()
        for process in [*psutil.Process(driver.pid).children(recursive=True), psutil.Process(driver.pid)]:
            process.kill()
        driver.wait()
        before = project.record()
        project.experiment.rename(folder / "lost")
        other = Project(folder / "other", trials, engine, f"s3://bucket/runs?{query}", **keys)
        code = other.start("resume", f"s3://bucket/runs/drill?{query}", "--project", ".").wait()
        row = other.row("head (what ended 5 s before)", 1, before, code, until=killed - 5)
        return [*row[:-1], f"{row[-1]}; the copy was {_behind(folder / 'lost', other.experiment, killed):.1f} s behind"]
    finally:
        server.kill()
        server.wait()


def _behind(lost: Path, found: Path, killed: float) -> float:
    """How long before the kill the first event was written that was not in the copy; 0 if all were."""
    there = next((event["seq"] - 1 for event in read(found) if event["event"] == "session" and event["seq"] > 2), 0)
    missing = [event["time"] for event in read(lost) if event["seq"] > max(there, 1)]
    return max(0.0, killed - min(missing, default=killed))


def _bucket(query: str, keys: dict[str, Any]) -> None:
    from raytune_suite.remote import Remote

    os.environ.update(keys)
    for _ in range(100):
        try:
            Remote(f"s3://bucket?{query}&allow_bucket_creation=true")._place[0].create_dir("bucket")
        except OSError:
            time.sleep(0.2)
        else:
            return


CASES: dict[str, Callable[[Path, int, str], Row]] = {"worker": worker, "node": node, "head": head}


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--engine", choices=("pool", "tune"), default="pool")
    given = parser.parse_args()
    columns = ("killed", "kills", "ended", "lost", "repeated", "curves", "retries", "went on", "exit code")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for case in given.cases:
        with tempfile.TemporaryDirectory(prefix="rt-", dir="/tmp") as name:
            print(f"| {' | '.join(CASES[case](Path(name), given.trials, given.engine))} |", flush=True)


if __name__ == "__main__":
    main()
