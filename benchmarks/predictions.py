"""How near forecasts of studies come to the studies, and how quickly they are made.

    python benchmarks/predictions.py [--studies digits tabular] [--search bayesian] [--runs 6] [--replications 20]
    python benchmarks/predictions.py --speed

A shortened study of ``studies/`` runs several times with different seeds. From each run the study is foreseen with
``raytune simulate``'s replications, and compared with the median of the other runs: the iterations of all trials, and
the wall-clock in which some trial trained, so without starting Ray and the workers. The last column says how far the
runs themselves lie from the median of the others: no forecast from one of them can be much nearer than that.
``--speed``: replications of 1,000 trials under ASHA, random and Bayesian, after made-up curves.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

if TYPE_CHECKING:
    from raytune_suite import Study
    from raytune_suite.record import Record

SLOTS, WITHIN, LONG = 2, 0.2, 1000
SHORT: dict[str, dict[str, Any]] = {
    "digits": {"num_trials": 30, "max_iterations": 9},
    "tabular": {"num_trials": 40, "max_iterations": 27},
}
"""How the studies are shortened, to half a minute or less on two quiet cores."""


@dataclass(frozen=True)
class Compared:
    """What was foreseen from each of some runs, and what came in each."""

    foreseen: Sequence[float]
    came: Sequence[float]

    def errors(self, of: Sequence[float]) -> list[float]:
        """Each of ``of`` against the median of the runs but the one of its own: 0.1 is a tenth too much."""
        others = [[*self.came[:own], *self.came[own + 1 :]] for own in range(len(self.came))]
        return [one / statistics.median(rest) - 1 for one, rest in zip(of, others, strict=True)]

    def row(self) -> str:
        """What came, what was foreseen, its errors, how many are small, and the runs' own."""
        errors, own = self.errors(self.foreseen), self.errors(self.came)
        near = sum(abs(error) <= WITHIN for error in errors)
        cells = (
            ", ".join(f"{one:.3g}" for one in self.came),
            ", ".join(f"{one:.3g}" for one in self.foreseen),
            f"{statistics.fmean(errors):+.0%}",
            f"{statistics.median(map(abs, errors)):.0%}",
            f"{near} of {len(errors)}",
            f"{statistics.median(map(abs, own)):.0%}",
        )
        return " | ".join(cells)


def study(name: str, folder: str, label: str, **changes: Any) -> Study:
    """A study of ``studies/``, shortened and changed."""
    from raytune_suite import Study

    made = Study.load(ROOT / "studies" / f"{name}.yaml").model_dump(by_alias=True, exclude_unset=True)
    changes = {**SHORT[name], "name": label, "storage": folder, "resources": {"cpu": 1, "gpu": 0}, **changes}
    return Study.from_dict({**made, **changes}, project=ROOT)


def compare(name: str, folder: str, count: int, runs: int, **changes: Any) -> Iterator[tuple[str, Compared]]:
    """Run, and foresee from each run; yields the iterations and the wall-clock in seconds."""
    from raytune_suite import run
    from raytune_suite.foreseen import outcome
    from raytune_suite.simulate import replications

    came, played = [], []
    run(study(name, folder, "warm", num_trials=2 * SLOTS, **changes), verbosity=-1)  # processes load libraries
    for seed in range(1, runs + 1):
        print(f"{name}: run {seed} of {runs}", file=sys.stderr)
        record = run(study(name, folder, f"run-{seed}", seed=seed, **changes), verbosity=-1).experiment.record
        again = study(name, folder, "foreseen", seed=1000 * seed, **changes)
        played.append(list(replications(again, record, SLOTS, count, budget_s=600.0)))
        came.append(outcome(record))
    epochs = [statistics.median(one.epochs for one in found) for found in played]
    seconds = [statistics.median(one.wall_s for one in found) for found in played]
    yield "iterations", Compared(epochs, [one["iterations"] for one in came])
    yield "wall-clock s", Compared(seconds, [one["wall_s"] for one in came])


def predictions(names: Sequence[str], count: int, runs: int, search: str) -> None:
    """Print a table of what was foreseen against what came."""
    from raytune_suite import Session

    rows = []
    with tempfile.TemporaryDirectory(prefix="ry-", dir="/tmp") as folder, Session(num_cpus=SLOTS):
        for name in names:
            found = compare(name, f"{folder}/{name}", count, runs, search=search)
            rows += [f"| {name}, {kind} | {one.row()} |" for kind, one in found]
    print("| | real runs | foreseen from each | mean error | median of its size | within 20% | runs' own |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))


def made_up(curves: int, length: int) -> Record:
    """A recorded experiment of tabular MLPs that fall the quicker the nearer their learning rate is to 0.01."""
    from raytune_suite.record import Record, Report

    record, space = Record(), study("tabular", "/nowhere", "made up").search_space
    rng = np.random.default_rng(0)
    record.apply({"event": "experiment", "name": "made up", "metric": "validation/loss", "mode": "min"})
    for number in range(curves):
        point = space.sample(rng)
        off = abs(np.log10(point["learning_rate"]) + 2)
        trial = {"number": number, "trial_id": f"{number:05d}", "config": space.config(point), "point": point}
        record.apply({"event": "trial", **trial})
        losses = [0.1 * off + (1 + off) / i for i in range(1, length + 1)]
        record.trials[number].reports = [
            Report(i, {"validation/loss": loss}, 0.0, 0.2 * i) for i, loss in enumerate(losses, start=1)
        ]
    return record


def speed(repeats: int = 3) -> None:
    """Print how long replications of 1,000 trials take."""
    from raytune_suite.simulate import replications

    record = made_up(50, 27)
    print("| replication of 1,000 trials, ASHA | s (min-max) | trials/s | iterations |\n|---|---|---|---|")
    for search in ("random", "bayesian"):
        one = study("tabular", "/nowhere", "played", search=search, num_trials=LONG)
        seconds = []
        for _ in range(repeats):
            begun = time.perf_counter()
            (played,) = replications(one, record, SLOTS, 1, budget_s=600.0)
            seconds.append(time.perf_counter() - begun)
        middle = statistics.median(seconds)
        span = f"{middle:.1f} ({min(seconds):.1f}-{max(seconds):.1f})"
        print(f"| {search} | {span} | {played.trials / middle:.0f} | {played.epochs} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--studies", nargs="*", default=list(SHORT))
    parser.add_argument("--search", default="bayesian")
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--replications", type=int, default=20)
    parser.add_argument("--speed", action="store_true")
    args = parser.parse_args()
    if args.speed:
        speed()
        return
    predictions(args.studies, args.replications, args.runs, args.search)


if __name__ == "__main__":
    main()
