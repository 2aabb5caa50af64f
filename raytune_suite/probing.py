"""Probes: the first trials of a study, trained for real before the rest is foreseen, in the study's own experiment.

They are no extra: ``raytune run`` goes on with what they have begun.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raytune_suite import foreseen
from raytune_suite import journal as journals
from raytune_suite.errors import PlanError
from raytune_suite.runner import run
from raytune_suite.study import Study

EXTENDABLE = ("fifo", "asha", "median")
"""Schedulers to which a few trials are a beginning: others divide up a number of trials known from the start."""


def probe(study: Study, count: int, **engine: Any) -> Path:
    """Train the first ``count`` trials and return the experiment's folder; nothing to do where that was done before.

    Raises:
        PlanError: the study is none whose beginning can be run by itself.
        ExperimentError: there is another experiment of this name.
    """
    if begun(study):
        return Path(study.folder)
    if study.scheduler.name not in EXTENDABLE or study.num_trials is None:
        what = study.scheduler.name if study.num_trials is not None else "a whole grid"
        raise PlanError(f"{what} cannot be begun with a few trials: name an earlier experiment with --from EXPERIMENT")
    return run(_beginning(study, min(count, study.num_trials)), **engine).folder


def begun(study: Study) -> bool:
    """Whether the study's folder holds its probes, or more, and nothing but the number of trials differs."""
    folder = Path(study.folder)
    if study.num_trials is None or not (folder / foreseen.FILE).is_file() or not (folder / journals.FILE).is_file():
        return False
    there = Study.load(folder / "study.yaml", study.project)
    fewer = there.num_trials is not None and there.num_trials <= study.num_trials
    return fewer and _beginning(study, there.num_trials or 0).dump() == there.dump()


def _beginning(study: Study, count: int) -> Study:
    return study.model_copy(update={"num_trials": count}).with_project(study.project)
