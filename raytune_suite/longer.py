"""More iterations for a study that goes on: which trials take them up, and which schedulers allow it."""

from __future__ import annotations

from raytune_suite.checkpoints import TrialCheckpoints
from raytune_suite.errors import ExperimentError
from raytune_suite.journal import Journal
from raytune_suite.live import RETURNED
from raytune_suite.record import Record, TrialRecord
from raytune_suite.states import State
from raytune_suite.study import Study

ALLOW = ("fifo", "asha", "median", "pbt", "pb2")


def check(study: Study, changed: Study) -> None:
    """Raise ExperimentError if trials cannot be trained as long as ``changed`` says."""
    before, after, name = study.max_iterations, changed.max_iterations, study.scheduler.name
    if after < before:
        raise ExperimentError(f"max_iterations must not be below the study's own {before}, got {after}.")
    if name not in ALLOW:
        rests = "its brackets rest on it" if name == "hyperband" else "nobody knows what of it rests on it"
        raise ExperimentError(f"max_iterations cannot change under {name}: {rests}. Run the study under another name.")
    if study.repeats > 1:
        raise ExperimentError(
            f"max_iterations cannot change with repeats ({study.repeats}): a configuration's trainings are over. More "
            "configurations can be added with --num-trials, failed ones tried again with retry; for longer trainings "
            "run the study under another name, with this one under from."
        )
    if name in ("pbt", "pb2") and "perturbation_interval" not in study.scheduler.options:
        raise ExperimentError(
            f"max_iterations cannot change under {name} without a perturbation_interval: it would change with it. "
            "Run the study under another name."
        )


def reopen(study: Study, record: Record, journal: Journal) -> None:
    """Note that trials that ``study``, as it was, had completed go on from their last checkpoints.

    Stopped trials stay stopped, and those whose training had come to an end of its own have nothing to go on with.
    """
    for trial in record.trials.values():
        if _may_go_on(study, trial) and _has_checkpoint(journal, trial):
            journal.append("retry", number=trial.number, attempt=trial.attempt + 1, state=trial.state, by="longer")


def _may_go_on(study: Study, trial: TrialRecord) -> bool:
    done = trial.state is State.COMPLETED and trial.reason != RETURNED
    return done and trial.iteration >= study.max_iterations


def _has_checkpoint(journal: Journal, trial: TrialRecord) -> bool:
    """Without one it would be trained again from its beginning."""
    return TrialCheckpoints(journal.folder / "checkpoints" / trial.trial_id).latest() is not None
