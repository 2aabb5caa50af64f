"""No early stopping: every trial runs to ``max_iterations``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raytune_suite.schedulers.core import Family, Ledger, Options, Scheduler

if TYPE_CHECKING:
    from raytune_suite.errors import Problem
    from raytune_suite.study import Study


class FifoOptions(Options):
    """There is nothing to set."""


def check(study: Study, options: FifoOptions) -> list[Problem]:  # noqa: ARG001 - the same for every family
    """Return no problems: there is nothing that cannot work."""
    return []


def describe(study: Study, options: FifoOptions) -> list[str]:  # noqa: ARG001 - the same for every family
    """Say that nothing is stopped early."""
    return [f"fifo: no trial is stopped early; each runs {study.max_iterations} iterations"]


def rungs(study: Study, options: FifoOptions) -> list[int]:  # noqa: ARG001 - the same for every family
    """Return no rungs."""
    return []


def build(study: Study, options: FifoOptions, ledger: Ledger) -> Scheduler:  # noqa: ARG001
    """Return Ray's ``FIFOScheduler``."""
    from ray.tune.schedulers import FIFOScheduler

    ray = FIFOScheduler()
    ray.set_search_properties(study.metric, study.mode)
    return Scheduler("fifo", ray, ledger, max_iterations=study.max_iterations, replayable=True)


FAMILY = Family("fifo", FifoOptions, check, describe, rungs, build)
