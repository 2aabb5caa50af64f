"""The tables that benchmarks/early_stopping.py prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.curves.results import Result
from benchmarks.curves.scores import FRACTIONS, YARDSTICK, Scores, pooled
from benchmarks.curves.table import Table

RULES = ("stop", "promotion", "halves")


def show(
    results: Sequence[Result], tasks: Sequence[str], workers: Sequence[int], data: Path, share: float | None = None
) -> None:
    """Print, for every number of workers, every task and all of them together; ``share``: see Scores."""
    for count in workers:
        found = []
        for task in tasks:
            of_task = [r for r in results if (r.case.task, r.case.workers) == (task, count)]
            if of_task:
                found.append(Scores(Table.load(task, data), of_task, share))
                print(f"\n{task}, {count} workers\n")
                _losses(found[-1])
                _times(found[-1])
        if len(found) > 1:
            print(f"\nall tasks, {count} workers: geometric means of speed-ups\n")
            _together(found)


def _losses(scores: Scores) -> None:
    table = scores.table
    print(f"Score at fractions of the horizon, mean of the seeds (0: {table.best:.4g}, 1: {table.best_of(10):.4g})\n")
    heads = [f"{fraction:g}" for fraction in FRACTIONS]
    print(f"| arm | seeds | {' | '.join(heads)} | ± | incumbent, whole | median loss |")
    print("|---" * (len(heads) + 5) + "|")
    for arm in scores.arms:
        runs = scores.runs(arm)
        along = [f"{scores.along(arm, fraction).mean():.3f}" for fraction in FRACTIONS]
        final = scores.along(arm, 1.0)
        error = final.std(ddof=1) / math.sqrt(len(final)) if len(final) > 1 else math.nan
        whole = f"{scores.along(arm, 1.0, column=2).mean():.3f}"
        loss = f"{np.median([run.loss(1.0) for run in runs]):.4g}"
        print(f"| {' | '.join([arm, str(len(runs)), *along, f'{error:.3f}', whole, loss])} |")


def _times(scores: Scores) -> None:
    if YARDSTICK not in scores.arms:
        return
    below = int((scores.table.losses.min(1) <= scores.level).sum())
    print(
        f"\nTime to {scores.level:.4g} ({below} of {len(scores.table.points)} configurations get there), in horizons;"
    )
    print("speed-ups (ratios of restricted means)\n")
    others = _others(scores)
    print(f"| arm | reached | median | restricted mean | {' | '.join(f'over {other}' for other in others)} |")
    print("|---" * (4 + len(others)) + "|")
    for arm in scores.arms:
        times = [run.reaches(scores.level) for run in scores.runs(arm)]
        reached = f"{np.isfinite(times).sum()} of {len(times)}"
        median = scores.median_time(arm)
        middle = f"{median:.3f}" if math.isfinite(median) else "beyond"
        ratios = [str(scores.speedup(arm, other)) for other in others]
        print(f"| {' | '.join([arm, reached, middle, f'{scores.restricted_mean(arm):.3f}', *ratios])} |")


def _others(scores: Scores) -> list[str]:
    """Random search with the stopping rule, and the best way of telling TPE under each rule."""
    peers = [scores.best_of("tpe-", rule) for rule in RULES]
    return [YARDSTICK, *(peer for peer in peers if peer is not None)]


def _together(found: list[Scores]) -> None:
    """Arms that every task has; TPE's way of telling is the best of each task."""
    found = [scores for scores in found if YARDSTICK in scores.arms]
    common = [arm for arm in found[0].arms if all(arm in scores.arms for scores in found)] if found else []
    against = {f"over {YARDSTICK}": [YARDSTICK for _ in found]}
    for rule in RULES:
        tellings = [scores.best_of("tpe-", rule) for scores in found]
        if None not in tellings:
            against[f"over TPE/{rule}, best telling per task"] = [str(telling) for telling in tellings]
    print(f"| arm | {' | '.join(against)} |")
    print("|---" * (1 + len(against)) + "|")
    for arm in common:
        print(f"| {arm} | {' | '.join(str(pooled(found, arm, others)) for others in against.values())} |")
    _beside(found, [arm for arm in common if arm.startswith("bayesian")], common)


def _beside(found: list[Scores], ours: list[str], arms: list[str]) -> None:
    """The suite's arms over every other, paired by seed."""
    if not ours:
        return
    print(f"\nthe suite over each arm, geometric means\n\n| arm | {' | '.join(ours)} |")
    print("|---" * (1 + len(ours)) + "|")
    for other in arms:
        if other not in ours:
            print(f"| {other} | {' | '.join(str(pooled(found, arm, [other] * len(found))) for arm in ours)} |")
