"""HyperBand: brackets of trials that wait for each other at rungs, where all but the best are stopped.

Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", JMLR 18 (2018).
Ray fills bracket 0 first (few trials, no halving), then 1, 2, ...; after the last bracket a new band starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from raytune_suite.errors import Problem
from raytune_suite.schedulers.core import Family, Ledger, Options, Scheduler, count, listing, trials_of

if TYPE_CHECKING:
    from raytune_suite.study import Study


class HyperbandOptions(Options):
    """Options of Ray's ``HyperBandScheduler``."""

    reduction_factor: float = 3


@dataclass(frozen=True)
class BracketPlan:
    """What bracket ``s`` does: trials alive at each milestone (``sizes``), and these in iterations."""

    s: int
    sizes: tuple[int, ...]
    milestones: tuple[int, ...]

    def stopped(self, trials: int) -> int:
        """Return how many of ``trials`` in this bracket are stopped before the last milestone."""
        return trials - min([trials, *self.sizes])


def brackets(max_iterations: int, eta: float) -> list[BracketPlan]:
    """Return the brackets of one band, by the formulas Ray uses; the last milestone is ``max_iterations``."""
    number = int(np.round(np.log(max_iterations) / np.log(eta))) + 1
    return [_bracket(s, number, max_iterations, eta) for s in range(number)]


def _bracket(s: int, number: int, max_iterations: int, eta: float) -> BracketPlan:
    sizes = [math.ceil(number / (s + 1) * eta**s)]
    milestones = [int(max_iterations * eta**-s)]
    for _ in range(s):
        sizes.append(math.ceil(sizes[-1] / eta))
        milestones.append(int(min(milestones[-1] * eta, max_iterations)))
    # Rounding can leave the last milestone short; survivors are trained out all the same.
    return BracketPlan(s, tuple(sizes), (*milestones[:-1], max_iterations) if s else tuple(milestones))


def rungs(study: Study, options: HyperbandOptions) -> list[int]:
    """Return the iterations at which some bracket halves."""
    every = (m for b in brackets(study.max_iterations, options.reduction_factor) for m in b.milestones)
    return sorted({m for m in every if 0 < m < study.max_iterations})


def check(study: Study, options: HyperbandOptions) -> list[Problem]:
    """Return what cannot work: brackets without a first rung, rungs that do not ascend, too few trials."""
    if options.reduction_factor <= 1:
        rule = "must be greater than 1: with 1 or less a halving leaves nobody out"
        return [Problem("scheduler.reduction_factor", rule, options.reduction_factor, "The usual value is 3.")]
    problems = _bracket_problems(study, options)
    if study.checkpoint.every == 0:
        rule = "must be at least 1 with hyperband, which pauses trials at their rungs and resumes them later"
        problems.append(Problem("checkpoint.every", rule, 0))
    return problems or _too_few_trials(study, options)


def _bracket_problems(study: Study, options: HyperbandOptions) -> list[Problem]:
    eta, longest = options.reduction_factor, study.max_iterations
    plans = brackets(longest, eta)
    last = plans[-1]
    if last.milestones[0] == 0:
        rule = (
            f"max_iterations {longest} with reduction_factor {eta:g} makes bracket {last.s} empty: its first "
            f"rung would lie at {longest * eta**-last.s:.2f} iterations"
        )
        fix = f"Use max_iterations {math.ceil(eta**last.s)} or more, or scheduler asha."
        return [Problem("scheduler", rule, fix=fix)]
    stuck = [plan for plan in plans if any(b <= a for a, b in pairwise(plan.milestones))]
    if not stuck:
        return []
    rule = (
        f"bracket {stuck[0].s} would halve at iterations {listing(stuck[0].milestones)}: between two of them "
        "nothing is trained, so it would never end"
    )
    return [Problem("scheduler.reduction_factor", rule, eta, "Use 2 or more.")]


def _too_few_trials(study: Study, options: HyperbandOptions) -> list[Problem]:
    total = trials_of(study)
    plans = brackets(study.max_iterations, options.reduction_factor)
    if total is None or _stops(plans, total):
        return []
    band = sum(plan.sizes[0] for plan in plans)
    enough = next((n for n in range(total, band + 1) if _stops(plans, n)), None)
    rule = (
        f"{count(total, 'trial')} fill no bracket that halves (bracket 0 takes {plans[0].sizes[0]} and runs "
        "them to the end): no trial could ever be stopped early"
    )
    more = f"Use num_trials {enough} or more, or scheduler asha." if enough else "Use scheduler fifo or asha."
    return [Problem("num_trials", rule, total, more)]


def _stops(plans: list[BracketPlan], total: int) -> bool:
    return any(plan.stopped(share) for plan, share in _filled(plans, total))


def _filled(plans: list[BracketPlan], total: int) -> list[tuple[BracketPlan, int]]:
    """Return the brackets that ``total`` trials fill, in order, with the number of trials each gets."""
    filled, left, index = [], total, 0
    while left > 0:
        plan = plans[index % len(plans)]
        taken = min(left, plan.sizes[0])
        filled.append((plan, taken))
        left, index = left - taken, index + 1
    return filled


def describe(study: Study, options: HyperbandOptions) -> list[str]:
    """Return the plan: one line a bracket, with the trials it gets and where they are halved."""
    plans = brackets(study.max_iterations, options.reduction_factor)
    early = rungs(study, options)
    head = f"hyperband: {count(len(plans), 'bracket')}; trials wait at a rung until their bracket is full"
    if early:
        head += f"; earliest stop at iteration {early[0]}"
    total = trials_of(study)
    if total is None:
        return [head, *(_line(plan, plan.sizes[0]) for plan in plans)]
    filled = _filled(plans, total)
    shown = [_line(plan, taken) for plan, taken in filled[:8]]
    return [head, *shown, *([f"and {len(filled) - 8} more brackets"] if len(filled) > 8 else [])]


def _line(plan: BracketPlan, trials: int) -> str:
    alive = [min(trials, size) for size in plan.sizes]
    steps = ", ".join(f"{n} to iteration {m}" for n, m in zip(alive, plan.milestones, strict=True))
    room = "" if trials == plan.sizes[0] else f" (room for {plan.sizes[0]})"
    return f"bracket {plan.s}: {count(trials, 'trial')}{room}: {steps}"


def build(study: Study, options: HyperbandOptions, ledger: Ledger) -> Scheduler:
    """Return Ray's HyperBand, with brackets that wait until they are full and train survivors out."""
    from raytune_suite.schedulers.onray.hyperband import ExplainedHyperBand

    ray = ExplainedHyperBand(
        ledger,
        trials_of(study),
        metric=study.metric,
        mode=study.mode,
        max_t=study.max_iterations,
        reduction_factor=options.reduction_factor,
    )
    return Scheduler(
        "hyperband",
        ray,
        ledger,
        max_iterations=study.max_iterations,
        rungs=rungs(study, options),
        pauses=True,
        checkpoint_every=study.checkpoint.every,
        grace=ray.first_rung,
    )


FAMILY = Family("hyperband", HyperbandOptions, check, describe, rungs, build)
