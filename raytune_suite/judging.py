"""Where in a trial a decision about it may fall, as a worker must know: it does not train past such a report."""

from __future__ import annotations

from typing import Any

from raytune_suite.schedulers.core import Scheduler
from raytune_suite.study import Study


def judging(study: Study, scheduler: Scheduler) -> dict[str, Any]:
    """Return the settings of a worker that say where decisions fall, and for how long it may gather reports.

    They are ``joined`` into one result where neither callbacks of the user's nor a foreign scheduler want one each.
    """
    # Where every report may end a trial, reports are sent soon; else only what watches the study waits for them.
    soon = scheduler.every_report or scheduler.pauses or study.stop.trial_plateau is not None
    return {
        "metric": study.metric,
        "mode": study.mode,
        "max_iterations": study.max_iterations,
        "decisions": frozenset(scheduler.rungs),
        "target": study.stop.target,
        "bucket_s": 0.05 if soon else 0.5,
        "joined": scheduler.replayable and not scheduler.pauses and not study.callbacks,
    }
