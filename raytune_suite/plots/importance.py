"""Which parameters the value depends on: functional ANOVA over a forest, as Optuna computes it.

Hutter, Hoos and Leyton-Brown: An Efficient Approach for Assessing Hyperparameter Importance. ICML 2014.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raytune_suite.analysis import Experiment, Rule
from raytune_suite.plots.axes import Axis, axes
from raytune_suite.record import TrialRecord

FEW = 30
LEAST = 4
MOST = 200  # the time grows with the square of the number of trials
_TREES = 32


@dataclass(frozen=True)
class Share:
    """A parameter's share of the variation of the value, and the range it had over resampled trials."""

    name: str
    share: float
    low: float
    high: float
    active: int


@dataclass(frozen=True)
class Importance:
    """Shares, the greatest first, adding up to 1; the ``trials`` with a value; how many of them they rest on."""

    shares: list[Share]
    trials: int
    used: int
    warning: str | None


def importance(experiment: Experiment, rule: Rule = "best", *, resamples: int = 6, seed: int = 0) -> Importance:
    """How much of the variation of the value each parameter explains, alone and with others.

    Trials without a value (failed, diverged) are left out. An inactive parameter stands in the middle of its range
    (a choice: as one more choice), so it explains nothing where it is inactive. ``resamples`` bootstrap samples
    give the range. Of more than 200 trials as many are drawn; with fewer than 4, or one value for all, there are no
    shares.
    """
    trials = experiment.ranked(rule)
    scales = [axis for axis in axes(experiment) if any(axis.name in trial.point for trial in trials)]
    values = [experiment.value(trial, rule) or 0.0 for trial in trials]
    used = min(len(trials), MOST)
    if len(trials) < LEAST or not scales or len(set(values)) < 2:
        return Importance([], len(trials), used, _warning(len(trials)))
    rng = np.random.default_rng(seed)
    rows = [[_coordinate(axis, trial) for axis in scales] for trial in trials]
    draws = [rng.permutation(len(trials))[:used], *(rng.integers(0, len(trials), used) for _ in range(resamples))]
    samples = [
        _evaluate(scales, [rows[i] for i in drawn], [values[i] for i in drawn], seed + place)
        for place, drawn in enumerate(draws)
        if len({values[i] for i in drawn}) > 1
    ]
    shares = [_share(axis, samples[0], samples[1:], trials) for axis in scales]
    return Importance(sorted(shares, key=lambda s: -s.share), len(trials), used, _warning(len(trials)))


def _evaluate(
    scales: Sequence[Axis], rows: list[list[float | str]], values: list[float], seed: int
) -> dict[str, float]:
    import optuna

    spaces: dict[str, optuna.distributions.BaseDistribution] = {}
    for column, axis in enumerate(scales):
        labels = tuple(dict.fromkeys(str(row[column]) for row in rows)) if axis.choices else ()
        spaces[axis.name] = (
            optuna.distributions.CategoricalDistribution(labels)
            if axis.choices
            else optuna.distributions.FloatDistribution(0.0, 1.0)
        )
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study()
        made = [
            optuna.trial.create_trial(
                params={axis.name: cell for axis, cell in zip(scales, row, strict=True)},
                distributions=spaces,
                value=value,
            )
            for row, value in zip(rows, values, strict=True)
        ]
        study.add_trials(made)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is experimental in Optuna's words, and says so each time
            evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=_TREES, seed=seed)
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        return {name: float(share) for name, share in found.items()}
    finally:
        optuna.logging.set_verbosity(before)


def _coordinate(axis: Axis, trial: TrialRecord) -> float | str:
    present = axis.name in trial.point
    if axis.choices:
        place = axis.place(trial.point[axis.name]) if present else None
        return axis.choices[int(place)] if place is not None else "(inactive)"
    unit = axis.unit(trial.point[axis.name]) if present else None
    return 0.5 if unit is None else unit


def _share(axis: Axis, middle: dict[str, float], samples: list[dict[str, float]], trials: list[TrialRecord]) -> Share:
    spread = [sample.get(axis.name, 0.0) for sample in samples]
    share = middle.get(axis.name, 0.0)
    low, high = (min(spread), max(spread)) if spread else (share, share)
    active = sum(axis.name in trial.point for trial in trials)
    return Share(axis.name, share, min(low, share), max(high, share), active)


def _warning(trials: int) -> str | None:
    if trials >= FEW:
        return None
    return f"It rests on {trials} trial{'s' if trials != 1 else ''}: under {FEW} it is a hint at most."
