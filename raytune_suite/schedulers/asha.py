"""Asynchronous successive halving (ASHA): at each rung the best ``1/reduction_factor`` go on.

Li et al., "A System for Massively Parallel Hyperparameter Tuning", https://arxiv.org/abs/1810.05934. Rung
``k`` of bracket ``s`` lies at iteration ``grace_period * reduction_factor ** (k + s)``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from raytune_suite.errors import Problem
from raytune_suite.schedulers.core import Family, Ledger, Options, Scheduler, count, listing, share, trials_of

if TYPE_CHECKING:
    from raytune_suite.study import Study


class AshaOptions(Options):
    """Options of Ray's ``AsyncHyperBandScheduler``; the units of ``grace_period`` are iterations."""

    grace_period: int = 1
    reduction_factor: float = 4
    brackets: int = 1


def milestones(study: Study, options: AshaOptions, bracket: int) -> list[float]:
    """Return where the rungs of a bracket lie, ascending, by Ray's formula (floating point and all)."""
    first, factor = options.grace_period, options.reduction_factor
    number = int(np.log(study.max_iterations / first) / np.log(factor) - bracket + 1)
    return [first * factor ** (k + bracket) for k in range(number)]


def rungs(study: Study, options: AshaOptions) -> list[int]:
    """Return the iterations at which a trial may be compared: the first at or after each milestone."""
    every = (m for s in range(options.brackets) for m in milestones(study, options, s))
    return sorted({math.ceil(m) for m in every if math.ceil(m) < study.max_iterations})


def check(study: Study, options: AshaOptions) -> list[Problem]:
    """Return what cannot work, before Ray's own assertions (which name neither value nor way out)."""
    problems = []
    if options.grace_period < 1:
        problems.append(_problem("grace_period", "must be at least 1 iteration", options.grace_period))
    elif options.grace_period > study.max_iterations:
        rule = f"must not exceed max_iterations ({study.max_iterations}): no trial would ever reach a rung"
        problems.append(_problem("grace_period", rule, options.grace_period))
    if options.reduction_factor <= 1:
        rule = "must be greater than 1: with 1 or less nobody is left out and rungs do not ascend"
        problems.append(_problem("reduction_factor", rule, options.reduction_factor, "Usual values are 3 and 4."))
    if options.brackets < 1:
        problems.append(_problem("brackets", "must be at least 1", options.brackets))
    return problems or _empty_brackets(study, options)


def _problem(option: str, rule: str, value: float, fix: str = "") -> Problem:
    return Problem(f"scheduler.{option}", rule, value, fix)


def _empty_brackets(study: Study, options: AshaOptions) -> list[Problem]:
    full = [s for s in range(options.brackets) if milestones(study, options, s)]
    if len(full) == options.brackets:
        return []
    rule = (
        f"bracket {len(full)} (counted from 0) has no rung within {study.max_iterations} iterations, so "
        "nobody in it could be stopped"
    )
    return [_problem("brackets", rule, options.brackets, f"Use at most {len(full)}, or more iterations.")]


def describe(study: Study, options: AshaOptions) -> list[str]:
    """Return the plan: rungs, the earliest stop, and how many trials should reach each rung."""
    lines = [line for s in range(options.brackets) for line in _bracket_lines(study, options, s)]
    early = rungs(study, options)
    if early:
        after = f"earliest stop at iteration {early[0]}, by the second trial to get there"
    else:
        after = f"no rung lies before iteration {study.max_iterations}: no trial can be stopped early"
    return [f"asha: the best {share(options.reduction_factor)} of a rung go on; {after}", *lines]


def shares(study: Study, options: AshaOptions) -> list[float]:
    """Return the probability of each bracket: Ray weighs a bracket by e to its number of rungs."""
    sizes = [len(milestones(study, options, s)) for s in range(options.brackets)]
    weights = [math.exp(size - max(sizes)) for size in sizes]
    return [weight / sum(weights) for weight in weights]


def _bracket_lines(study: Study, options: AshaOptions, bracket: int) -> list[str]:
    where = [math.ceil(m) for m in milestones(study, options, bracket)]
    where = [rung for rung in where if rung < study.max_iterations]
    head = "rungs" if options.brackets == 1 else f"bracket {bracket}: rungs"
    if not where:
        return [f"{head}: none; each trial runs {study.max_iterations} iterations"]
    total = trials_of(study)
    if total is None:
        return [f"{head} at iterations {listing(where)}"]
    trials = total * shares(study, options)[bracket]
    stops = [*where, study.max_iterations]
    expected = [max(1, round(trials / options.reduction_factor**k)) for k in range(len(stops))]
    reach = ", ".join(f"iteration {stop}: {n}" for stop, n in zip(stops, expected, strict=True))
    return [f"{head} at iterations {listing(where)}; of {count(round(trials), 'trial')} expected at {reach}"]


def build(study: Study, options: AshaOptions, ledger: Ledger) -> Scheduler:
    """Return Ray's ASHA, its brackets drawn from the study's seed."""
    from raytune_suite.schedulers.onray.asha import ExplainedASHA

    ray = ExplainedASHA(
        ledger,
        study.seed,
        metric=study.metric,
        mode=study.mode,
        max_t=study.max_iterations,
        grace_period=options.grace_period,
        reduction_factor=options.reduction_factor,
        brackets=options.brackets,
    )
    return Scheduler(
        "asha",
        ray,
        ledger,
        max_iterations=study.max_iterations,
        rungs=rungs(study, options),
        replayable=True,
        grace=ray.first_rung,
    )


FAMILY = Family("asha", AshaOptions, check, describe, rungs, build)
