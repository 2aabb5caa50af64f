"""What a long study costs its driver: memory, open files and journal for each 1,000 trials, and the time to resume.

    python tests/drills/soak.py [--trials 20000] [--reports 5] [--scheduler asha]

The whole driver without Ray: searcher, scheduler, journal on the disk, record, tally and TensorBoard's board, with
trials that do nothing. Ray's own part is not in it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
from test_restore import Session, study

from raytune_suite import schedulers, search
from raytune_suite.driver import Driver
from raytune_suite.journal import read
from raytune_suite.record import Record
from raytune_suite.replay import Nowhere
from raytune_suite.restore import restore
from raytune_suite.stoppers import Stoppers
from raytune_suite.tally import Tally
from raytune_suite.tensorboard import TensorBoardWriter


def main() -> None:
    """Run the study and print a row for each tenth of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--reports", type=int, default=5)
    parser.add_argument("--scheduler", default="fifo")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        soak(Path(name), given.trials, given.reports, given.scheduler)


def soak(folder: Path, trials: int, reports: int, scheduler: str) -> None:
    """Run a study in ``folder`` and print what it costs."""
    made = study(folder, scheduler=scheduler, num_trials=trials, max_iterations=reports, stop={"first_failures": 0})
    session = Session(made, folder / "soak", slots=4, fails={})
    record = Record(keep_reports=False)
    for event in read(folder / "soak"):
        record.apply(event)
    tally, board = Tally(record), TensorBoardWriter(folder / "soak", made)
    for listener in (record.apply, board.apply, tally.apply):
        session.journal.subscribe(listener)
    print("| trials | RSS MB | MB more per 1,000 trials | open files | journal MB |\n|---|---|---|---|---|", flush=True)
    me, step = psutil.Process(), max(trials // 10, 1)
    begun = before = me.memory_info().rss

    def watch(event: dict[str, object]) -> None:
        nonlocal before
        if event["event"] != "end" or (int(str(event["number"])) + 1) % step:
            return
        now, size = me.memory_info().rss, (folder / "soak" / "journal.jsonl").stat().st_size
        more = (now - before) / 1e6 / step * 1000
        row = (int(str(event["number"])) + 1, f"{now / 1e6:.0f}", f"{more:.2f}", me.num_fds(), f"{size / 1e6:.1f}")
        print(f"| {' | '.join(map(str, row))} |", flush=True)
        before = now

    session.journal.subscribe(watch)
    cpu = time.process_time()
    session.run(random.Random(0))
    board.close()
    cpu = time.process_time() - cpu
    grown = (me.memory_info().rss - begun) / 1e6 / trials * 1000
    started = time.process_time()
    driver = Driver(made, Nowhere(), search.build(made), schedulers.build(made), Stoppers(made), num_trials=trials)
    restore(driver, read(folder / "soak"))
    took = time.process_time() - started
    print(
        f"\n{trials:,} trials of {reports} reports under {scheduler}: {grown:.2f} MB per 1,000 trials, {cpu:.0f} s CPU;"
    )
    print(f"resuming lives through {session.journal.seq:,} events in {took:.1f} s CPU")


if __name__ == "__main__":
    main()
