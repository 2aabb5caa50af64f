"""How good are the searchers? Bayesian against random at equal budget, and the time a suggestion takes.

    python benchmarks/search_quality.py [--seeds 5] [--trials 60] [--in-flight 1 8] [--searchers ...]

Regret of a task: best value found minus the best known, divided by the same of the median random search:
0 is perfect, 1 is random search. Trials run in virtual time; all searchers see the same durations and noise.
"""

from __future__ import annotations

import argparse
import heapq
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from raytune_suite.search import Observation, Searcher
from raytune_suite.search.bayesian import BayesianSearcher
from raytune_suite.search.random import RandomSearcher
from raytune_suite.space import Space
from raytune_suite.states import State

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    name: str
    space: Space
    loss: Callable[[Point], float]
    best: float
    noise: float = 0.0


def branin(p: Point) -> float:
    x, y = p["x"], p["y"]
    curve = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return float(curve**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


def hartmann6(p: Point) -> float:
    alpha = np.array([1.0, 1.2, 3.0, 3.2])
    a = np.array(
        [
            [10, 3, 17, 3.5, 1.7, 8],
            [0.05, 10, 17, 0.1, 8, 14],
            [3, 3.5, 1.7, 10, 17, 8],
            [17, 8, 0.05, 10, 0.1, 14],
        ]
    )
    centre = 1e-4 * np.array(
        [
            [1312, 1696, 5569, 124, 8283, 5886],
            [2329, 4135, 8307, 3736, 1004, 9991],
            [2348, 1451, 3522, 2883, 3047, 6650],
            [4047, 8828, 8732, 5743, 1091, 381],
        ]
    )
    x = np.array([p[f"x{i}"] for i in range(6)])
    return float(-(alpha * np.exp(-(a * (x - centre) ** 2).sum(1))).sum())


def rosenbrock5(p: Point) -> float:
    x = np.array([p[f"x{i}"] for i in range(5)])
    return float(np.log10(1 + (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()))


def network(p: Point) -> float:
    """Error of an imagined network: a valley in learning rate that moves with width, a few bad choices."""
    lr, width = math.log10(p["learning_rate"]), math.log2(p["width"])
    ridge = (lr + 3.2 + 0.35 * (width - 7)) ** 2
    capacity = 0.02 * (width - 8.2) ** 2 + 0.015 * abs(p["depth"] - 3)
    activation = {"relu": 0.02, "gelu": 0.0, "tanh": 0.06, "sigmoid": 0.2}[p["activation"]]
    drop = 0.3 * (p["dropout"] - 0.15) ** 2
    decay = 0.01 * (math.log10(p["weight_decay"]) + 4) ** 2
    return 0.1 + 0.12 * ridge / (1 + 0.3 * ridge) + capacity + activation + drop + decay


def optimizers(p: Point) -> float:
    """Two branches, each with parameters of its own."""
    lr = math.log10(p["learning_rate"])
    if p["optimizer"] == "sgd":
        return 0.25 + 0.08 * (lr + 1) ** 2 + 1.5 * (p["momentum"] - 0.92) ** 2
    return 0.2 + 0.1 * (lr + 3) ** 2 + 5.0 * (p["beta"] - 0.95) ** 2 + 0.05 * abs(math.log10(p["epsilon"]) + 7)


def boosting(p: Point) -> float:
    """Flat directions, interactions, a cliff."""
    lr, trees = math.log10(p["learning_rate"]), math.log10(p["trees"])
    fit = (lr + trees - 1.1) ** 2
    depth = 0.01 * (p["max_depth"] - 6) ** 2 + (0.15 if p["max_depth"] > 12 else 0.0)
    rest = 0.1 * (p["subsample"] - 0.8) ** 2 + 0.02 * (math.log10(p["l2"]) - 0.5) ** 2
    return 0.15 + 0.15 * fit + depth + rest + 0.02 * (p["booster"] == "dart")


def tasks() -> list[Task]:
    cube = {f"x{i}": {"uniform": [0.0, 1.0]} for i in range(6)}
    valley = {f"x{i}": {"uniform": [-2.0, 2.0]} for i in range(5)}
    net = {
        "learning_rate": {"loguniform": [1e-6, 1.0]},
        "width": {"lograndint": [8, 1025]},
        "depth": {"randint": [1, 9]},
        "activation": {"choice": ["relu", "gelu", "tanh", "sigmoid"]},
        "dropout": {"uniform": [0.0, 0.8]},
        "weight_decay": {"loguniform": [1e-7, 1e-1]},
    }
    branches = {
        "optimizer": {"choice": ["sgd", "adam"]},
        "learning_rate": {"loguniform": [1e-6, 1.0]},
        "momentum": {"uniform": [0.0, 1.0], "when": "optimizer == 'sgd'"},
        "beta": {"uniform": [0.5, 1.0], "when": "optimizer == 'adam'"},
        "epsilon": {"loguniform": [1e-10, 1e-2], "when": "optimizer == 'adam'"},
    }
    trees = {
        "learning_rate": {"loguniform": [1e-3, 1.0]},
        "trees": {"lograndint": [10, 2001]},
        "max_depth": {"randint": [2, 17]},
        "subsample": {"quniform": [0.3, 1.0, 0.05]},
        "l2": {"loguniform": [1e-3, 1e3]},
        "booster": {"choice": ["tree", "dart"]},
    }
    plane = {"x": {"uniform": [-5.0, 10.0]}, "y": {"uniform": [0.0, 15.0]}}
    return [
        Task("branin (2)", Space.parse(plane), branin, 0.397887),
        Task("hartmann (6)", Space.parse(cube), hartmann6, -3.32237),
        Task("rosenbrock (5), log", Space.parse(valley), rosenbrock5, 0.0),
        Task("network (6 mixed), noisy", Space.parse(net), network, 0.100, 0.005),
        Task("optimizers (5 conditional)", Space.parse(branches), optimizers, 0.2),
        Task("boosting (6 mixed), noisy", Space.parse(trees), boosting, 0.15, 0.005),
    ]


def run(task: Task, searcher: Searcher, trials: int, in_flight: int, seed: int) -> tuple[float, list[float]]:
    """The best true value found, and the seconds each suggestion took."""
    rng = np.random.default_rng([seed, 77])
    durations, noise = rng.lognormal(0.0, 0.5, trials), task.noise * rng.standard_normal(trials)
    running: list[tuple[float, int, Point]] = []
    best, clock, seconds = math.inf, 0.0, []
    for number in range(trials):
        if len(running) == in_flight:
            clock, done, point = heapq.heappop(running)
            value = task.loss(point) + noise[done]
            searcher.tell(Observation(done, point, value, 1, State.COMPLETED))
        started = time.perf_counter()
        suggestion = searcher.ask(number)
        seconds.append(time.perf_counter() - started)
        if suggestion is None:
            break
        best = min(best, task.loss(suggestion.point))
        heapq.heappush(running, (clock + durations[number], number, suggestion.point))
    return best, seconds


def make(name: str, task: Task, seed: int, trials: int) -> Searcher:
    if name == "optuna":
        from ray.tune.search.optuna import OptunaSearch

        from raytune_suite.search.foreign import ForeignSearcher

        return ForeignSearcher(task.space, searcher=OptunaSearch, seed=seed, num_trials=trials)
    kind = {"bayesian": BayesianSearcher, "random": RandomSearcher}[name]
    return kind(task.space, seed=seed, num_trials=trials)


def interval(differences: np.ndarray) -> tuple[float, float]:
    """A 95 % bootstrap interval of the mean."""
    rng = np.random.default_rng(0)
    means = rng.choice(differences, size=(4000, len(differences))).mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def compare(task: Task, args: argparse.Namespace, in_flight: int) -> dict[str, tuple[np.ndarray, list[float]]]:
    random = [run(task, make("random", task, 1000 + s, args.trials), args.trials, 1, s)[0] for s in range(101)]
    unit = float(np.median(random)) - task.best
    scores = {}
    for name in args.searchers:
        found, seconds = [], []
        for seed in range(args.seeds):
            best, took = run(task, make(name, task, seed, args.trials), args.trials, in_flight, seed)
            found.append((best - task.best) / unit)
            seconds += took
        scores[name] = (np.array(found), seconds)
    return scores


def latency(sizes: tuple[int, ...]) -> None:
    """Seconds per suggestion in 8 dimensions after so many results, 4 trials in flight."""
    print("\nSeconds per suggestion, 8 dimensions, 4 in flight")
    print(f"{'results':>8} {'median':>8} {'p95':>8} {'worst':>8}")
    raw = {f"x{i}": {"uniform": [0.0, 1.0]} for i in range(5)}
    raw |= {"n": {"lograndint": [1, 1000]}, "q": {"quniform": [0, 1, 0.1]}, "c": {"choice": ["a", "b", "c"]}}
    space = Space.parse(raw)
    for size in sizes:
        searcher = BayesianSearcher(space, num_trials=10 * size)
        rng = np.random.default_rng(0)
        for number in range(size):
            point = space.sample(rng)
            value = float((np.nan_to_num(space.to_unit(point)) ** 2).sum() + 0.05 * rng.standard_normal())
            searcher.tell(Observation(number, point, value, 1, State.COMPLETED))
        searcher.prepare()
        seconds = []
        for number in range(size, size + 24):
            started = time.perf_counter()
            suggestion = searcher.ask(number)
            seconds.append(time.perf_counter() - started)
            if suggestion is not None and number >= size + 4:
                point = searcher.pending[number - 4]
                searcher.tell(Observation(number - 4, point, 1.0, 1, State.COMPLETED))
        print(f"{size:>8} {np.median(seconds):>8.3f} {np.quantile(seconds, 0.95):>8.3f} {max(seconds):>8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--searchers", nargs="+", default=["bayesian", "random"])
    parser.add_argument("--tasks", nargs="+", default=[], help="only tasks whose name starts so")
    parser.add_argument("--no-latency", action="store_true")
    args = parser.parse_args()
    chosen = [t for t in tasks() if not args.tasks or t.name.startswith(tuple(args.tasks))]
    first, *others = args.searchers
    for in_flight in args.in_flight:
        print(
            f"\n{args.trials} trials, {in_flight} in flight, {args.seeds} seeds: mean regret (1 = median random search)"
        )
        print(f"{'task':28}" + "".join(f"{name:>10}" for name in args.searchers) + "   seconds median / p95")
        every: dict[str, list[np.ndarray]] = {name: [] for name in args.searchers}
        for task in chosen:
            scores = compare(task, args, in_flight)
            took = scores[first][1]
            line = "".join(f"{scores[name][0].mean():>10.3f}" for name in args.searchers)
            print(f"{task.name:28}{line}   {np.median(took):.3f} / {np.quantile(took, 0.95):.3f}", flush=True)
            for name in args.searchers:
                every[name].append(scores[name][0])
        print(f"{'mean':28}" + "".join(f"{np.mean(every[name]):>10.3f}" for name in args.searchers))
        for name in others:
            differences = np.concatenate(every[first]) - np.concatenate(every[name])
            low, high = interval(differences)
            wins = int((differences < 0).sum())
            print(
                f"{first} minus {name}, paired: {differences.mean():+.3f} [{low:+.3f}, {high:+.3f}] (95 %), "
                f"better in {wins} of {len(differences)} runs"
            )
    if not args.no_latency:
        latency((30, 100, 300, 1000))


if __name__ == "__main__":
    main()
