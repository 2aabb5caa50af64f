"""How near forecasts of studies come to the studies, and how quickly they are made.

    python benchmarks/predictions.py [--studies digits tabular] [--search bayesian] [--runs 5] [--replications 20]
    python benchmarks/predictions.py --speed

A shortened study of ``studies/`` runs once, is foreseen from that experiment with ``raytune simulate``'s replications,
and then runs again with other seeds. Compared are the
iterations of all trials, and the wall-clock in which some trial trained, so without starting Ray and the workers.
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
    """What was foreseen, in replications, and what came, in runs."""

    foreseen: Sequence[float]
    came: Sequence[float]

    @property
    def error(self) -> float:
        """The median foreseen against the median run: 0.1 is a tenth too much."""
        return statistics.median(self.foreseen) / statistics.median(self.came) - 1

    @property
    def within(self) -> int:
        """So many runs lie within :data:`WITHIN` of the median foreseen."""
        middle = statistics.median(self.foreseen)
        return sum(abs(one / middle - 1) <= WITHIN for one in self.came)

    def row(self) -> str:
        """Foreseen with the interval of four fifths, the runs, the error and how many are near."""
        low, middle, high = np.quantile(self.foreseen, [0.1, 0.5, 0.9])
        runs = ", ".join(f"{one:.4g}" for one in self.came)
        return (
            f"{middle:.4g} ({low:.4g} to {high:.4g}) | {runs} | {statistics.median(self.came):.4g} "
            f"| {self.error:+.0%} | {self.within} of {len(self.came)}"
        )


def study(name: str, folder: str, label: str, **changes: Any) -> Study:
    """A study of ``studies/``, shortened and changed."""
    from raytune_suite import Study

    made = Study.load(ROOT / "studies" / f"{name}.yaml").model_dump(by_alias=True, exclude_unset=True)
    changes = {**SHORT[name], "name": label, "storage": folder, "resources": {"cpu": 1, "gpu": 0}, **changes}
    return Study.from_dict({**made, **changes}, project=ROOT)


def compare(name: str, folder: str, count: int, runs: int, **changes: Any) -> Iterator[tuple[str, Compared]]:
    """Run once, foresee, run again; yields the iterations and the wall-clock in seconds."""
    from raytune_suite import run
    from raytune_suite.foreseen import outcome
    from raytune_suite.simulate import replications

    record = run(study(name, folder, "recorded", seed=1000, **changes), verbosity=-1).experiment.record
    played = list(replications(study(name, folder, "foreseen", **changes), record, SLOTS, count, budget_s=600.0))
    came = []
    for seed in range(1, runs + 1):
        print(f"{name}: run {seed} of {runs}", file=sys.stderr)
        again = study(name, folder, f"run-{seed}", seed=seed, **changes)
        came.append(outcome(run(again, verbosity=-1).experiment.record))
    yield "iterations", Compared([one.epochs for one in played], [one["iterations"] for one in came])
    yield "wall-clock s", Compared([one.wall_s for one in played], [one["wall_s"] for one in came])


def predictions(names: Sequence[str], count: int, runs: int, search: str) -> None:
    """Print a table of what was foreseen against what came."""
    from raytune_suite import Session

    rows = []
    with tempfile.TemporaryDirectory(prefix="ry-", dir="/tmp") as folder, Session(num_cpus=SLOTS):
        for name in names:
            found = compare(name, f"{folder}/{name}", count, runs, search=search)
            rows += [f"| {name}, {kind} | {one.row()} |" for kind, one in found]
    print("| | foreseen | real runs | their median | error | within 20% |\n|---|---|---|---|---|---|")
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
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--replications", type=int, default=20)
    parser.add_argument("--speed", action="store_true")
    args = parser.parse_args()
    if args.speed:
        speed()
        return
    predictions(args.studies, args.replications, args.runs, args.search)


if __name__ == "__main__":
    main()
