"""Searchers under early stopping: whole studies in virtual time, looked up in recorded learning curves.

    python -m benchmarks.early_stopping [--tasks tabular digits bytes] [--arms random/stop bayesian/stop ...]
    python -m benchmarks.early_stopping --quick
    python -m benchmarks.early_stopping --report --results benchmarks/curves/results.jsonl.gz

Plays the arms (searcher/rule) that RESULTS does not hold yet, appends a line for each, and prints tables of what is
there. Every trial looks up one recorded configuration: nothing is interpolated (benchmarks/curves/data, made by
benchmarks/record_curves.py). The horizon is 100 mean whole trainings of workers' time in all; a study ends before it
with the best loss of its table, after which nothing can be learnt of it. Searchers: random, tpe-*
(Optuna, four ways of telling it of early stops: benchmarks/curves/tpe.py) and bayesian (with ``--options``, told apart
by ``--label``: bayesian@label). Rules: none; stop (as Ray's ASHA) and promotion (as in the paper), both with
rungs at 1, 3 and 9, from which a third goes on; halves (promotion from 1, 2, 4, 8 and 16, from which half do: what the
suite does by that rule). Scores: see benchmarks/curves/scores.py.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.curves import report, results
from benchmarks.curves.play import Play
from benchmarks.curves.results import Case
from benchmarks.curves.rules import RULES
from benchmarks.curves.searchers import NAMES, make
from benchmarks.curves.table import DATA, Table

TASKS = ("tabular", "digits", "bytes")
# last and pruned tell of a trial when it stops or completes: under promotion most trials do neither
ARMS = [
    "random/none",
    "random/stop",
    "random/promotion",
    *(f"tpe-{telling}/stop" for telling in ("last", "pruned", "first", "rungs")),
    *(f"tpe-{telling}/promotion" for telling in ("first", "rungs")),
    "random/halves",
    *(f"tpe-{telling}/halves" for telling in ("first", "rungs")),
    *(f"bayesian/{rule}" for rule in ("stop", "promotion", "halves")),
]
TRAININGS = 100
"""The horizon, in mean whole trainings of all workers together."""


def play(table: Table, case: Case, options: dict[str, Any], path: Path) -> None:
    """Play one case and write it down."""
    searcher, rule = case.arm.split("/")
    horizon = TRAININGS * table.whole / case.workers
    started = time.perf_counter()
    made = make(searcher.split("@")[0], table, case.seed, options)
    trace = Play(table, made, RULES[rule](table.iterations), case.workers, horizon, until_best=True).run()
    facts = {"took": round(time.perf_counter() - started, 2), "options": options}
    results.write(path, case, trace, horizon, facts)


def labelled(arm: str, label: str | None) -> str:
    """The arm with the label on its searcher, if it is the one that takes options."""
    searcher, rule = arm.split("/")
    if searcher not in NAMES or rule not in RULES:
        raise SystemExit(f"no arm {arm}: searchers are {', '.join(NAMES)}; rules are {', '.join(RULES)}")
    return f"{searcher}@{label}/{rule}" if label and searcher == "bayesian" else arm


def run(args: argparse.Namespace) -> None:
    """Everything that is asked for and not there yet, seed by seed: a stop at any time leaves whole comparisons."""
    done = {result.case for result in results.read(args.results)}
    tables = {task: Table.load(task, args.data) for task in args.tasks}
    arms = [labelled(arm, args.label) for arm in args.arms]
    for seed, task, workers, arm in product(args.seeds, args.tasks, args.workers, arms):
        case = Case(task, workers, arm, seed)
        if case not in done:
            play(tables[task], case, args.options if arm.startswith("bayesian") else {}, args.results)
            print(f"{task}, {workers} workers, {arm}, seed {seed}", file=sys.stderr, flush=True)


def seeds(text: str) -> range:
    """``20``: seeds 0 to 19; ``5:20``: seeds 5 to 19."""
    first, _, last = text.rpartition(":")
    return range(int(first or 0), int(last))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--arms", nargs="+", default=ARMS)
    parser.add_argument("--seeds", type=seeds, default=range(20), metavar="N or FIRST:END")
    parser.add_argument("--workers", type=int, nargs="+", default=[8])
    parser.add_argument("--options", type=json.loads, default={}, help="of the Bayesian searcher, JSON")
    parser.add_argument("--label", help="name of these options in the results")
    parser.add_argument("--results", type=Path, default=Path("early_stopping.jsonl"))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument(
        "--share", type=float, help="time to what this share of a table reaches, not random/stop's median"
    )
    parser.add_argument("--quick", action="store_true", help="one task, three seeds, three arms")
    parser.add_argument("--report", action="store_true", help="play nothing, print what is there")
    args = parser.parse_args()
    if args.quick:
        args.tasks, args.seeds = args.tasks[:1], range(3)
        args.arms = ["random/stop", "tpe-first/stop", "bayesian/stop"]
    if not args.report:
        run(args)
    report.show(list(results.read(args.results)), args.tasks, args.workers, args.data, args.share)


if __name__ == "__main__":
    main()
