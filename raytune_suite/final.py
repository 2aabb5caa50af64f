"""The held-out evaluation: once, at the end, for the winner and for the default configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from raytune_suite.checkpoints import Saved, TrialCheckpoints
from raytune_suite.ladder import beyond
from raytune_suite.live import Given
from raytune_suite.record import Record, TrialRecord
from raytune_suite.resources import Request

logger = logging.getLogger("raytune_suite")


def test(
    settings: Mapping[str, Any],
    record: Record,
    needs: Callable[[Mapping[str, Any]], Request],
    run: Callable[..., Any],
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Evaluate the best trial and the default on held-out data; yields trial numbers and flat metrics.

    Each is loaded from its best checkpoint, in a worker that ``run`` finds for what its configuration ``needs``. One
    without a ``test`` yields nothing; one whose test fails is logged and skipped, because the study's result stands
    without it.
    """
    import ray

    tasks = []
    for trial in _candidates(record):
        saved = best_checkpoint(settings, trial)
        if saved is not None:
            given = Given(**trial.given)
            asked = beyond(needs(trial.config), given)
            context = (trial.trial_id, asked.cpu, asked.gpu, given.split)
            tasks.append((trial, run(asked, _evaluate, dict(settings), trial.config, str(saved.path), context)))
    for trial, task in tasks:
        try:
            metrics = ray.get(task)
        except ray.exceptions.RayError as error:
            logger.warning("the test of trial %s failed: %s", trial.trial_id, error)
            continue
        if metrics is not None:
            yield trial.number, metrics


def best_checkpoint(settings: Mapping[str, Any], trial: TrialRecord) -> Saved | None:
    """The intact checkpoint with the trial's best value, or its last if none has one; None if there is none."""
    folder = Path(settings["folder"]) / "checkpoints" / trial.trial_id
    return TrialCheckpoints(folder, mode=settings["mode"]).best_intact()


def _candidates(record: Record) -> list[TrialRecord]:
    winner = record.best()
    chosen = [winner] if winner is not None else []
    default = record.trials.get(0)
    if default is not None and default.origin == "default" and default is not winner:
        chosen.append(default)
    return chosen


def _evaluate(
    settings: dict[str, Any], config: dict[str, Any], checkpoint: str, given: tuple[str, float, float, int]
) -> dict[str, Any] | None:
    from raytune_suite.hosts import kind_of
    from raytune_suite.repeats import open_trial
    from raytune_suite.resolve import resolve
    from raytune_suite.seeds import repeat_seeds
    from raytune_suite.worker import trial_context

    project = Path(settings["project"])
    if kind_of(resolve(settings["trainable"], project)) != "suite":
        return None
    context = trial_context(settings, *given)
    seeds = repeat_seeds(settings["seed"], settings["repeats"])
    host = open_trial(settings["trainable"], project, config, context, seeds)
    try:
        host.load(Path(checkpoint))
        return host.test()
    finally:
        host.close()
