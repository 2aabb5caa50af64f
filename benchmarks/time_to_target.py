"""Real trainings on the clock: how soon a good model is found, beside Ray Tune with Optuna.

    python benchmarks/time_to_target.py FOLDER [--studies FILE ...] [--seconds 120] [--seeds 5]

Arms on each study, with the same trainable, space, default configuration, first rung and two slots, one run at a time
in one Ray session:

* ``promotion``: the Bayesian searcher and ASHA by promotion in halves, ``raytune_suite.run``;
* ``stopping``: the Bayesian searcher and the study's own ASHA, ``raytune_suite.run``;
* ``random``: random search and the study's own ASHA, ``raytune_suite.run``;
* ``optuna``: a bare ``ray.tune.Tuner`` with ``OptunaSearch`` (TPE) and ``ASHAScheduler`` with the study's settings,
  workers reused.

The clock of a run starts when it is asked for and stops after ``--seconds``; it counts starting workers and whatever
the driver does. The target of a study is the median of what ``random`` ends with. Prints the best loss at the end, also
less Optuna's, and the time to the target (restricted mean: a run that does not get there counts with the whole time),
with ratios to the other arms and 95 % bootstrap intervals over the seeds, which pair the runs. Runs stay in FOLDER;
started again, it goes on, and with fewer ``--seconds`` it tells how they stood then.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from raytune_suite import Study, as_tune, ray_runtime, run
from raytune_suite.cli.overrides import load as load_study
from raytune_suite.resolve import resolve
from raytune_suite.search.foreign import to_ray
from raytune_suite.space.domains import Domain, Int

OURS = ("promotion", "stopping")
PEERS = ("random", "optuna")
_MANY = 100_000
Trace = list[tuple[float, float]]
"""Seconds since the start, and the metric then reported."""


def with_suite(path: Path, arm: str, seed: int, args: argparse.Namespace) -> Trace:
    """A run of the study by the suite, ended by the clock."""
    with tempfile.TemporaryDirectory(dir=args.folder) as storage:
        changes = [f"seed={seed}", f"storage={storage}", f"stop={{time: {args.seconds}}}", f"num_trials={_MANY}"]
        changes += [*_CHANGES[arm], *args.set]
        began = time.time()
        results = run(load_study(path, {}, changes), verbosity=-1, num_cpus=2, num_gpus=0)
        record = results.experiment.record
        reports = [report for trial in record.trials.values() for report in trial.reports]
        return [(r.time - began, float(r.metrics[record.metric])) for r in reports if record.metric in r.metrics]


class _Clock(tune.Callback):  # type: ignore[misc]
    """Notes when each result came."""

    def __init__(self, metric: str) -> None:
        self.metric, self.began, self.trace = metric, time.time(), Trace()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """See ``tune.Callback``."""
        self.trace.append((time.time() - self.began, float(result[self.metric])))


def with_optuna(path: Path, seed: int, args: argparse.Namespace) -> Trace:
    """The same by Ray Tune alone."""
    study = load_study(path, {}, [f"seed={seed}", *args.set])
    space = study.search_space
    clock = _Clock(study.metric)
    first = space.point(study.default or {})
    options = study.scheduler.options
    with tempfile.TemporaryDirectory(dir=args.folder) as storage:
        tune.Tuner(
            tune.with_resources(_trainable(study, seed), {"cpu": 1}),
            param_space={**space.config({}), **{p.name: _domain(p.domain) for p in space.parameters}},
            tune_config=tune.TuneConfig(
                metric=study.metric,
                mode=study.mode,
                num_samples=-1,
                search_alg=OptunaSearch(points_to_evaluate=[first], seed=seed),
                scheduler=ASHAScheduler(
                    max_t=study.max_iterations,
                    grace_period=int(options.get("grace_period", 1)),
                    reduction_factor=float(options.get("reduction_factor", 4)),
                ),
                time_budget_s=args.seconds,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=storage,
                callbacks=[clock],
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    return clock.trace


def _domain(domain: Domain) -> Any:
    """Ray's domain; a step on a logarithmic scale, at which OptunaSearch fails, is left out."""
    if isinstance(domain, Int) and domain.log and domain.q > 1:
        return tune.lograndint(domain.lower, domain.upper + 1)
    return to_ray(domain)


def _trainable(study: Study, seed: int) -> type:
    """The study's trainable, without the parameters that its conditions switch off."""
    inner, space = resolve(study.trainable, study.project), study.search_space

    class Active(inner):  # type: ignore[misc, valid-type]
        def __init__(self, config: dict[str, Any], context: Any) -> None:
            super().__init__(space.config(space.activate(space.point(config))), context)

        def reset(self, config: dict[str, Any], context: Any) -> bool:
            return bool(super().reset(space.config(space.activate(space.point(config))), context))

    return as_tune(Active, seed=seed, max_iterations=study.max_iterations)


def one(path: Path, arm: str, seed: int, args: argparse.Namespace) -> np.ndarray:
    """Best loss by time of one run, shape (reports, 2): read if it lies in the folder, else made."""
    file = args.folder / f"{path.stem}-{arm}-{seed}.json"
    if not file.exists():
        trace = with_optuna(path, seed, args) if arm == "optuna" else with_suite(path, arm, seed, args)
        file.write_text(json.dumps(trace))
        print(f"{path.stem} {arm} seed {seed}: {min(v for _, v in trace):.4f} from {len(trace)} reports", flush=True)
    reports = np.array([report for report in sorted(json.loads(file.read_text())) if report[0] <= args.seconds])
    return np.column_stack([reports[:, 0], np.fmin.accumulate(reports[:, 1])])


_CHANGES = {
    "promotion": ["search=bayesian", "scheduler.rule=promotion", "scheduler.reduction_factor=2"],
    "stopping": ["search=bayesian"],
    "random": ["search=random"],
}


def reached(trace: np.ndarray, target: float, seconds: float) -> float:
    """When the best loss was at most ``target``; ``seconds`` if it never was."""
    there = np.flatnonzero(trace[:, 1] <= target)
    return min(float(trace[there[0], 0]), seconds) if len(there) else seconds


def ratio(mine: np.ndarray, others: np.ndarray) -> str:
    """The ratio of two means with its 95 % bootstrap interval over pairs."""
    drawn = _drawn(len(mine))
    return _interval(mine.mean() / others.mean(), mine[drawn].mean(1) / others[drawn].mean(1), 2)


def difference(mine: np.ndarray, others: np.ndarray) -> str:
    """The mean of the differences with its 95 % bootstrap interval over pairs."""
    less = mine - others
    return _interval(less.mean(), less[_drawn(len(less))].mean(1), 3)


def _drawn(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(count, size=(10_000, count))


def _interval(value: float, resampled: np.ndarray, digits: int) -> str:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def row(name: str, arm: str, found: dict[str, list[np.ndarray]], seconds: float) -> str:
    """One line of the table."""
    target = float(np.median([trace[-1, 1] for trace in found["random"]]))
    times = {a: np.array([reached(trace, target, seconds) for trace in found[a]]) for a in found}
    best = np.array([trace[-1, 1] for trace in found[arm]])
    got = int((times[arm] < seconds).sum())
    optuna = np.array([trace[-1, 1] for trace in found["optuna"]])
    cells = [f"{best.mean():.4f}", difference(best, optuna) if arm != "optuna" else "-"]
    cells += [f"{got} of {len(best)}", f"{times[arm].mean():.0f} s"]
    cells += [ratio(times[arm], times[other]) if other != arm else "-" for other in PEERS]
    return f"| {name} | {arm} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    studies = [Path("studies/tabular.yaml"), Path("studies/bytes.yaml")]
    parser.add_argument("--studies", type=Path, nargs="+", default=studies)
    parser.add_argument("--ours", choices=OURS, nargs="+", default=OURS, help="arms beside random and optuna")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the studies")
    args = parser.parse_args()
    arms = [*args.ours, *PEERS]
    args.folder = args.folder.resolve()
    args.folder.mkdir(parents=True, exist_ok=True)
    with ray_runtime.environment(), ray_runtime.connected(None, 0, 2, 0):
        for seed in range(args.seeds):
            for path in args.studies:
                for arm in arms:
                    one(path, arm, seed, args)
    print("| study | arm | best loss | less Optuna's | reached | time to target | of random's | of Optuna's |")
    print("|---|---|---|---|---|---|---|---|")
    for path in args.studies:
        found = {arm: [one(path, arm, seed, args) for seed in range(args.seeds)] for arm in arms}
        for arm in arms:
            print(row(path.stem, arm, found, args.seconds))


if __name__ == "__main__":
    main()
