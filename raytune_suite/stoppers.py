"""What ends a trial by its own curve, and a study by its own progress: pure, with no clock but the given one.

Values keep the user's sign; a value that is NaN or infinite is the worst there is. Trial 0 of a study that
declares a ``default`` is the yardstick: a plateau does not stop it, the target, a budget and NaN do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from raytune_suite.states import State

if TYPE_CHECKING:
    from raytune_suite.study import Study

EXPLOITING = frozenset({"pbt"})
OWN_RULES = frozenset({"trial_plateau", "nan", "trial_time"})
"""Those that end one trial by its own curve, while the study goes on."""


@dataclass(frozen=True)
class Stopped:
    """A decision to stop: who took it, the sentence a user reads, the state it leads to, and the facts."""

    by: str
    text: str
    state: State = State.STOPPED
    reason: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Curve:
    """What is kept of one running trial: its record values, and how long ago the last one was."""

    records: list[tuple[int, float]] = field(default_factory=list)
    since: int = 0
    last_good: tuple[int, float] | None = None

    def rewind(self, iteration: int) -> None:
        """Forget what a trial restored from before ``iteration`` is about to report again."""
        while self.records and self.records[-1][0] >= iteration:
            self.records.pop()
            self.since = 0
        if self.last_good and self.last_good[0] >= iteration:
            self.last_good = self.records[-1] if self.records else None


class Stoppers:
    """All the stop rules of one study, combined: the first that holds wins.

    ``elapsed_before`` is the running time (seconds) of earlier sessions of a resumed study: budgets count
    running time only. ``clock`` gives seconds; the default does not jump with the wall clock.
    """

    def __init__(
        self, study: Study, clock: Callable[[], float] = time.monotonic, *, elapsed_before: float = 0.0
    ) -> None:
        self._stop = study.stop
        self._sign = 1.0 if study.mode == "max" else -1.0
        self._metric = study.metric
        self._protected = 0 if study.default is not None else None
        self._nan_ends = study.scheduler.name not in EXPLOITING
        self._clock = clock
        self._before = elapsed_before
        self._started = clock()
        self._curves: dict[int, _Curve] = {}
        self._best: float | None = None
        self._ended_since = 0
        self._reached: tuple[int, float] | None = None

    @property
    def elapsed(self) -> float:
        """Running time of the study in seconds, all sessions."""
        return self._before + self._clock() - self._started

    @property
    def remaining(self) -> float | None:
        """Seconds left of the study's time budget; None without one."""
        return None if self._stop.time is None else max(0.0, self._stop.time - self.elapsed)

    def report(self, number: int, iteration: int, value: float | None, elapsed: float) -> Stopped | None:
        """Judge one report of a running trial.

        ``value`` is None when this report did not measure the metric; ``elapsed`` is the trial's own training
        time in seconds.
        """
        stopped = None if value is None else self._judge(number, iteration, value)
        return stopped or self._trial_time(iteration, elapsed)

    def end(self, number: int, value: float | None) -> None:
        """Note that a trial has ended; ``value`` None (it failed) says nothing about the study's plateau."""
        self._curves.pop(number, None)
        if value is None:
            return
        self._reach(number, value)
        plateau = self._stop.study_plateau
        if math.isfinite(value) and self._beats(value, self._best, plateau.min_delta if plateau else 0.0):
            self._best, self._ended_since = value, 0
        else:
            self._ended_since += 1

    def study(self) -> Stopped | None:
        """Say whether, and why, the whole study should end now."""
        return self._study_target() or self._study_time() or self._study_plateau()

    def _judge(self, number: int, iteration: int, value: float) -> Stopped | None:
        curve = self._curves.setdefault(number, _Curve())
        curve.rewind(iteration)
        if not math.isfinite(value):
            return self._not_finite(curve, iteration, value) if self._nan_ends else None
        curve.last_good = (iteration, value)
        return self._target(number, iteration, value) or self._trial_plateau(number, curve, iteration, value)

    def _beats(self, value: float, best: float | None, min_delta: float) -> bool:
        return best is None or self._sign * (value - best) > min_delta

    def _reach(self, number: int, value: float) -> bool:
        target = self._stop.target
        reached = target is not None and math.isfinite(value) and self._sign * (value - target) >= 0
        if reached and self._reached is None:
            self._reached = (number, value)
        return reached

    def _not_finite(self, curve: _Curve, iteration: int, value: float) -> Stopped:
        last = curve.last_good
        kept = f"its last good value, {last[1]:.4g} at iteration {last[0]}, is kept" if last else "it never had a value"
        text = f"stopped at iteration {iteration}: {self._metric} is {value}, the worst value; {kept}"
        return Stopped("nan", text, reason={"value": value, "last_good": last[1] if last else None})

    def _target(self, number: int, iteration: int, value: float) -> Stopped | None:
        if not self._reach(number, value):
            return None
        target = self._stop.target
        text = f"stopped at iteration {iteration}: {self._metric} {value:.4g} reached the target {target:.4g}"
        return Stopped("target", text, reason={"value": value, "target": target})

    def _trial_plateau(self, number: int, curve: _Curve, iteration: int, value: float) -> Stopped | None:
        plateau = self._stop.trial_plateau
        if plateau is None or number == self._protected:
            return None
        if self._beats(value, curve.records[-1][1] if curve.records else None, plateau.min_delta):
            curve.records.append((iteration, value))
            curve.since = 0
            return None
        curve.since += 1
        if curve.since < plateau.patience:
            return None
        at, best = curve.records[-1]
        text = (
            f"stopped at iteration {iteration}: no {_improvement(plateau.min_delta)} on "
            f"{best:.4g} (iteration {at}) in {curve.since} reports"
        )
        reason = {
            "best": best,
            "best_iteration": at,
            "patience": plateau.patience,
            "min_delta": plateau.min_delta,
        }
        return Stopped("trial_plateau", text, reason=reason)

    def _trial_time(self, iteration: int, elapsed: float) -> Stopped | None:
        limit = self._stop.trial_time
        if limit is None or elapsed < limit:
            return None
        text = (
            f"stopped at iteration {iteration}: trained for {duration(elapsed)}, "
            f"its budget (trial_time) is {duration(limit)}"
        )
        return Stopped("trial_time", text, reason={"elapsed": elapsed, "limit": limit})

    def _study_target(self) -> Stopped | None:
        if self._reached is None:
            return None
        number, value = self._reached
        text = f"trial {number} reached the target: {self._metric} {value:.4g} (target {self._stop.target:.4g})"
        return Stopped("target", text, reason={"number": number, "value": value, "target": self._stop.target})

    def _study_time(self) -> Stopped | None:
        limit = self._stop.time
        if limit is None or self.elapsed < limit:
            return None
        text = f"the study has run for {duration(self.elapsed)}, its budget (time) is {duration(limit)}"
        return Stopped("time", text, reason={"elapsed": self.elapsed, "limit": limit})

    def _study_plateau(self) -> Stopped | None:
        plateau = self._stop.study_plateau
        if plateau is None or self._ended_since < plateau.patience:
            return None
        best = "no trial had a finite value" if self._best is None else f"the best stays {self._best:.4g}"
        text = f"no {_improvement(plateau.min_delta)} in the last {self._ended_since} ended trials: {best}"
        reason = {"best": self._best, "patience": plateau.patience, "min_delta": plateau.min_delta}
        return Stopped("study_plateau", text, reason=reason)


def _improvement(min_delta: float) -> str:
    return f"improvement of more than {min_delta:g}" if min_delta else "improvement"


def duration(seconds: float) -> str:
    """Seconds as a person would say them: ``42 s``, ``5 min 30 s``, ``2 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"
