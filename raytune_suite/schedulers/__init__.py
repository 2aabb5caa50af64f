"""What stops trials against each other: Ray's schedulers, checked, seeded, and able to say why.

This is the only door: :func:`check` and :func:`describe` import no ray, :func:`build` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raytune_suite.errors import PlanError, Problem
from raytune_suite.nearest import did_you_mean
from raytune_suite.schedulers import asha, fifo, foreign, hyperband, median, population
from raytune_suite.schedulers.core import (
    Explanation,
    Family,
    Ledger,
    Scheduler,
    protected_trial,
    read_options,
)

if TYPE_CHECKING:
    from raytune_suite.study import Study

__all__ = ["Explanation", "Scheduler", "build", "check", "describe", "names", "option_names", "rungs"]

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        fifo.FAMILY,
        asha.FAMILY,
        hyperband.FAMILY,
        median.FAMILY,
        population.PBT,
        population.PB2,
    )
}


def names() -> list[str]:
    """Return every name a study may give: the shipped ones and those registered by entry points."""
    return [*FAMILIES, *(name for name in foreign.registered() if name not in FAMILIES)]


def option_names(name: str) -> list[str]:
    """Return the options a shipped scheduler takes."""
    return list(FAMILIES[name].options.model_fields)


def check(study: Study) -> list[Problem]:
    """Return why the study's scheduler cannot work: no such name or option, or a useless combination."""
    family = FAMILIES.get(study.scheduler.name)
    if family is None:
        return _check_foreign(study)
    options, problems = read_options(family.options, study.scheduler.options, family.name)
    return problems if options is None else family.check(study, options)


def describe(study: Study) -> list[str]:
    """Return plan lines: rungs, the earliest stop, how many trials should reach each rung."""
    family = FAMILIES.get(study.scheduler.name)
    if family is None:
        return foreign.describe(study)
    lines = family.describe(study, _options(study, family))
    if protected_trial(study) is not None and family.name != "fifo":
        what = "exploits nobody" if family.name in ("pbt", "pb2") else "is never stopped early"
        lines.append(f"trial 0, the default configuration, {what}")
    return lines


def rungs(study: Study) -> list[int]:
    """Return the iterations at which trials are compared, without building anything; empty if not known."""
    family = FAMILIES.get(study.scheduler.name)
    return family.rungs(study, _options(study, family)) if family is not None else []


def build(study: Study) -> Scheduler:
    """Return the scheduler of a study, ready for Ray Tune.

    Raises:
        PlanError: :func:`check` found problems, or a scheduler from elsewhere cannot be made.
    """
    problems = check(study)
    if problems:
        raise PlanError("\n".join(str(problem) for problem in problems))
    family = FAMILIES.get(study.scheduler.name)
    protected = protected_trial(study)
    if family is None:
        return foreign.build(study, Ledger(study.scheduler.name.rpartition(":")[2], protected))
    return family.build(study, _options(study, family), Ledger(family.name, protected))


def _check_foreign(study: Study) -> list[Problem]:
    name = study.scheduler.name
    if foreign.is_foreign(name):
        return foreign.check(study)
    fix = f"{did_you_mean(name, names())} A TrialScheduler of your own is named module:Class."
    return [Problem("scheduler", f"there is no scheduler {name}", fix=fix.strip())]


def _options(study: Study, family: Family) -> Any:
    options, problems = read_options(family.options, study.scheduler.options, family.name)
    if options is None:
        raise PlanError("\n".join(str(problem) for problem in problems))
    return options
