"""Which engine runs a study: the pool, or Ray Tune's own actors; and the pool's life around one run."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from raytune_suite.errors import PlanError

if TYPE_CHECKING:
    from raytune_suite.schedulers.core import Scheduler
    from raytune_suite.worker import Worker

logger = logging.getLogger("raytune_suite")

ENGINES = ("pool", "tune")
USUAL = "tune"
VARIABLE = "RAYTUNE_ENGINE"
_told: set[str] = set()


def choose(wanted: str | None = None) -> str:
    """``pool`` or ``tune``: what is asked for, else what ``$RAYTUNE_ENGINE`` says, else the usual one.

    The pool rests on what is private in Ray Tune; with a version of Ray where that differs, Tune's own actors are
    used, which is said once.

    Raises:
        PlanError: there is no engine of this name.
    """
    name = wanted or os.environ.get(VARIABLE) or USUAL
    if name not in ENGINES:
        raise PlanError(f"there is no engine {name!r}: choose one of {', '.join(ENGINES)}")
    if name == "tune":
        return name
    from raytune_suite.engine import seam

    if not (found := seam.differences()):
        return name
    for line in set(found) - _told:
        logger.warning("the pool of workers cannot be used with this version of Ray: %s", line)
    if not _told:
        sys.stderr.write(f"This version of Ray differs ({found[0]}): Ray Tune's own workers are used\n")
    _told.update(found)
    return "tune"


@contextmanager
def running(
    name: str, worker: type[Worker], limit: Callable[[], int], scheduler: Scheduler, learns: bool
) -> Iterator[Callable[[], int]]:
    """Let Tune's controller find its actors where the engine ``name`` has them, for the time of a run.

    ``limit()``: how many worker processes there may be; ``learns``: whether suggestions depend on results. Yields how
    many trials, besides those for which there are slots, are welcome now.
    """
    if name == "tune":
        yield lambda: 0
        return
    from raytune_suite.engine import lean, seam
    from raytune_suite.engine.pool import Pool
    from raytune_suite.engine.slots import Limits
    from raytune_suite.engine.workers import RayWorkers

    if not scheduler.pauses:  # those that pause need checkpoints as Tune knows them
        worker.pooled = staticmethod(lean.maker(worker.settings))  # type: ignore[attr-defined]
    early = not (learns or scheduler.pauses or scheduler.promotes or scheduler.population)
    workers = RayWorkers(limit, worker.settings)
    pool = Pool(workers, Limits(park=early))
    try:
        with seam.installed(lambda: pool):
            yield lambda: pool.appetite
    finally:
        pool.close()
        workers.farewell()
