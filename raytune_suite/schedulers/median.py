"""The median stopping rule: a trial's best value against the median of the others' running means.

Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from raytune_suite.errors import Problem
from raytune_suite.schedulers.core import Family, Ledger, Options, Scheduler, trials_of

if TYPE_CHECKING:
    from raytune_suite.study import Study


class MedianOptions(Options):
    """Options of Ray's ``MedianStoppingRule``, in iterations.

    ``min_time_slice`` is infinite here unless given: with Ray's 0 the first trials would be paused and
    resumed after every report, as long as there are too few of them for a median.
    """

    grace_period: int = 1
    min_samples_required: int = 3
    min_time_slice: float = math.inf
    hard_stop: bool = True


def pauses(options: MedianOptions) -> bool:
    """Say whether these options let the rule pause trials, which then need checkpoints."""
    return not options.hard_stop or math.isfinite(options.min_time_slice)


def check(study: Study, options: MedianOptions) -> list[Problem]:
    """Return what cannot work."""
    problems = []
    if not 1 <= options.grace_period <= study.max_iterations:
        rule = f"must lie between 1 and max_iterations ({study.max_iterations})"
        problems.append(Problem("scheduler.grace_period", rule, options.grace_period))
    if options.min_samples_required < 1:
        rule = "must be at least 1: there is no median of nothing"
        problems.append(Problem("scheduler.min_samples_required", rule, options.min_samples_required))
    total = trials_of(study)
    if total is not None and total <= options.min_samples_required:
        rule = (
            f"with {total} trials no trial ever has {options.min_samples_required} others to compare with, "
            "so none could be stopped"
        )
        fix = f"Use {total - 1} or less, or more trials." if total > 1 else "Use more trials."
        problems.append(Problem("scheduler.min_samples_required", rule, options.min_samples_required, fix))
    if pauses(options) and study.checkpoint.every == 0:
        rule = "must be at least 1 with hard_stop: false or a min_time_slice, which pause trials and resume them"
        problems.append(Problem("checkpoint.every", rule, 0))
    return problems


def describe(study: Study, options: MedianOptions) -> list[str]:
    """Return the plan."""
    what = "stopped" if options.hard_stop else "paused until the others are done"
    head = f"median: a trial whose best value is worse than the median of the others' running means is {what}"
    early = max(1, options.grace_period)
    tail = f"earliest stop at iteration {early}, once {options.min_samples_required} other trials have got there"
    if early >= study.max_iterations:
        tail = f"its grace period is all {study.max_iterations} iterations: no trial can be stopped early"
    return [f"{head}; {tail}"]


def rungs(study: Study, options: MedianOptions) -> list[int]:
    """Return the first iteration that is judged; every later one is judged too."""
    return [options.grace_period] if options.grace_period < study.max_iterations else []


def build(study: Study, options: MedianOptions, ledger: Ledger) -> Scheduler:
    """Return Ray's median stopping rule."""
    from raytune_suite.schedulers.onray.median import ExplainedMedian

    ray = ExplainedMedian(
        ledger,
        study.max_iterations,
        metric=study.metric,
        mode=study.mode,
        grace_period=options.grace_period,
        min_samples_required=options.min_samples_required,
        min_time_slice=options.min_time_slice,
        hard_stop=options.hard_stop,
    )
    paused = pauses(options)
    return Scheduler(
        "median",
        ray,
        ledger,
        max_iterations=study.max_iterations,
        rungs=rungs(study, options),
        pauses=paused,
        replayable=not paused,
        checkpoint_every=study.checkpoint.every if paused else None,
        every_report=True,
        grace=lambda _: options.grace_period,
    )


FAMILY = Family("median", MedianOptions, check, describe, rungs, build)
