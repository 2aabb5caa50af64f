"""Ray's median stopping rule, telling the median it compared with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from ray.tune.schedulers import MedianStoppingRule

from raytune_suite.schedulers.core import Ledger, count, finite


class ExplainedMedian(MedianStoppingRule):  # type: ignore[misc]
    """The rule as Ray ships it; the reason is computed from its own lists right after it decided."""

    def __init__(self, ledger: Ledger, max_iterations: int, **kwargs: Any) -> None:
        super().__init__(time_attr="training_iteration", **kwargs)
        self._ledger, self._max_iterations = ledger, max_iterations

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide as Ray does; NaN counts as the worst value, a report without the metric is passed over."""
        value, iteration = result.get(self._metric), result[self._time_attr]
        if value is None:
            return str(self.CONTINUE)
        known = {**result, self._metric: value if finite(value) else self._worst}
        self._rewind(trial, iteration)
        action = str(super().on_trial_result(tune_controller, trial, known))
        if action == self.CONTINUE or iteration >= self._max_iterations:
            return action
        return self._noted(trial, iteration, action)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Keep the last value, which the report that ended the trial may not have brought here."""
        if finite(result.get(self._metric)):
            super().on_trial_complete(tune_controller, trial, result)

    def _rewind(self, trial: Any, iteration: int) -> None:
        """Forget what a trial that went back to its checkpoint reports again: twice would count double."""
        results = self._results.get(trial, [])
        while results and results[-1][self._time_attr] >= iteration:
            results.pop()

    def _noted(self, trial: Any, iteration: int, action: str) -> str:
        if trial not in self._stopped_trials:
            reason: dict[str, Any] = {"grace_period": self._grace_period}
            text = f"paused at iteration {iteration}: too few others for a median, and some wait for a slot"
            self._ledger.note(trial.trial_id, iteration, "pause", reason, text)
            return action
        best, median, others = self._compared(trial, iteration)
        reason = {"best": best, "median": median, "compared": others, "grace_period": self._grace_period}
        what = (
            f"at iteration {iteration}: its best value {best:.4g} is worse than {median:.4g}, the median of "
            f"the running means of {count(others, 'other trial')}"
        )
        if trial.trial_id == self._ledger.protected:
            self._stopped_trials.discard(trial)
            self._ledger.note(
                trial.trial_id,
                iteration,
                "continue",
                reason,
                f"continued as the default configuration {what}",
            )
            return str(self.CONTINUE)
        word, verb = ("stop", "stopped") if action == self.STOP else ("pause", "paused")
        self._ledger.note(trial.trial_id, iteration, word, reason, f"{verb} {what}")
        return action

    def _compared(self, trial: Any, iteration: int) -> tuple[float, float, int]:
        """Return (best value, median, number of others) as the decision just taken had them."""
        others = [other for other in self._trials_beyond_time(iteration) if other != trial]
        means = [mean for other in others if math.isfinite(mean := self._running_mean(other, iteration))]
        return float(self._best_result(trial)), float(np.median(means)), len(means)
