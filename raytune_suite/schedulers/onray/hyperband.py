"""Ray's HyperBand with brackets that really fill, survivors that are trained out, and reasons."""

from __future__ import annotations

import math
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers.hyperband import HyperBandScheduler, _Bracket

from raytune_suite.schedulers.core import Ledger, count, finite
from raytune_suite.schedulers.onray.controllers import no_more_trials


class ExplainedBracket(_Bracket):  # type: ignore[misc]
    """A bracket that takes ``n`` trials and no more, halves when all are there, and notes every halving.

    Ray's own halves as soon as the trials that happen to exist have reached the rung, and then takes new ones
    at the level it stands on: with few slots it degenerates to one or two trials.
    """

    _cumul_r: float

    def __init__(self, ledger: Ledger, s: int, **kwargs: Any) -> None:
        super().__init__(s=s, **kwargs)
        self.s, self._ledger = s, ledger
        self.closed = False

    def filled(self) -> bool:
        """Say whether no more trials may come in; one that failed or finished keeps its place."""
        return self.closed or len(self._all_trials) >= self._n0

    def cur_iter_done(self) -> bool:
        """Say whether the bracket can be halved: it is full and every live trial is at the rung."""
        return self.filled() and bool(super().cur_iter_done())

    def waiting_for(self) -> int:
        """Return how many trials have yet to come to the rung, those not yet made included."""
        missing = 0 if self.filled() else self._n0 - len(self._all_trials)
        return int(missing + sum(self._get_result_time(r) < self._cumul_r for r in self._live_trials.values()))

    def successive_halving(self, metric: str, metric_op: float) -> tuple[list[Any], list[Any]]:
        """Halve as Ray does; the protected trial stays, the last milestone is ``max_iterations``."""
        rung = self._cumul_r
        good, bad = super().successive_halving(metric, metric_op)
        if self._halves == 0:
            self._r = self._cumul_r = self._max_t_attr
        spared = [trial for trial in bad if trial.trial_id == self._ledger.protected]
        ranked = [*reversed(good), *reversed(bad)]
        good, bad = [*spared, *good], [trial for trial in bad if trial not in spared]
        self._explain(metric, rung, ranked, len(ranked) - len(bad) - len(spared), spared)
        return good, bad

    def _explain(self, metric: str, rung: float, ranked: list[Any], kept: int, spared: list[Any]) -> None:
        cutoff = self._live_trials[ranked[kept - 1]][metric] if kept else None
        for place, trial in enumerate(ranked, start=1):
            result = self._live_trials[trial]
            reason = {
                "bracket": self.s,
                "rung": rung,
                "score": result[metric],
                "cutoff": cutoff,
                "rank": place,
                "kept": kept,
                "compared": len(ranked),
            }
            iteration = int(self._get_result_time(result))
            action = "continue" if place <= kept or trial in spared else "stop"
            self._ledger.note(trial.trial_id, iteration, action, reason, self._text(reason, iteration, action))

    def _text(self, reason: dict[str, Any], iteration: int, action: str) -> str:
        where = f"rung {reason['rung']:g} of bracket {self.s}"
        place = f"{reason['score']:.4g} is number {reason['rank']} of {reason['compared']} at {where}"
        best = "only the best goes on" if reason["kept"] == 1 else f"the best {reason['kept']} go on"
        if action == "stop":
            last = f"the last of them has {reason['cutoff']:.4g}"
            return f"stopped at iteration {iteration}: {place}, {best} ({last})"
        if reason["rank"] > reason["kept"]:
            spared = f"continued at iteration {iteration} as the default configuration"
            return f"{spared}, although {place} and {best}"
        return f"continued at iteration {iteration}: {place}, {best}; its next rung is {self._cumul_r:g}"


class ExplainedHyperBand(HyperBandScheduler):  # type: ignore[misc]
    """HyperBand that ends for every number of slots and every failure, and notes what it compared.

    ``expected`` is the number of trials the study will have, None if nobody knows.
    """

    def __init__(self, ledger: Ledger, expected: int | None, **kwargs: Any) -> None:
        super().__init__(time_attr="training_iteration", **kwargs)
        self._ledger, self._expected = ledger, expected
        self._bracket_of: dict[str, ExplainedBracket] = {}
        self._added: set[str] = set()
        self._last_value: dict[str, float] = {}

    def _create_bracket(self, s: int) -> ExplainedBracket:
        return ExplainedBracket(
            self._ledger,
            s,
            time_attr=self._time_attr,
            max_trials=self._get_n0(s),
            init_t_attr=self._get_r0(s),
            max_t_attr=self._max_t_attr,
            eta=self._eta,
        )

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Put the trial into the bracket that is being filled; the last trial closes it.

        One that an earlier session left goes on in its own.
        """
        if trial.trial_id in self._bracket_of:
            self._take_back(trial)
            return
        super().on_trial_add(tune_controller, trial)
        bracket = self._trial_info[trial][0]
        self._bracket_of[trial.trial_id] = bracket
        self._added.add(trial.trial_id)
        bracket.closed = self._expected is not None and len(self._added) >= self._expected

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide as Ray does; a report without the metric counts with the last value, NaN as the worst."""
        iteration = result[self._time_attr]
        if iteration >= self._max_t_attr:
            return str(self.STOP)
        known = {**result, self._metric: self._comparable(trial.trial_id, result.get(self._metric))}
        action = str(super().on_trial_result(tune_controller, trial, known))
        if action == self.PAUSE and trial.trial_id not in self._ledger.notes:
            self._note_pause(trial.trial_id, iteration, known[self._metric])
        return action

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Take the trial out of its bracket, which may now be complete."""
        self._last_value.pop(trial.trial_id, None)
        self._bracket_of.pop(trial.trial_id, None)
        super().on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Choose as Ray does; when everyone waits for trials that will never be made, close the brackets."""
        chosen = super().choose_trial_to_run(tune_controller)
        if chosen is not None or not (self._stuck(tune_controller) and no_more_trials(tune_controller)):
            return chosen
        for bracket in {id(b): b for b in self._bracket_of.values()}.values():
            bracket.closed = True
            self._process_bracket(tune_controller, bracket)
        return super().choose_trial_to_run(tune_controller)

    def expect(self, trials: int) -> None:
        """Take note that the study will have so many trials: it was extended, or had fewer in an earlier session."""
        self._expected = trials

    def holds(self, trial_id: str) -> bool:
        """Say whether the trial waits at a rung for others of its bracket, and needs no slot."""
        bracket = self._bracket_of.get(trial_id)
        result = next((r for t, r in bracket._live_trials.items() if t.trial_id == trial_id), None) if bracket else None
        return bracket is not None and result is not None and bracket._get_result_time(result) >= bracket._cumul_r

    def _take_back(self, trial: Any) -> None:
        """Put Ray's trial in the place of what stood for it; the order decides between equal values."""
        bracket = self._bracket_of[trial.trial_id]
        bracket._live_trials = {(trial if t == trial else t): r for t, r in bracket._live_trials.items()}
        bracket._all_trials = [trial if t == trial else t for t in bracket._all_trials]
        bracket.trials_to_unpause.discard(trial)
        self._trial_info[trial] = self._trial_info.pop(trial)

    def first_rung(self, trial_id: str) -> int:
        """Return the first iteration at which the trial can be stopped."""
        bracket = self._bracket_of.get(trial_id)
        return int(bracket._r0) if bracket is not None and bracket.s else int(self._max_t_attr)

    def _process_bracket(self, tune_controller: Any, bracket: Any) -> str:
        action = self._halve(tune_controller, bracket)
        # A report may cover several iterations: whoever stands at the next rung already would wait for ever.
        while bracket._halves and bracket._live_trials and bracket.cur_iter_done():
            again = self._halve(tune_controller, bracket)
            action = action if action == self.STOP else again
        return action

    def _halve(self, tune_controller: Any, bracket: Any) -> str:
        # Ray never takes this flag back: a trial failing after the first halving would leave others waiting.
        try:
            return str(super()._process_bracket(tune_controller, bracket))
        finally:
            bracket.is_being_processed = False

    def _stuck(self, tune_controller: Any) -> bool:
        live = list(tune_controller.get_live_trials())
        return bool(live) and all(t.status == Trial.PAUSED and not t.is_saving for t in live)

    def _comparable(self, trial_id: str, value: Any) -> float:
        if value is not None:
            self._last_value[trial_id] = value if finite(value) else self._worst
        return self._last_value.get(trial_id, self._worst)

    @property
    def _worst(self) -> float:
        return -math.inf if self._mode == "max" else math.inf

    def _note_pause(self, trial_id: str, iteration: int, value: float) -> None:
        bracket = self._bracket_of[trial_id]
        others = bracket.waiting_for()
        reason = {"bracket": bracket.s, "rung": bracket._cumul_r, "score": value, "waiting_for": others}
        text = (
            f"paused at iteration {iteration}: waits at rung {bracket._cumul_r:g} of bracket {bracket.s} for "
            f"{count(others, 'other trial')}"
        )
        self._ledger.note(trial_id, iteration, "pause", reason, text)
