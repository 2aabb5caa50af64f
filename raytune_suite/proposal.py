"""Why a trial was proposed, and how the model's prediction compares with what came, for a user to read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from raytune_suite.analysis import Experiment
from raytune_suite.formats import count, facts, number
from raytune_suite.record import TrialRecord
from raytune_suite.states import State

_ORIGINS = {
    "default": "the study's default configuration",
    "given": "a point the study names (points_to_evaluate)",
    "design": "one of the even cover at the start",
    "prior": "one of the even cover at the start, drawn towards the study's belief (prior)",
    "transfer": "promising in an earlier experiment",
    "grid": "the next point of the grid",
    "told": "a trial of another searcher",
}
_AIMS = {"exploit": "to improve on what looks best", "explore": "to explore"}


@dataclass(frozen=True)
class Prediction:
    """What the model expected of a whole training: ``low`` to ``high`` is one standard deviation either side.

    ``actual`` is the trial's last value if it trained to the end, else None.
    """

    predicted: float
    low: float
    high: float
    actual: float | None

    @property
    def inside(self) -> bool | None:
        """Whether the actual value lies between low and high; None while there is none."""
        return None if self.actual is None else self.low <= self.actual <= self.high


def prediction(experiment: Experiment, trial: TrialRecord) -> Prediction | None:
    """What was predicted for a trial; None if nothing was."""
    numbers = [_finite(trial.note.get(name)) for name in ("predicted", "low", "high")]
    predicted, low, high = numbers
    if predicted is None or low is None or high is None:
        return None
    return Prediction(predicted, low, high, final_value(experiment, trial))


def final_value(experiment: Experiment, trial: TrialRecord) -> float | None:
    """The last value of a trial that trained to the end; None for any other."""
    most = experiment.record.max_iterations
    reached = most is not None and trial.iteration >= most
    whole = trial.state is State.COMPLETED or (trial.state is State.STOPPED and reached)
    return experiment.value(trial, "last") if whole else None


def sentence(experiment: Experiment, trial: TrialRecord) -> str:
    """Where a trial comes from, and for one of the model's what was expected and what came."""
    if trial.origin == "model":
        return _by_model(experiment, trial)
    if trial.origin == "random":
        return _at_random(experiment, trial)
    note = facts(trial.note)
    return f"{_ORIGINS.get(trial.origin, trial.origin or 'unknown')}{f' ({note})' if note else ''}"


def _by_model(experiment: Experiment, trial: TrialRecord) -> str:
    note, found = trial.note, prediction(experiment, trial)
    aim = _AIMS.get(str(note.get("why")))
    opening = f"proposed by the model{f' {aim}' if aim else ''}"
    basis = _basis(note)
    if found is None:
        return opening + (f", from {basis}" if basis else "")
    expected = f"{number(found.predicted, 3)} ({number(found.low, 3)} to {number(found.high, 3)})"
    expected += f" from {basis}" if basis else ""
    return f"{opening}: it expected {expected}; {_outcome(trial, found)}"


def _basis(note: dict[str, Any]) -> str:
    """``14 trials with a value, 3 in flight, 1 failed``; what is zero is left out."""
    known, pending, failed = (int(_finite(note.get(name)) or 0) for name in ("observations", "pending", "failed"))
    parts = [f"{count(known, 'trial')} with a value"] if known else []
    parts += [f"{pending} in flight"] if pending else []
    return ", ".join([*parts, f"{failed} failed"] if failed else parts)


def _outcome(trial: TrialRecord, found: Prediction) -> str:
    if found.actual is not None:
        off = found.actual - found.predicted
        side = f"{number(abs(off), 3)} {'higher' if off > 0 else 'lower'}" if off else "as expected"
        return f"it came to {number(found.actual, 3)} ({side}, {'inside' if found.inside else 'outside'} the range)"
    if not trial.state.ended:
        return "it has not ended yet"
    if trial.state is State.STOPPED:
        return f"it was stopped at iteration {trial.iteration}, so its value cannot be compared with a whole training's"
    if trial.state is State.COMPLETED:
        return "its last value is not a number"
    return f"it {'ran out of memory' if trial.state is State.OOM else trial.state.value.replace('_', ' ')}"


def _at_random(experiment: Experiment, trial: TrialRecord) -> str:
    if "attempts" in trial.note:  # a searcher of another library, before its model begins
        return "drawn at random, as the first trials are"
    others = {other.origin for other in experiment.record.trials.values()}
    if others <= {"random", "default", "given"}:
        return "drawn at random"
    return "drawn at random: what the searcher had in mind was tried before or breaks the constraint"


def _finite(value: Any) -> float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if plain else None
