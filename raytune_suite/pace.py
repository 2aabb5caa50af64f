"""How quickly the trials of an experiment went by the clock: their steps, what lies between steps, and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from raytune_suite.record import TrialRecord


@dataclass(frozen=True)
class Pace:
    """Of each trial the ``seconds`` an iteration takes by the clock, and those that a trial takes ``beside`` them.

    Beside iterations a worker builds the trial's data and model and ends it. That is the median of the trials, so that
    the first ones, for which processes start, do not count. Nor do the first steps in a process, which load libraries.
    """

    seconds: tuple[float, ...]
    beside: float

    @classmethod
    def of(cls, trials: Sequence[TrialRecord]) -> Pace:
        """Of trials with reports; what their clocks do not tell (no start, pauses) is taken from their steps alone."""
        steps = _steps(trials)
        told = [number for number, t in enumerate(trials) if len(t.runs) == 1]
        spans = [_span(trials[number]) for number in told]
        trained = sum(elapsed for _, elapsed in spans)
        slower = max(1.0, sum(clock for clock, _ in spans) / trained) if trained > 0 else 1.0
        seconds = tuple(step * slower for step in steps)
        rest = [(trials[n].seconds or 0.0) - seconds[n] * trials[n].reports[-1].iteration for n in told]
        return cls(seconds, max(0.0, median(rest)) if rest else 0.0)


def _steps(trials: Sequence[TrialRecord]) -> list[float]:
    """Seconds of training an iteration took in each trial; the median where only the first in a process is known."""
    found = [_step(trial) for trial in trials]
    known = [seconds for seconds in found if seconds is not None]
    if not known:
        known = [_average(trial) for trial in trials]
    return [seconds if seconds is not None else median(known) for seconds in found]


def _step(trial: TrialRecord) -> float | None:
    if not trial.runs or trial.runs[0].worker_trials != 1:
        return _average(trial)
    first, last = trial.reports[0], trial.reports[-1]
    later = last.iteration - first.iteration
    return ((last.elapsed or 0.0) - (first.elapsed or 0.0)) / later if later > 0 else None


def _average(trial: TrialRecord) -> float:
    last = trial.reports[-1]
    return (last.elapsed or 0.0) / max(1, last.iteration)


def _span(trial: TrialRecord) -> tuple[float, float]:
    """From the first report to the last: seconds by the clock, and of training."""
    first, last = trial.reports[0], trial.reports[-1]
    return last.time - first.time, (last.elapsed or 0.0) - (first.elapsed or 0.0)
