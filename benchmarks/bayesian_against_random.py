"""Bayesian search against random search at equal budget, on real studies: validation loss of the best trial.

    python benchmarks/bayesian_against_random.py FOLDER [--studies FILE ...] [--seeds 5] [--set KEY=VALUE]

Runs each study with both searchers and every seed for real, in one Ray session: the same number of trials, the same
scheduler, the same default configuration as trial 0. The pairs share their seed. Prints a table in Markdown; intervals
are 95 % bootstrap intervals of the mean over pairs. Experiments stay in FOLDER; started again on it, it goes on.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raytune_suite import Experiment, Study, load, ray_runtime, run
from raytune_suite.cli.overrides import load as load_study

SEARCHERS = ("random", "bayesian")


@dataclass(frozen=True)
class Outcome:
    """Best validation loss of a run, and what it cost: iterations over all trials."""

    best: float
    iterations: int


def outcome(experiment: Experiment) -> Outcome:
    """What a finished experiment came to."""
    trials = experiment.record.trials.values()
    return Outcome(float(experiment.value(experiment.best()) or 0.0), sum(trial.iteration for trial in trials))


def one(path: Path, searcher: str, seed: int, args: argparse.Namespace) -> Outcome:
    """The outcome of one run: read if it lies in the folder, else made."""
    storage = args.folder.resolve()
    folder = storage / f"{path.stem}-{searcher}-{seed}"
    if folder.exists():
        experiment = load(folder)
        if experiment.status == "finished":
            return outcome(experiment)
        shutil.rmtree(folder)
    changes = [*args.set, f"seed={seed}", f"name={folder.name}", f"storage={storage}", "checkpoint.every=0"]
    if Study.load(path).search.name != searcher:  # a study that names the searcher keeps its options
        changes.append(f"search={searcher}")
    study = load_study(path, {}, changes)
    return outcome(run(study, verbosity=-1, num_cpus=args.cpus, num_gpus=0).experiment)


def interval(differences: np.ndarray) -> tuple[float, float]:
    """A 95 % bootstrap interval of the mean."""
    means = np.random.default_rng(0).choice(differences, size=(10_000, len(differences))).mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def row(name: str, pairs: Iterable[tuple[Outcome, Outcome]]) -> str:
    """One line of the table: losses, how much lower (of the ratio's log, so that pairs count alike), costs."""
    random, bayesian = zip(*pairs, strict=True)
    losses = np.array([[found.best for found in side] for side in (random, bayesian)])
    costs = np.array([[found.iterations for found in side] for side in (random, bayesian)])
    ratio = np.log(losses[1] / losses[0])
    low, high = interval(ratio)
    share = [100.0 * (1.0 - np.exp(x)) for x in (ratio.mean(), high, low)]
    means, work = losses.mean(1), costs.mean(1)
    wins = f"{int((ratio < 0).sum())} of {len(ratio)}"
    lower = f"{share[0]:.0f}% ({share[1]:.0f} to {share[2]:.0f})"
    return f"| {name} | {means[0]:.4f} | {means[1]:.4f} | {lower} | {wins} | {work[0]:.0f} / {work[1]:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--studies", type=Path, nargs="+", default=[Path("studies/tabular.yaml"), Path("studies/bytes.yaml")]
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--searchers", nargs="+", choices=SEARCHERS, default=SEARCHERS, help="only run these now")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the studies")
    parser.add_argument("--cpus", type=float, default=2, help="trials at a time")
    args = parser.parse_args()
    with ray_runtime.environment(), ray_runtime.connected(None, 0, args.cpus, 0):
        found = {
            (path, seed, name): one(path, name, seed, args)
            for seed in range(args.seeds)
            for path in args.studies
            for name in args.searchers
        }
    if len(args.searchers) < len(SEARCHERS):
        return
    print("| study | random | Bayesian | lower by | better in | iterations |\n|---|---|---|---|---|---|")
    for path in args.studies:
        pairs = [(found[path, seed, "random"], found[path, seed, "bayesian"]) for seed in range(args.seeds)]
        print(row(path.stem, pairs))


if __name__ == "__main__":
    main()
