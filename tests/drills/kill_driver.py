"""Kill the driver of a study with SIGKILL at random moments, resume it each time, and count what was lost.

    python tests/drills/kill_driver.py [--kills 30] [--trials 60] [--seed 0] [--engine pool] [SEARCH/SCHEDULER/SLOTS]

Each case is a study of short trials, as ``random/asha/1``. Most kills fall while it trains, each fifth while it starts.
One row a case: finished trials that were lost or ran again, and, for one slot, whether suggestions, curves and
decisions equal those of a study that was left alone.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from raytune_suite.journal import read
from raytune_suite.opening import study_of
from raytune_suite.record import Record, fold
from raytune_suite.replay import replay

CASES = (
    *("random/asha/1", "bayesian/asha/1", "bayesian/asha/2"),
    *("random/median/2", "random/hyperband/2", "random/pbt/2"),
)
OPTIONS = {"asha": "{name: asha, reduction_factor: 3}", "pbt": "{name: pbt, perturbation_interval: 3}"}
STUDY = """
trainable: toys:Quadratic
metric: validation/loss
num_trials: {trials}
max_iterations: 9
space: {{x: {{uniform: [0, 1]}}, sleep: {seconds}}}
search: {search}
scheduler: {scheduler}
max_concurrent: {slots}
resources: {{cpu: 1, gpu: 0}}
name: drill
storage: .
"""


def drill(case: str, kills: int, trials: int, seed: int, engine: str) -> list[str]:
    """Run one case; returns its row of the table."""
    search, scheduler, slots = case.split("/")
    rng, lost, repeated, done = random.Random(seed), 0, 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "toys.py").write_text((Path(__file__).parents[1] / "cluster" / "toys.py").read_text())
        named = OPTIONS.get(scheduler, scheduler)
        options = {"trials": trials, "search": search, "scheduler": named, "slots": slots}
        (folder / "study.yaml").write_text(STUDY.format(**options, seconds=0.1 * int(slots)))
        while done < kills and not over(folder / "drill"):
            before = finished(folder / "drill")
            begun = bool(count_of(folder / "drill", "session"))
            early = rng.uniform(0.0, 6.0) if begun and done % 5 == 4 else None
            session(folder, "drill", engine, kill_after=rng.uniform(0.0, 0.8), or_after=early)
            lost, repeated = count(before, folder / "drill", lost, repeated)
            done += 1
        before = finished(folder / "drill")
        if not over(folder / "drill"):
            session(folder, "drill", engine)
        lost, repeated = count(before, folder / "drill", lost, repeated)
        ended = len(finished(folder / "drill"))
        derived = replay(folder / "drill", study_of(folder / "drill", {}, folder)).lines()[0].partition(":")[0]
        same = "-"
        if slots == "1":
            session(folder, "alone", engine)
            same = "yes" if outcome(folder / "alone") == outcome(folder / "drill") else "NO"
    return [case, str(done), f"{ended}/{trials}", str(lost), str(repeated), same, derived]


def session(
    folder: Path, name: str, engine: str, kill_after: float | None = None, or_after: float | None = None
) -> None:
    """One driver: the first runs the study, others resume it; killed so long after its first report, or its start."""
    begun = (folder / name / "journal.jsonl").exists()
    words = ["resume", name] if begun else ["run", "study.yaml", "--name", name]
    log = (folder / "log").open("a")
    reports = count_of(folder / name, "report")
    driver = subprocess.Popen(
        [sys.executable, "-m", "raytune_suite", *words, "--engine", engine, "-q"],
        cwd=folder,
        stdout=log,
        stderr=log,
        env={**os.environ, "RAYTUNE_NUM_CPUS": "2"},
    )
    if kill_after is not None:
        while or_after is None and driver.poll() is None and count_of(folder / name, "report") == reports:
            time.sleep(0.05)
        time.sleep(kill_after if or_after is None else or_after)
        driver.kill()
    if driver.wait() not in (0, -9):
        sys.exit((folder / "log").read_text()[-3000:])


def count_of(folder: Path, kind: str) -> int:
    """How many events of a kind the journal has."""
    return sum(event["event"] == kind for event in read(folder)) if (folder / "journal.jsonl").exists() else 0


def record(folder: Path) -> Record:
    """What the journal says, nothing if there is none."""
    return fold(read(folder)) if (folder / "journal.jsonl").exists() else Record()


def over(folder: Path) -> bool:
    """Whether the study has come to its end."""
    return (record(folder).closed or {}).get("state") == "finished"


def finished(folder: Path) -> dict[int, tuple[Any, ...]]:
    """The trials that have ended, and how."""
    trials = record(folder).trials.values()
    return {t.number: (t.state, t.value, t.iteration, len(t.runs)) for t in trials if t.state.ended}


def count(before: dict[int, tuple[Any, ...]], folder: Path, lost: int, repeated: int) -> tuple[int, int]:
    """Add those of ``before`` that are no longer as they were, and those that were started again."""
    after = finished(folder)
    gone = sum(after.get(number, ())[:3] != how[:3] for number, how in before.items())
    again = sum(number in after and after[number][3] != how[3] for number, how in before.items())
    return lost + gone, repeated + again


def outcome(folder: Path) -> list[Any]:
    """Suggestions, curves and decisions, without times."""
    trials = record(folder).trials.values()
    curves = [(t.number, t.point, t.state, [(r.iteration, r.metrics) for r in t.reports]) for t in trials]
    kinds = ("number", "iteration", "action", "by", "reason")
    return [curves, [[e[k] for k in kinds] for e in read(folder) if e["event"] == "decision"]]


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("pool", "tune"), default="pool")
    given = parser.parse_args()
    print("| study | kills | ended | lost | repeated | as if left alone | replay |\n|---|---|---|---|---|---|---|")
    for case in given.cases:
        print(f"| {' | '.join(drill(case, given.kills, given.trials, given.seed, given.engine))} |", flush=True)


if __name__ == "__main__":
    main()
