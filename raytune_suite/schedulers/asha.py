"""Asynchronous successive halving (ASHA): at each rung the best ``1/reduction_factor`` go on.

Li et al., "A System for Massively Parallel Hyperparameter Tuning", https://arxiv.org/abs/1810.05934. Rung
``k`` of bracket ``s`` lies at iteration ``grace_period * reduction_factor ** (k + s)``. By rule ``stopping``, which is
Ray's, the others end there; by rule ``promotion``, the paper's Algorithm 2, they are paused and may go on later.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from raytune_suite.errors import Problem
from raytune_suite.schedulers import promotion
from raytune_suite.schedulers.core import Family, Ledger, Options, Scheduler, count, listing, share, trials_of

if TYPE_CHECKING:
    from raytune_suite.study import Study


class AshaOptions(Options):
    """Options of Ray's ``AsyncHyperBandScheduler``, and the rule; the units of ``grace_period`` are iterations.

    ``reduction_factor`` is Ray's 4 by rule ``stopping`` and 2 by rule ``promotion``. The proposals of a searcher that
    learns are mostly good, and among good ones a harsh rung leaves the best waiting for worse ones to come: with halves
    instead of thirds the best was found sooner (docs/schedulers.md has the figures).
    """

    grace_period: int = 1
    reduction_factor: float = 4
    brackets: int = 1
    rule: Literal["stopping", "promotion"] = "stopping"

    @pydantic.model_validator(mode="before")
    @classmethod
    def _halves(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {"reduction_factor": 2, **given} if given.get("rule") == "promotion" else given


def milestones(study: Study, options: AshaOptions, bracket: int) -> list[float]:
    """Return where the rungs of a bracket lie, ascending, by Ray's formula (floating point and all)."""
    first, factor = options.grace_period, options.reduction_factor
    number = int(np.log(study.max_iterations / first) / np.log(factor) - bracket + 1)
    return [first * factor ** (k + bracket) for k in range(number)]


def rungs(study: Study, options: AshaOptions) -> list[int]:
    """Return the iterations at which a trial may be compared: the first at or after each milestone."""
    return sorted({rung for s in range(options.brackets) for rung in _bracket_rungs(study, options, s)})


def _bracket_rungs(study: Study, options: AshaOptions, bracket: int) -> list[int]:
    where = (math.ceil(m) for m in milestones(study, options, bracket))
    return sorted({rung for rung in where if rung < study.max_iterations})


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
        problems.append(_problem("reduction_factor", rule, options.reduction_factor, "Usual values are 2, 3 and 4."))
    if options.brackets < 1:
        problems.append(_problem("brackets", "must be at least 1", options.brackets))
    problems = problems or _empty_brackets(study, options)
    if options.rule == "stopping" or problems:
        return problems
    return promotion.check(study, options.reduction_factor, rungs(study, options))


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
    if not early:
        after = f"no rung lies before iteration {study.max_iterations}: no trial can be stopped early"
    elif options.rule == "promotion":
        after = "the others wait there, paused; earliest stop at the end of the study, for those still waiting"
    else:
        after = f"earliest stop at iteration {early[0]}, by the second trial to get there"
    return [f"asha: the best {share(options.reduction_factor)} of a rung go on; {after}", *lines]


def shares(study: Study, options: AshaOptions) -> list[float]:
    """Return the probability of each bracket: Ray weighs a bracket by e to its number of rungs."""
    sizes = [len(milestones(study, options, s)) for s in range(options.brackets)]
    weights = [math.exp(size - max(sizes)) for size in sizes]
    return [weight / sum(weights) for weight in weights]


def _bracket_lines(study: Study, options: AshaOptions, bracket: int) -> list[str]:
    where = _bracket_rungs(study, options, bracket)
    head = "rungs" if options.brackets == 1 else f"bracket {bracket}: rungs"
    if not where:
        return [f"{head}: none; each trial runs {study.max_iterations} iterations"]
    total = trials_of(study)
    if total is None:
        return [f"{head} at iterations {listing(where)}"]
    trials, factor = total * shares(study, options)[bracket], options.reduction_factor
    if options.rule == "promotion":
        expected = promotion.expected(round(trials), len(where), factor)
        scarce = promotion.warning(round(trials), len(where), factor, study.max_iterations)
    else:
        expected = [max(1, round(trials / factor**k)) for k in range(len(where) + 1)]
        scarce = []
    stops = [*where, study.max_iterations]
    reach = ", ".join(f"iteration {stop}: {n}" for stop, n in zip(stops, expected, strict=True))
    # a share of each rung goes on if the order is random; a trial better than those before it always does
    more = f"; more go on as {study.search.name} learns" if _learns(study) else ""
    said = f"{head} at iterations {listing(where)}; of {count(round(trials), 'trial')} expected at {reach}{more}"
    return [said, *scarce]


def _learns(study: Study) -> bool:
    from raytune_suite import search

    name = study.search.name
    return name in search.names() and search.learns(name, study.project)


def build(study: Study, options: AshaOptions, ledger: Ledger) -> Scheduler:
    """Return ASHA by the rule that is asked for, its brackets drawn from the study's seed."""
    return (_promoting if options.rule == "promotion" else _stopping)(study, options, ledger)


def _stopping(study: Study, options: AshaOptions, ledger: Ledger) -> Scheduler:
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


def _promoting(study: Study, options: AshaOptions, ledger: Ledger) -> Scheduler:
    from raytune_suite.schedulers.onray.promotion import PromotionASHA

    ray = PromotionASHA(
        ledger,
        study.seed,
        metric=study.metric,
        mode=study.mode,
        max_t=study.max_iterations,
        reduction_factor=options.reduction_factor,
        ladders=[_bracket_rungs(study, options, s) for s in range(options.brackets)],
        weights=shares(study, options),
    )
    return Scheduler(
        "asha",
        ray,
        ledger,
        max_iterations=study.max_iterations,
        rungs=rungs(study, options),
        promotes=True,
        replayable=True,
        checkpoint_every=study.checkpoint.every,
        grace=ray.first_rung,
    )


FAMILY = Family("asha", AshaOptions, check, describe, rungs, build)
