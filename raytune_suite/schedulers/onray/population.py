"""Ray's PBT and PB2: seeded from the study, staying inside the space, telling who learned from whom."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers.pb2 import PB2

from raytune_suite.schedulers.core import Ledger, count, finite, trials_of
from raytune_suite.schedulers.mutations import inside, lookup, nested
from raytune_suite.schedulers.onray.randomness import MUTATIONS, global_state, stream
from raytune_suite.schedulers.onray.recalled import Recalled, RecalledTable
from raytune_suite.space import Choice, Domain, Grid

if TYPE_CHECKING:
    from raytune_suite.study import Study

ATTEMPTS = 20


class _Explained(Recalled):
    """What PBT and PB2 share.

    Ray draws from ``random`` and ``numpy.random``: their states are exchanged for the study's own during a
    decision. Each decision has its own seed, (study seed, trial, iteration).
    """

    attempts = ATTEMPTS

    def __init__(self, ledger: Ledger, study: Study, domains: Mapping[str, Domain], **kwargs: Any) -> None:
        super().__init__(time_attr="training_iteration", log_config=False, require_attrs=False, **kwargs)
        self._ledger, self._study, self._domains = ledger, study, domains
        self._borrowed: dict[str, Any] = {}
        self._exploits: dict[str, int] = {}
        self._operations: dict[str, Any] = {}
        self._rng = np.random.default_rng(study.seed)
        self._population = trials_of(study) or 0

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide as Ray does, and note an exploit or a pause."""
        iteration = result[self._time_attr]
        self._borrowed.pop(trial.trial_id, None)
        if iteration >= self._study.max_iterations:
            return str(self.STOP)
        action = str(super().on_trial_result(tune_controller, trial, self._known(result)))
        if action == self.CONTINUE and self._leaves_no_room(trial, iteration):
            action = str(self.PAUSE)
        if action == self.PAUSE and trial.trial_id not in self._ledger.notes:
            why = (
                "waits until the whole population is here" if self._synch else "lets another one of its population run"
            )
            self._ledger.note(trial.trial_id, iteration, "pause", {}, f"paused at iteration {iteration}: {why}")
        return action

    def _leaves_no_room(self, trial: Any, iteration: int) -> bool:
        """Say whether a trial that could be perturbed now runs while part of the population has no slot yet.

        Ray pauses it only for trials that exist; an engine that makes trials for free slots would never make them.
        """
        missing = len(self._trial_state) < self._population
        return missing and self._trial_state[trial].last_perturbation_time == iteration

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget what the trial was about to load."""
        self._borrowed.pop(trial.trial_id, None)
        super().on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Choose whom Ray would, the one furthest behind, but among equals the one exploited least often.

        An exploit sends a trial back to where its source stands. Ray would then run it before the source, which,
        if it stays weak, sends it back again: with few slots, for ever.
        """
        trials = tune_controller.get_trials()
        waiting = [trial for trial in trials if trial.status in (Trial.PENDING, Trial.PAUSED)]
        ready = self._ready(waiting)
        if waiting and not ready and not any(trial.status == Trial.RUNNING for trial in trials):
            # A report that covers several iterations, or the death of the trial the others wait for, leaves
            # everybody at the next meeting point or beyond it.
            behind = min(self._trial_state[trial].last_train_time for trial in waiting)
            self._next_perturbation_sync = behind + self._perturbation_interval
            ready = self._ready(waiting)
        return min(ready, key=self._turn, default=None)

    def _ready(self, waiting: list[Any]) -> list[Any]:
        if not self._synch:
            return waiting
        return [t for t in waiting if self._trial_state[t].last_train_time < self._next_perturbation_sync]

    def _turn(self, trial: Any) -> tuple[int, int]:
        return self._trial_state[trial].last_train_time, self._exploits.get(trial.trial_id, 0)

    def pinned(self) -> list[str]:
        """Return the checkpoints strong trials offer, and those weak ones are about to load."""
        offered = [state.last_checkpoint for state in self._trial_state.values()]
        paths = {getattr(checkpoint, "path", None) for checkpoint in [*offered, *self._borrowed.values()]}
        return sorted(str(path) for path in paths if path)

    def _checkpoint_or_exploit(self, trial: Any, tune_controller: Any, upper: Any, lower: Any) -> None:
        moment = int(self._trial_state[trial].last_train_time)
        seeds = stream(self._study.seed, MUTATIONS, trial.trial_id, moment)
        self._rng = np.random.default_rng(seeds.spawn(1)[0])
        # PB2 fits on little data, and scikit-learn and scipy warn of it: nothing a user could act on.
        with global_state(seeds), warnings.catch_warnings(action="ignore"):
            super()._checkpoint_or_exploit(trial, tune_controller, upper, lower)

    def _quantiles(self) -> tuple[list[Any], list[Any]]:
        """Return the weak and the strong; the default configuration is never made into another."""
        lower, upper = super()._quantiles()
        return [trial for trial in lower if trial.trial_id != self._ledger.protected], upper

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Explore as Ray does, then bring values back into their domains; keep to the constraint."""
        space = self._study.search_space
        for _ in range(self.attempts):
            config, self._operations = super()._get_new_config(trial, trial_to_clone)
            for name, domain in self._domains.items():
                _put(config, name, inside(domain, lookup(config, name)))
            if space.feasible(space.point(config)):
                return config, self._operations
        self._operations = {}
        return trial_to_clone.config, {}

    def _exploit(self, tune_controller: Any, trial: Any, trial_to_clone: Any) -> None:
        own, source = self._trial_state[trial], self._trial_state[trial_to_clone]
        facts = {
            "from": trial_to_clone.trial_id,
            "score": self._metric_op * own.last_score,
            "source_score": self._metric_op * source.last_score,
            "source_iteration": int(source.last_result.get(self._time_attr, source.last_train_time)),
            "compared": len(self._ranked()),
            "rank": self._ranked().index(trial) + 1,
        }
        iteration, before = int(own.last_train_time), {n: lookup(trial.config, n) for n in self._domains}
        parent = {name: lookup(trial_to_clone.config, name) for name in self._domains}
        super()._exploit(tune_controller, trial, trial_to_clone)
        self._borrowed[trial.trial_id] = source.last_checkpoint
        self._exploits[trial.trial_id] = self._exploits.get(trial.trial_id, 0) + 1
        facts["changes"] = {
            name: {"own": before[name], "source": parent[name], "now": lookup(trial.config, name)}
            for name in self._domains
        }
        # Everything comes from the other trial, not only what was changed: this is the trial's config from now on.
        facts["config"] = copy.deepcopy(trial.config)
        self._ledger.note(trial.trial_id, iteration, "exploit", facts, _story(iteration, facts))

    def _ranked(self) -> list[Any]:
        """Return the trials with a score, best first, as ``_quantiles`` has them."""
        states = self._trial_state
        scored = [t for t, s in states.items() if s.last_score is not None and not t.is_finished()]
        scored = [trial for trial in scored if not math.isnan(states[trial].last_score)]
        return sorted(scored, key=lambda trial: -states[trial].last_score)


class ExplainedPBT(_Explained):
    """PBT; NaN counts as the worst value, so a diverged trial is the first to be replaced."""

    def __init__(self, ledger: Ledger, study: Study, domains: Mapping[str, Domain], **kwargs: Any) -> None:
        mutations = nested({name: self._mutation(domain) for name, domain in domains.items()})
        super().__init__(ledger, study, domains, hyperparam_mutations=mutations, **kwargs)

    def _mutation(self, domain: Domain) -> list[Any] | Callable[[], Any]:
        """Return what Ray takes: values to step through, or a function to resample from."""
        if isinstance(domain, (Choice, Grid)):
            return list(domain.values() or ())
        return lambda: domain.sample(self._rng)

    def _known(self, result: dict[str, Any]) -> dict[str, Any]:
        known = super()._known(result)
        worst = -math.inf if self._mode == "max" else math.inf
        if self._metric in known and not finite(known[self._metric]):
            return {**known, self._metric: worst}
        return known


class ExplainedPB2(_Explained, RecalledTable, PB2):  # type: ignore[misc]
    """PB2; a NaN would spoil its Gaussian process, so that report is passed over (and ends the trial)."""

    # Each attempt would add a row to the table the Gaussian process learns from.
    attempts = 1

    def _known(self, result: dict[str, Any]) -> dict[str, Any]:
        known = super()._known(result)
        if finite(known.get(self._metric)):
            return known
        return {key: value for key, value in known.items() if key != self._metric}


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *path, last = name.split(".")
    for part in path:
        tree = tree[part]
    tree[last] = value


def _story(iteration: int, facts: dict[str, Any]) -> str:
    moved = [
        f"{name} {_shown(change['source'])} -> {_shown(change['now'])}"
        for name, change in facts["changes"].items()
        if change["source"] != change["now"]
    ]
    return (
        f"exploited at iteration {iteration}: with {facts['score']:.4g} it is number {facts['rank']} of "
        f"{count(facts['compared'], 'trial')}, so it goes on from trial {facts['from']} "
        f"({facts['source_score']:.4g} at iteration {facts['source_iteration']}) with "
        f"{', '.join(moved) if moved else 'its parameters unchanged'}"
    )


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
