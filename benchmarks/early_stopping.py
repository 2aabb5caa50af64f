"""Searchers under early stopping: ASHA in virtual time on learning curves modelled from recorded ones.

    python benchmarks/record_curves.py studies/tabular.yaml CURVES.jsonl
    python benchmarks/early_stopping.py studies/tabular.yaml CURVES.jsonl [--seeds 10] [--in-flight 2 8]

Curves of new configurations come from a model of the recorded ones (half trees, half a Gaussian process over the log
of the losses), with noise between trials and between iterations. Prints the log of the best loss of any trial beside
random search's with the same scheduler, and how many trials ended at the first rung within 0.05 of one before them.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

from raytune_suite.search import Observation, Searcher
from raytune_suite.search.bayesian import BayesianSearcher
from raytune_suite.search.encoding import Encoder
from raytune_suite.search.random import RandomSearcher
from raytune_suite.states import State
from raytune_suite.study import Study

Make = Callable[..., Searcher]
SEARCHERS: dict[str, Make] = {"bayesian": BayesianSearcher, "random": RandomSearcher}


class Curves:
    """A model of a study's learning curves: configuration to log loss by iteration."""

    def __init__(self, study: Study, recorded: list[dict[str, Any]]) -> None:
        self._encoder = Encoder(study.search_space)
        features = self._features([line["point"] for line in recorded])
        losses = np.array([line["values"] for line in recorded])
        logs = np.log(np.minimum(np.nan_to_num(losses, nan=1e3, posinf=1e3), 1e3))
        self._middle = logs.mean(0)
        self._directions = np.linalg.svd(logs - self._middle, full_matrices=False)[2][:4]
        scores = (logs - self._middle) @ self._directions.T
        self._trees = ExtraTreesRegressor(300, min_samples_leaf=2, random_state=0).fit(features, scores)
        kernel = Matern(np.ones(features.shape[1]), (0.1, 30.0), nu=2.5) + WhiteKernel(0.05)
        self._process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0).fit(features, scores)
        self.seconds = float(np.mean([line["seconds"] for line in recorded]))

    def _features(self, points: list[Mapping[str, Any]]) -> np.ndarray:
        features: np.ndarray = self._encoder.features(self._encoder.snap(self._encoder.units(points)))
        return features

    def losses(self, point: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        """A noisy curve, shape (iterations,)."""
        row = self._features([point])
        scores = (self._trees.predict(row)[0] + self._process.predict(row)[0]) / 2.0
        noise = 0.1 * rng.standard_normal() + 0.06 * rng.standard_normal(len(self._middle))
        losses: np.ndarray = np.exp(self._middle + scores @ self._directions + noise)
        return losses


@dataclass
class Asha:
    """Asynchronous successive halving, the rule that stops (as Ray's)."""

    rungs: list[int]
    factor: float
    scores: dict[int, list[float]] = field(default_factory=dict)

    def stops(self, iteration: int, loss: float) -> bool:
        if iteration not in self.rungs:
            return False
        before = self.scores.setdefault(iteration, [])
        cutoff = np.quantile(before, 1.0 / self.factor) if before else math.inf
        before.append(loss)
        return bool(loss > cutoff)


@dataclass(frozen=True)
class Outcome:
    best: float
    repeats: int
    iterations: int


def play(study: Study, curves: Curves, searcher: Searcher, in_flight: int, seed: int) -> Outcome:
    """One study in virtual time; trial 0 is never stopped."""
    limit = study.max_iterations
    first, factor = int(study.scheduler.options["grace_period"]), float(study.scheduler.options["reduction_factor"])
    rungs = [int(first * factor**k) for k in range(9) if first * factor**k < limit]
    asha = Asha(rungs, factor)
    running: list[tuple[float, int, int]] = []
    losses: dict[int, np.ndarray] = {}
    points: dict[int, Mapping[str, Any]] = {}
    stopped: list[np.ndarray] = []
    best, repeats, spent, number, clock = math.inf, 0, 0, 0, 0.0
    while True:
        while len(running) < in_flight and (suggestion := searcher.ask(number)) is not None:
            rng = np.random.default_rng([seed, number])
            points[number], losses[number] = suggestion.point, curves.losses(suggestion.point, rng)
            heapq.heappush(running, (clock + rng.uniform(0.8, 1.2), number, 1))
            number += 1
        if not running:
            return Outcome(best, repeats, spent)
        clock, trial, iteration = heapq.heappop(running)
        loss = float(losses[trial][iteration - 1])
        best, spent = min(best, loss), spent + 1
        searcher.tell(Observation(trial, points[trial], loss, iteration, State.RUNNING))
        stops = asha.stops(iteration, loss) and trial > 0
        if stops or iteration == limit:
            state = State.STOPPED if stops else State.COMPLETED
            searcher.tell(Observation(trial, points[trial], loss, iteration, state))
            if stops and iteration == rungs[0]:
                unit = np.nan_to_num(study.search_space.to_unit(dict(points[trial])), nan=-1.0)
                repeats += any(np.abs(unit - other).max() < 0.05 for other in stopped)
                stopped.append(unit)
        else:
            heapq.heappush(running, (clock + 1.0, trial, iteration + 1))


def interval(differences: np.ndarray) -> tuple[float, float]:
    """A 95 % bootstrap interval of the mean."""
    means = np.random.default_rng(0).choice(differences, size=(4000, len(differences))).mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("curves", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, help="instead of the study's")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--searchers", nargs="+", default=["bayesian"], choices=sorted(SEARCHERS))
    args = parser.parse_args()
    study = Study.load(args.study)
    curves = Curves(study, [json.loads(line) for line in args.curves.read_text().splitlines()])
    print("| in flight | searcher | log best | against random | better in | repeats | iterations |")
    print("|---|---|---|---|---|---|---|")
    settings = {"num_trials": args.trials or study.num_trials, "max_iterations": study.max_iterations}
    settings["default"] = study.default
    for in_flight in args.in_flight:
        yardstick = None
        for name in ["random", *(name for name in args.searchers if name != "random")]:
            found = [
                play(study, curves, SEARCHERS[name](study.search_space, seed=seed, **settings), in_flight, seed)
                for seed in range(args.seeds)
            ]
            logs = np.log([outcome.best for outcome in found])
            yardstick = logs if yardstick is None else yardstick
            low, high = interval(logs - yardstick)
            gap = f"{(logs - yardstick).mean():+.3f} ({low:+.3f} to {high:+.3f})"
            wins = f"{int((logs < yardstick).sum())} of {len(logs)}"
            cost = f"{np.mean([o.repeats for o in found]):.1f} | {np.mean([o.iterations for o in found]):.0f}"
            print(f"| {in_flight} | {name} | {logs.mean():.3f} | {gap} | {wins} | {cost} |", flush=True)


if __name__ == "__main__":
    main()
