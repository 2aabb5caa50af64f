"""What a long study costs its driver: memory, open files and disk for each 1,000 trials, and the time to resume.

    python tests/drills/soak.py [--trials 20000] [--reports 5] [pool] [bare] [alone]

Each in a process of its own, with trials that do nothing, two at a time. pool: the suite on Ray with its own workers,
journal and TensorBoard on. bare: Ray Tune alone with the settings that are fastest for it, at a tenth of the trials.
alone: the suite's driver without Ray (searcher, scheduler, journal, record, tally, TensorBoard's board).

"more" is what a driver has grown by for each 1,000 trials since the first tenth of them had ended.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "benchmarks")]

import psutil  # noqa: E402

COLUMNS = ("driver", "trials x reports", "MB at first", "MB more per 1,000", "files at first", "files at the end")
COLUMNS += ("disk MB per 1,000", "trials/s", "seconds to resume")
Row = dict[str, float]


class Watch:
    """Looks at this process each time a tenth of the trials has ended."""

    def __init__(self, trials: int, ended: Callable[[], int]) -> None:
        self._trials, self._ended, self._over = trials, ended, threading.Event()
        self.seen: list[tuple[int, int, int]] = []
        self.began = time.perf_counter()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        me, step = psutil.Process(), max(self._trials // 10, 1)
        while not self._over.wait(0.2):
            done = self._ended()
            if done >= step * (len(self.seen) + 1):
                self.seen.append((done, me.memory_info().rss, me.num_fds()))

    def row(self, folder: Path) -> Row:
        """What it cost."""
        took = time.perf_counter() - self.began
        self._over.set()
        self._thread.join()
        me = psutil.Process()
        (first, memory, files), last = self.seen[0], (self._trials, me.memory_info().rss, me.num_fds())
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        return {
            "memory": memory / 1e6,
            "more": (last[1] - memory) / 1e6 / max(last[0] - first, 1) * 1000,
            "files": files,
            "files_last": max(seen[2] for seen in [*self.seen, last]),
            "disk": size / 1e6 / self._trials * 1000,
            "speed": self._trials / took,
        }


def pool(folder: Path, trials: int, reports: int) -> Row:
    """The suite on Ray."""
    from raytune_suite import Study, run

    fields = {"name": "soak", "trainable": "noop:SuiteNoop", "metric": "loss", "space": {"x": {"uniform": [0, 1]}}}
    limits = {"num_trials": trials, "max_iterations": reports, "max_concurrent": 2, "search": "random"}
    made = Study.from_dict(
        {**fields, **limits, "checkpoint": {"every": 0}, "storage": str(folder)}, project=HERE.parents[1] / "benchmarks"
    )
    watch = Watch(trials, _ends(folder / "soak" / "journal.jsonl"))
    run(made, verbosity=-1, engine="pool", num_cpus=2, num_gpus=0)
    return {**watch.row(folder / "soak"), "resume": _restored(made, folder / "soak")}


def _ends(journal: Path) -> Callable[[], int]:
    """Count the trials that have ended, reading on from where the last count stopped."""
    place = [0, 0]

    def count() -> int:
        if journal.is_file():
            with journal.open("rb") as file:
                file.seek(place[0])
                place[1] += sum(b'"event":"end"' in line for line in file)
                place[0] = file.tell()
        return place[1]

    return count


def _restored(made: Any, folder: Path) -> float:
    """Seconds in which a driver that resumes has lived through the journal."""
    from raytune_suite import schedulers, search
    from raytune_suite.driver import Driver
    from raytune_suite.journal import read
    from raytune_suite.replay import Nowhere
    from raytune_suite.restore import restore
    from raytune_suite.stoppers import Stoppers

    began = time.perf_counter()
    driver = Driver(
        made, Nowhere(), search.build(made), schedulers.build(made), Stoppers(made), num_trials=made.num_trials
    )
    restore(driver, read(folder))
    return time.perf_counter() - began


def bare(folder: Path, trials: int, reports: int) -> Row:
    """Ray Tune alone; resuming is what ``Tuner.restore(...).fit()`` takes when nothing is left to train."""
    from overhead import BEST_SETTINGS, _init
    from ray import tune

    os.environ.update(BEST_SETTINGS)
    _init(str(folder))
    from noop import BareNoop

    ended = [0]

    class Count(tune.Callback):
        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            ended[0] += 1

    config = tune.TuneConfig(metric="loss", mode="min", num_samples=trials, reuse_actors=True)
    kept = tune.CheckpointConfig(checkpoint_at_end=False)
    stop = {"training_iteration": reports}
    named = {"storage_path": str(folder), "name": "bare", "verbose": 0}
    how = tune.RunConfig(stop=stop, checkpoint_config=kept, callbacks=[Count()], **named)
    watch = Watch(trials, lambda: ended[0])
    trainable = tune.with_resources(BareNoop, {"cpu": 1})
    tune.Tuner(trainable, param_space={"x": tune.uniform(0, 1)}, tune_config=config, run_config=how).fit()
    row = watch.row(folder / "bare")
    began = time.perf_counter()
    tune.Tuner.restore(str(folder / "bare"), trainable).fit()
    return {**row, "resume": time.perf_counter() - began}


def alone(folder: Path, trials: int, reports: int) -> Row:
    """The suite's driver without Ray, under fifo."""
    from test_restore import Session, study

    from raytune_suite.journal import read
    from raytune_suite.record import Record
    from raytune_suite.tally import Tally
    from raytune_suite.tensorboard import TensorBoardWriter

    made = study(folder, num_trials=trials, max_iterations=reports, stop={"first_failures": 0})
    session = Session(made, folder / "soak", slots=4, fails={})
    record = Record(keep_reports=False)
    for event in read(folder / "soak"):
        record.apply(event)
    board = TensorBoardWriter(folder / "soak", made)
    for listener in (record.apply, board.apply, Tally(record).apply):
        session.journal.subscribe(listener)
    ended = [0]
    session.journal.subscribe(lambda event: ended.__setitem__(0, ended[0] + (event["event"] == "end")))
    watch = Watch(trials, lambda: ended[0])
    session.run(random.Random(0))
    board.close()
    return {**watch.row(folder / "soak"), "resume": _restored(made, folder / "soak")}


DRIVERS: dict[str, Callable[[Path, int, int], Row]] = {"pool": pool, "bare": bare, "alone": alone}
SHARES = {"pool": 1, "bare": 10, "alone": 1}


def child(name: str, trials: int, reports: int) -> Row:
    """Run one of them in a process of its own."""
    paths = os.pathsep.join([*sys.path[:2], os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    environment |= {"RAY_AUTH_MODE": "disabled"} if name == "bare" else {}
    command = [sys.executable, __file__, "--one", name, str(trials), str(reports)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-4000:]}")
    found: Row = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    """Run them and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drivers", nargs="*", default=list(DRIVERS))
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--reports", type=int, default=5)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        name, trials, reports = given.one
        with tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp", ignore_cleanup_errors=True) as folder:
            print(json.dumps(DRIVERS[name](Path(folder), int(trials), int(reports))))
        return
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for name in given.drivers:
        trials = max(given.trials // SHARES[name], 20)
        row = child(name, trials, given.reports)
        shown = [f"{row[key]:.{digits}f}" for key, digits in FORMATS.items()]
        print(f"| {name} | {trials:,} x {given.reports} | {' | '.join(shown)} |", flush=True)


FORMATS = {"memory": 0, "more": 2, "files": 0, "files_last": 0, "disk": 2, "speed": 0, "resume": 1}


if __name__ == "__main__":
    main()
