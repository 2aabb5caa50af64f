"""ASHA's promotion rule for Ray Tune: pause at every rung, resume the best from their checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from raytune_suite.schedulers.core import Ledger, finite
from raytune_suite.schedulers.onray.controllers import no_more_trials
from raytune_suite.schedulers.onray.randomness import drawn_bracket
from raytune_suite.schedulers.promotion import Place
from raytune_suite.schedulers.rungs import Ladder, Rung


class PromotionASHA(FIFOScheduler):  # type: ignore[misc]
    """Algorithm 2 of Li et al. (2018): a free slot goes to whoever can be promoted, else to a new trial.

    A trial is promoted the moment a value recorded in its rung brings it into the best ``1/factor`` of it. That value
    comes with a free slot (the trial that reported it pauses, or is the one that goes on), so nobody who can be
    promoted waits for long, and who is promoted is a function of the reports in their order. Trials left at their
    rungs are stopped when none is to come and none runs.

    Args:
        ledger: where decisions are noted; the trial it protects goes on at every rung.
        seed: of the study, for drawing brackets.
        ladders: the iterations of the rungs of each bracket, below ``max_t``.
        weights: how likely a trial is to get each bracket.
    """

    def __init__(
        self,
        ledger: Ledger,
        seed: int,
        *,
        metric: str,
        mode: str,
        max_t: int,
        reduction_factor: float,
        ladders: Sequence[Sequence[int]],
        weights: Sequence[float],
    ) -> None:
        super().__init__()
        self.set_search_properties(metric, mode)
        self._ledger, self._seed, self._max_t = ledger, seed, max_t
        self._sign = 1.0 if mode == "min" else -1.0
        self._factor, self._weights = reduction_factor, weights
        self._ladders = [Ladder(iterations, reduction_factor) for iterations in ladders]
        self._bracket_of: dict[str, int] = {}
        self._alive: dict[str, Any] = {}
        self._held: set[str] = set()
        #: Promoted and not yet on a worker again: the most urgent has the largest key.
        self._waking: dict[str, tuple[int, float]] = {}

    # -- what Ray Tune tells ---------------------------------------------------------------------------------------

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Take a trial, or take it back: one that failed, or that an earlier session left at its rung."""
        trial_id = trial.trial_id
        self._alive[trial_id] = trial
        if trial_id not in self._bracket_of:
            self._bracket_of[trial_id] = drawn_bracket(self._seed, trial_id, self._weights)
        if trial.status != Trial.PAUSED:
            self._held.discard(trial_id)
            self._waking.pop(trial_id, None)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Pause at a rung, unless the trial can be promoted at once."""
        trial_id, iteration = trial.trial_id, int(result["training_iteration"])
        value = result.get(self._metric)
        self._waking.pop(trial_id, None)
        if iteration >= self._max_t:
            return str(self.STOP)
        if value is None:
            return str(self.CONTINUE)
        if not finite(value):
            return self._not_finite(trial_id, iteration, value)
        rung = self._ladders[self._bracket_of[trial_id]].reached(trial_id, iteration)
        if rung is None:
            return str(self.CONTINUE)
        return self._judged(trial_id, rung, iteration, value)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Count the trial as gone; what it recorded stays."""
        self._forget(trial.trial_id)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Count the trial as gone; what it recorded stays."""
        self._forget(trial.trial_id)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Count the trial as gone; if it is tried again, it is added again."""
        self._forget(trial.trial_id)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the promoted trial to resume: of the highest rung, there the best; None leaves it to the controller.

        When nothing is to come any more, stop those that are left at their rungs.
        """
        ready = [trial_id for trial_id in self._waking if self._alive[trial_id].status == Trial.PAUSED]
        if ready:
            return self._alive[max(ready, key=self._waking.__getitem__)]
        if self._all_held() and no_more_trials(tune_controller):
            while (trial_id := self.leave()) is not None:
                tune_controller.stop_trial(self._alive[trial_id])
        return None

    def debug_string(self) -> str:
        """Return how many wait and how many are about to go on."""
        return f"ASHA by promotion: {len(self._held)} trials wait at their rungs, {len(self._waking)} are promoted"

    # -- what the suite asks -----------------------------------------------------------------------------------------

    def until(self, max_iterations: int) -> None:
        """Stop trials at this iteration; rungs beyond it are not reached."""
        self._max_t = max_iterations

    def holds(self, trial_id: str) -> bool:
        """Say whether the trial waits at a rung and needs no slot."""
        return trial_id in self._held

    def waking(self) -> list[str]:
        """Return the trials that were promoted and have not reported since."""
        return list(self._waking)

    def leave(self) -> str | None:
        """Note why the next of those that are left is stopped and return its id; None if somebody is not held.

        The caller must stop it before asking for another.
        """
        if not self._all_held():
            return None
        trial_id = min(self._held, key=lambda name: (len(name), name))
        rung = self._ladders[self._bracket_of[trial_id]].held(trial_id)
        if rung is None:
            return None
        place = self._place(trial_id, rung)
        iteration = place.at.entry.iteration
        text = f"stopped at iteration {iteration}: no trial is left to come, and {place}"
        self._note(trial_id, place, iteration, "stop", text)
        return trial_id

    def first_rung(self, trial_id: str) -> int:
        """Return the first iteration at which the trial is compared."""
        bracket = self._bracket_of.get(trial_id)
        rungs = self._ladders[bracket].rungs if bracket is not None else []
        return rungs[0].iteration if rungs else self._max_t

    # -- promotions --------------------------------------------------------------------------------------------------

    def _judged(self, trial_id: str, rung: Rung, iteration: int, value: float) -> str:
        rung.record(trial_id, self._sign * value, iteration)
        promoted = rung.promotable(self._alive)
        rung.promoted.update(promoted)
        for other in promoted:
            if other != trial_id:
                self._wake(other, rung)
        place = self._place(trial_id, rung)
        if trial_id in rung.promoted:
            text = f"continued at iteration {iteration}: {place}; {place.ahead()}"
            self._note(trial_id, place, iteration, "continue", text)
            return str(self.CONTINUE)
        if trial_id == self._ledger.protected:
            rung.promoted.add(trial_id)
            text = f"continued at iteration {iteration} as the default configuration, although {place}"
            self._note(trial_id, place, iteration, "continue", text, protected=True)
            return str(self.CONTINUE)
        self._held.add(trial_id)
        self._note(trial_id, place, iteration, "pause", f"paused at iteration {iteration}: {place}")
        return str(self.PAUSE)

    def _wake(self, trial_id: str, rung: Rung) -> None:
        self._held.discard(trial_id)
        place = self._place(trial_id, rung)
        entry = place.at.entry
        self._waking[trial_id] = (rung.iteration, -entry.loss)
        text = f"promoted at iteration {entry.iteration}: now {place}; {place.ahead()} from its checkpoint"
        self._note(trial_id, place, entry.iteration, "continue", text)

    def _all_held(self) -> bool:
        return bool(self._held) and len(self._held) == len(self._alive)

    def _forget(self, trial_id: str) -> None:
        self._alive.pop(trial_id, None)
        self._held.discard(trial_id)
        self._waking.pop(trial_id, None)

    def _place(self, trial_id: str, rung: Rung) -> Place:
        bracket = self._bracket_of[trial_id]
        return Place(
            rung.standing(trial_id),
            rung,
            self._ladders[bracket],
            self._sign,
            bracket if len(self._ladders) > 1 else None,
            self._factor,
            self._max_t,
        )

    def _note(self, trial_id: str, place: Place, iteration: int, action: str, text: str, **more: Any) -> None:
        self._ledger.note(trial_id, iteration, action, {**place.reason(), **more}, text)

    def _not_finite(self, trial_id: str, iteration: int, value: float) -> str:
        """Stop: nothing can be compared, and nothing worse will be recorded."""
        what = f"at iteration {iteration}: {self._metric} is {value}, the worst value there is"
        if trial_id == self._ledger.protected:
            text = f"continued {what}; it is the default"
            self._ledger.note(trial_id, iteration, "continue", {"score": value}, text)
            return str(self.CONTINUE)
        self._ledger.note(trial_id, iteration, "stop", {"score": value}, f"stopped {what}")
        return str(self.STOP)
