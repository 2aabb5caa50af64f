"""A population that an earlier session left: what its members had reached, and whose checkpoints they were to load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ray.train._internal.session import _TrainingResult
from ray.tune import Checkpoint
from ray.tune.schedulers import PopulationBasedTraining
from ray.tune.schedulers.pbt import _PBTTrialState


class Recalled(PopulationBasedTraining):  # type: ignore[misc]
    """PBT that can be told of the past, trial by trial, and takes members back under the same number.

    What it is told of are stand-ins for trials, equal to the real ones of the same id.
    """

    _study: Any
    _trial_state: dict[Any, Any]
    _next_perturbation_sync: float
    _borrowed: dict[str, Any]
    _exploits: dict[str, int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._saved: dict[str, dict[int, str]] = {}
        self._owed: dict[str, tuple[str, int]] = {}
        self._due: dict[str, Any] = {}

    # -- being told of the past --------------------------------------------------------------------------------------

    def recall_member(self, trial: Any) -> None:
        """There was such a trial."""
        self._trial_state[trial] = _PBTTrialState(trial)

    def recall_report(self, trial: Any, result: dict[str, Any]) -> None:
        """It reported, which may have made it due for a perturbation."""
        state, known, time = self._trial_state[trial], self._known(result), result[self._time_attr]
        waits = time - state.last_perturbation_time < self._perturbation_interval
        if self._metric not in known or time < self._burn_in_period or waits or time >= self._study.max_iterations:
            return
        self._save_trial_state(state, time, known, trial)
        if not self._synch:
            state.last_perturbation_time = time
            return
        members = [s for t, s in self._trial_state.items() if not t.is_finished()]
        if min(s.last_train_time for s in members) >= self._next_perturbation_sync:
            for member in members:
                member.last_perturbation_time = time
            latest = max(s.last_train_time for s in members)
            self._next_perturbation_sync = max(self._next_perturbation_sync + self._perturbation_interval, latest)

    def recall_checkpoint(self, trial: Any, iteration: int, path: str) -> None:
        """It wrote a checkpoint: what it had taken over before is its own now."""
        self._owed.pop(trial.trial_id, None)
        self._saved.setdefault(trial.trial_id, {})[iteration] = path

    def recall_exploit(self, trial: Any, reason: dict[str, Any]) -> None:
        """It was to go on from another's checkpoint, with the configuration it has now."""
        source_id, iteration = reason["from"], int(reason["source_iteration"])
        source = next(state for other, state in self._trial_state.items() if other.trial_id == source_id)
        own = self._trial_state[trial]
        own.last_perturbation_time, own.last_train_time = source.last_perturbation_time, source.last_train_time
        self._exploits[trial.trial_id] = self._exploits.get(trial.trial_id, 0) + 1
        self._owed[trial.trial_id] = (source_id, iteration)

    def offer(self, folder: Path, scratch: Path) -> None:
        """Give strong members a checkpoint to offer and weak ones what they were to load, as Ray wants them.

        ``scratch``: where the pointers are written that Ray carries about in place of checkpoints.
        """
        for trial, state in self._trial_state.items():
            path = self._saved.get(trial.trial_id, {}).get(state.last_train_time)
            if path is not None and state.last_score is not None:
                state.last_checkpoint = _pointer(folder / path, scratch)
        for trial_id, (source_id, iteration) in self._owed.items():
            path = self._saved.get(source_id, {}).get(iteration, f"checkpoints/{source_id}/{iteration:06d}")
            result = {self._time_attr: iteration}
            self._due[trial_id] = _TrainingResult(checkpoint=_pointer(folder / path, scratch), metrics=result)

    def _known(self, result: dict[str, Any]) -> dict[str, Any]:
        """Drop a metric that was not measured: Ray then waits for the next report."""
        if result.get(self._metric) is not None:
            return result
        return {key: value for key, value in result.items() if key != self._metric}

    # -- taking members back -----------------------------------------------------------------------------------------

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Take a new member, or one that an earlier session left: then it goes on as what it was."""
        if trial not in self._trial_state:
            super().on_trial_add(tune_controller, trial)
            return
        # The keys must be the trials that Ray knows now; the order decides between equal scores.
        self._trial_state = {(trial if key == trial else key): state for key, state in self._trial_state.items()}
        if (due := self._due.pop(trial.trial_id, None)) is not None:
            trial.run_metadata.checkpoint_manager._latest_checkpoint_result = due
            self._borrowed[trial.trial_id] = due.checkpoint


class RecalledTable(Recalled):
    """PB2, whose Gaussian process learns from a table with a row for each report at a perturbation, and exploit."""

    data: Any
    current: Any
    last_exploration_time: float

    def recall_exploit(self, trial: Any, reason: dict[str, Any]) -> None:
        """Add the row that the exploit left: the source's time and reward at the new configuration."""
        super().recall_exploit(trial, reason)
        if not len(self.data):
            return
        names = list(self._hyperparam_bounds_flat)
        values = [_value(trial.config, name.replace("/", ".")) for name in names]
        columns = ["Trial", "Time", *names, "Reward"]
        if (row := _progress(self.data, names, reason["from"])) is not None:
            entry = pd.DataFrame([[str(trial), row["Time"], *values, row["Reward"]]], columns=columns)
            self.data = pd.concat([self.data, entry]).reset_index(drop=True)
        point = np.array(values, dtype=float).reshape(1, -1)
        latest = self.data["Time"].max()
        fresh = latest > self.last_exploration_time or self.current is None
        self.current = point if fresh else np.concatenate((self.current, point), axis=0)
        self.last_exploration_time = latest


def _progress(data: Any, names: list[str], trial_id: str) -> Any:
    """The last row at which this trial had trained on under one configuration: without one PB2 cannot learn from it."""
    ordered = data.sort_values(by="Time").reset_index(drop=True)
    passed = ordered.groupby(["Trial", *names])["Time"].diff()
    rows = ordered[(passed > 0) & (ordered["Trial"] == trial_id)]
    return rows.iloc[-1] if len(rows) else None


def _value(config: dict[str, Any], name: str) -> Any:
    found: Any = config
    for part in name.split("."):
        found = found[part]
    return found


def _pointer(checkpoint: Path, scratch: Path) -> Any:
    folder = scratch / "recalled" / checkpoint.parent.name / checkpoint.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pointer.json").write_text(json.dumps({"path": str(checkpoint)}))
    return Checkpoint.from_directory(str(folder))
