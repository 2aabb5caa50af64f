"""Ray's ASHA with its own bracket draws, telling at each rung what it compared."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler

from raytune_suite.schedulers.core import Ledger, count, finite, share
from raytune_suite.schedulers.onray.randomness import drawn_bracket


class ExplainedASHA(AsyncHyperBandScheduler):  # type: ignore[misc]
    """ASHA whose brackets come from (study seed, trial) alone, and whose rung decisions are noted.

    A trial protected by the ledger is recorded in every rung, so others are compared with it, and never
    stopped.
    """

    def __init__(self, ledger: Ledger, seed: int, **kwargs: Any) -> None:
        super().__init__(time_attr="training_iteration", **kwargs)
        self._ledger, self._seed = ledger, seed
        # Ray would compare a report that has skipped a rung with that lower rung's scores, one report later:
        # a value of iteration 15 against values of iteration 1. This flag limits a trial to its highest rung.
        for bracket in self._brackets:
            bracket._stop_last_trials = False

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Draw the trial's bracket as Ray does (softmax over their numbers of rungs), from its own stream."""
        sizes = np.array([len(bracket._rungs) for bracket in self._brackets])
        weights = np.exp(sizes - sizes.max())
        index = drawn_bracket(self._seed, trial.trial_id, weights / weights.sum())
        self._trial_info[trial.trial_id] = self._brackets[index]

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide as Ray does, and note what was compared if the report met a rung."""
        value, iteration = result.get(self._metric), result[self._time_attr]
        if value is None:
            return str(self.STOP if iteration >= self._max_t else self.CONTINUE)
        if not finite(value):
            return self._not_finite(trial.trial_id, iteration, value)
        before = self._open_rung(trial.trial_id, iteration)
        action = str(super().on_trial_result(tune_controller, trial, result))
        if before is None or iteration >= self._max_t:
            return action
        return self._noted(trial.trial_id, iteration, value, action, *before)

    def until(self, max_iterations: int) -> None:
        """Stop trials at this iteration; rungs beyond it are not reached."""
        self._max_t = max_iterations

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Record the last value if it met a rung; a value that cannot be compared is not recorded."""
        if finite(result.get(self._metric)):
            super().on_trial_complete(tune_controller, trial, result)
        self._trial_info.pop(trial.trial_id, None)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget the trial's bracket; its rung scores stay."""
        self._trial_info.pop(trial.trial_id, None)

    def first_rung(self, trial_id: str) -> int:
        """Return the first iteration at which the trial can be stopped."""
        bracket = self._trial_info.get(trial_id)
        return math.ceil(bracket._rungs[-1][0]) if bracket is not None else int(self._max_t)

    def _open_rung(self, trial_id: str, iteration: int) -> tuple[int, float, float | None, int] | None:
        """Return (bracket, milestone, cutoff, number recorded) of the rung this report will enter."""
        bracket = self._trial_info[trial_id]
        for milestone, recorded in bracket._rungs:
            if iteration >= milestone:
                if trial_id in recorded:
                    return None
                return self._brackets.index(bracket), milestone, bracket.cutoff(recorded), len(recorded)
        return None

    def _noted(
        self,
        trial_id: str,
        iteration: int,
        value: float,
        action: str,
        bracket: int,
        milestone: float,
        cutoff: float | None,
        compared: int,
    ) -> str:
        cutoff = None if cutoff is None else float(self._metric_op * cutoff)
        reason = {
            "bracket": bracket,
            "rung": milestone,
            "score": value,
            "cutoff": cutoff,
            "compared": compared,
            "reduction_factor": self._reduction_factor,
        }
        what = self._comparison(bracket, milestone, value, cutoff, compared, action)
        spared = action == self.STOP and trial_id == self._ledger.protected
        if spared:
            reason["protected"] = True
            text = f"continued at iteration {iteration} as the default configuration, although {what}"
        else:
            text = f"{'stopped' if action == self.STOP else 'continued'} at iteration {iteration}: {what}"
        action = str(self.CONTINUE) if spared else action
        self._ledger.note(trial_id, iteration, "stop" if action == self.STOP else "continue", reason, text)
        return action

    def _comparison(
        self, bracket: int, rung: float, value: float, cutoff: float | None, compared: int, action: str
    ) -> str:
        where = f"rung {rung:g}" + (f" of bracket {bracket}" if len(self._brackets) > 1 else "")
        if cutoff is None:
            return f"{value:.4g} is the first value in {where}, so there is nothing to compare it with"
        verdict = "worse than" if action == self.STOP else "not worse than"
        best = f"top {share(self._reduction_factor)} of {count(compared, 'trial')}"
        return f"{value:.4g} is {verdict} the cutoff {cutoff:.4g} of {where} ({best})"

    def _not_finite(self, trial_id: str, iteration: int, value: float) -> str:
        """Stop: nothing can be compared, and a recorded infinity would spoil the rung's percentiles."""
        if iteration >= self._max_t:
            return str(self.STOP)
        reason = {"score": value}
        what = f"at iteration {iteration}: {self._metric} is {value}, the worst value there is"
        if trial_id == self._ledger.protected:
            self._ledger.note(trial_id, iteration, "continue", reason, f"continued {what}; it is the default")
            return str(self.CONTINUE)
        self._ledger.note(trial_id, iteration, "stop", reason, f"stopped {what}")
        self._num_stopped += 1
        return str(self.STOP)
