"""Probes: the first trials of a study, trained for real before the rest is foreseen, in the study's own experiment.

They are no extra: ``raytune run`` goes on with what they have begun.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raytune_suite import foreseen
from raytune_suite import journal as journals
from raytune_suite.analysis import load
from raytune_suite.closing import shown_path
from raytune_suite.errors import ExperimentError, PlanError
from raytune_suite.resuming import resume
from raytune_suite.runner import Results, run
from raytune_suite.study import Study

USUAL = 8
EXTENDABLE = ("fifo", "asha", "median")
"""Schedulers to which a few trials are a beginning."""
OTHERWISE = {
    "hyperband": "hyperband shares all trials out among its brackets, so a few would be judged as if no more came",
    "pbt": "pbt trains its whole population from the start, and a few are another population",
    "pb2": "pb2 trains its whole population from the start, and a few are another population",
}


def probe(study: Study, count: int | None = None, **engine: Any) -> Results:
    """Train the first ``count`` trials; of those trained before, none again.

    Where some were, None is no more than those that were begun; else it is :data:`USUAL`. ``engine``: as for
    :func:`raytune_suite.run`.

    Raises:
        PlanError: the study is none whose beginning can be run by itself.
        ExperimentError: there is another experiment of this name.
    """
    folder = Path(study.folder)
    if begun(study):
        more = max(_there(study), min(count or 0, study.num_trials or 0))
        trained = more == _there(study) and load(folder).status == "finished"
        if trained or whole(study):  # what a run has begun is its own to go on with
            return Results(folder, "finished", 0)
        return resume(folder, num_trials=more, project=study.project, **engine)
    _must_be_extendable(study, count or USUAL)
    if (folder / journals.FILE).exists():
        ways = f"simulate with --from {shown_path(folder)}, or give this study another name: --set name={study.name}-2"
        raise ExperimentError(f"{folder} holds another experiment, or one begun with other options: {ways}")
    try:
        return run(_beginning(study, count or USUAL), **engine)
    finally:
        foreseen.expect(folder)


def begun(study: Study) -> bool:
    """Whether the study's folder holds its probes, or more, and nothing but the number of trials differs."""
    folder = Path(study.folder)
    if study.num_trials is None or not (folder / foreseen.FILE).is_file() or not (folder / journals.FILE).is_file():
        return False
    there = Study.load(folder / "study.yaml", study.project)
    fewer = there.num_trials is not None and there.num_trials <= study.num_trials
    return fewer and _beginning(study, there.num_trials or 0).dump() == there.dump()


def whole(study: Study) -> bool:
    """Whether the study's folder holds all of its trials already."""
    return begun(study) and _there(study) == study.num_trials


def _there(study: Study) -> int:
    return Study.load(Path(study.folder) / "study.yaml", study.project).num_trials or 0


def _must_be_extendable(study: Study, count: int) -> None:
    name = study.scheduler.name
    if study.num_trials is None:
        raise PlanError("a grid is trained as a whole: name an earlier experiment with --from EXPERIMENT")
    if study.num_trials <= count:
        what = f"{study.name} has {study.num_trials} trials, of which {count} would be trained to foresee the others"
        raise PlanError(f"{what}: run it, or train fewer with --probes")
    if name not in EXTENDABLE:
        why = OTHERWISE.get(name, f"{name} is from elsewhere, and may need all trials from the start")
        few = f"raytune run STUDY --name {study.name}-probes --num-trials {count} --set scheduler=fifo"
        after = shown_path(Path(study.storage) / f"{study.name}-probes")
        raise PlanError(f"{why}. Train some by themselves: {few}; then simulate with --from {after}")


def _beginning(study: Study, count: int) -> Study:
    return study.model_copy(update={"num_trials": count}).with_project(study.project)
