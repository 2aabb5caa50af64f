"""Which engine runs a study: the pool, or Ray Tune's own actors."""

from __future__ import annotations

import logging
import os
import sys

from raytune_suite.errors import PlanError

logger = logging.getLogger("raytune_suite")

ENGINES = ("pool", "tune")
USUAL = "pool"
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
