"""Ray's median stopping rule, telling the median it compared with."""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import MedianStoppingRule

from raytune_suite.schedulers.core import Ledger, count, finite
from raytune_suite.schedulers.runningmeans import RunningMeans


class ExplainedMedian(MedianStoppingRule):  # type: ignore[misc]
    """The rule as Ray ships it, decision for decision; the means it compares are kept, not computed anew each time.

    Ray goes through all reports of all trials for every report: half a minute for 2,000 short trials.
    """

    def __init__(self, ledger: Ledger, max_iterations: int, **kwargs: Any) -> None:
        super().__init__(time_attr="training_iteration", **kwargs)
        self._ledger, self._max_iterations = ledger, max_iterations
        self._means = RunningMeans(self._grace_period)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide as Ray does; NaN counts as the worst value, a report without the metric is passed over."""
        value, iteration = result.get(self._metric), result[self._time_attr]
        if value is None:
            return str(self.CONTINUE)
        self._rewind(trial, iteration)
        if trial in self._stopped_trials:
            return str(self.CONTINUE)
        self._keep(trial, iteration, value if finite(value) else self._worst)
        action = self._judged(tune_controller, trial, iteration)
        if action == self.CONTINUE or iteration >= self._max_iterations:
            return action
        return self._noted(trial, iteration, action)

    def until(self, max_iterations: int) -> None:
        """Stop trials at this iteration; rungs beyond it are not reached."""
        self._max_iterations = max_iterations

    def _keep(self, trial: Any, iteration: int, value: float) -> None:
        self._results[trial].append({self._time_attr: iteration, self._metric: value})
        self._means.add(trial.trial_id, iteration, value)

    def _judged(self, tune_controller: Any, trial: Any, iteration: int) -> str:
        if iteration < self._grace_period:
            return str(self.CONTINUE)
        median, others = self._means.others(trial.trial_id, iteration)
        if others < self._min_samples_required:
            action = str(self._on_insufficient_samples(tune_controller, trial, iteration))
            if action == self.PAUSE:
                self._last_pause[trial] = iteration
            return action
        best = self._best_result(trial)
        if self._compare_op(median, best) == best:
            return str(self.CONTINUE)
        self._stopped_trials.add(trial)
        return str(self.STOP if self._hard_stop else self.PAUSE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Keep the last value, which the report that ended the trial may not have brought here."""
        if finite(result.get(self._metric)):
            self._keep(trial, result[self._time_attr], result[self._metric])

    def _rewind(self, trial: Any, iteration: int) -> None:
        """Forget what a trial that went back to its checkpoint reports again: twice would count double."""
        results = self._results.get(trial, [])
        while results and results[-1][self._time_attr] >= iteration:
            results.pop()
        self._means.rewind(trial.trial_id, iteration)

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
        median, others = self._means.others(trial.trial_id, iteration)
        return float(self._best_result(trial)), median, others
