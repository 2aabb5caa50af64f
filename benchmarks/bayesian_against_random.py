"""Bayesian search against random search at equal budget, on real studies: validation loss of the best trial.

    python benchmarks/bayesian_against_random.py FOLDER [--studies FILE ...] [--seeds 5] [--set KEY=VALUE]

Runs each study with both searchers and every seed for real, in one Ray session: the same number of trials, the same
scheduler, the same default configuration as trial 0. The pairs share their seed. Prints a table in Markdown; intervals
are 95 % bootstrap intervals of the mean over pairs. Better configurations are stopped later, so equal numbers of trials
are not equal work: a second comparison ends the longer run of each pair at the iteration where the shorter one ended.
Experiments stay in FOLDER; started again on it, it goes on.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raytune_suite import Experiment, Study, load, ray_runtime, run
from raytune_suite.cli.overrides import load as load_study

SEARCHERS = ("random", "bayesian")


@dataclass(frozen=True)
class Outcome:
    """Best loss after each iteration of any trial, in the order in which they came."""

    trace: np.ndarray

    @property
    def best(self) -> float:
        return float(self.trace[-1])

    def after(self, iterations: int) -> float:
        """Best loss after so many iterations over all trials."""
        return float(self.trace[min(iterations, len(self.trace)) - 1])


def outcome(experiment: Experiment) -> Outcome:
    """What a finished experiment came to, and when."""
    metric = experiment.record.metric
    reports = [report for trial in experiment.record.trials.values() for report in trial.reports]
    reports.sort(key=lambda report: report.time)
    values = [float(report.metrics.get(metric, np.inf)) for report in reports]
    return Outcome(np.fmin.accumulate(values))


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
    results = run(study, verbosity=-1, num_cpus=args.cpus, num_gpus=0)
    if results.exit_code:
        raise SystemExit(results.exit_code)
    return outcome(results.experiment)


def interval(differences: np.ndarray) -> tuple[float, float]:
    """A 95 % bootstrap interval of the mean."""
    means = np.random.default_rng(0).choice(differences, size=(10_000, len(differences))).mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def lower(random: list[float], bayesian: list[float]) -> str:
    """How much lower the losses are, by the mean log of the ratio, so that pairs count alike."""
    ratio = np.log(np.array(bayesian) / np.array(random))
    low, high = interval(ratio)
    share = [100.0 * (1.0 - np.exp(x)) for x in (ratio.mean(), high, low)]
    wins = f"{int((ratio < 0).sum())} of {len(ratio)}"
    return f"{share[0]:.0f}% ({share[1]:.0f} to {share[2]:.0f}), {wins}"


def row(name: str, pairs: list[tuple[Outcome, Outcome]]) -> str:
    """One line of the table: losses at equal numbers of trials and of iterations, and the iterations spent."""
    random, bayesian = [pair[0].best for pair in pairs], [pair[1].best for pair in pairs]
    least = [min(len(pair[0].trace), len(pair[1].trace)) for pair in pairs]
    cut = [[pair[side].after(n) for pair, n in zip(pairs, least, strict=True)] for side in (0, 1)]
    spent = " / ".join(f"{np.mean([len(pair[side].trace) for pair in pairs]):.0f}" for side in (0, 1))
    losses = f"{np.mean(random):.4f} | {np.mean(bayesian):.4f}"
    return f"| {name} | {losses} | {lower(random, bayesian)} | {lower(*cut)} | {spent} |"


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
    print("| study | random | Bayesian | lower by, better in | the same at equal iterations | iterations |")
    print("|---|---|---|---|---|---|")
    for path in args.studies:
        pairs = [(found[path, seed, "random"], found[path, seed, "bayesian"]) for seed in range(args.seeds)]
        print(row(path.stem, pairs))


if __name__ == "__main__":
    main()
