"""``gpu: auto`` on a real Ray with fake GPUs: shares by forecast, what fits nowhere, what is learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raytune_suite import Study, run
from raytune_suite.record import TrialRecord
from raytune_suite.states import State

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]
HERE = Path(__file__).parent


def study(tmp_path: Path, **changes: Any) -> Study:
    base: dict[str, Any] = {
        "name": "sized",
        "trainable": "torch_toys:Sized",
        "metric": "validation/loss",
        "num_trials": 6,
        "max_iterations": 2,
        "space": {"learning_rate": 0.01, "mib": {"grid": [100, 900, 9000, 101, 901, 102]}},
        "search": "grid",
        "resources": {"cpu": 0.25, "gpu": "auto"},
        "storage": str(tmp_path),
    }
    return Study.from_dict({**base, **changes}, project=HERE)


def crowded(trials: list[TrialRecord]) -> float:
    """The largest sum of shares of trials that had the same GPU at the same time."""
    runs = [(run, trial.last("share")) for trial in trials for run in trial.runs]
    together = [
        sum(
            share
            for other, share in runs
            if other.gpu_ids == run.gpu_ids and other.started <= run.started < other.ended
        )
        for run, _ in runs
    ]
    return max(together)


def test_each_trial_gets_the_share_its_forecast_asks_for_and_what_fits_nowhere_is_infeasible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYTUNE_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("RAYTUNE_GPUS", "4x2GiB")

    results = run(study(tmp_path), verbosity=-1)

    trials = {trial.config["mib"]: trial for trial in results.experiment.record.trials.values()}
    assert results.exit_code == 0
    assert trials[9000].state is State.INFEASIBLE
    assert "fits no GPU: a trial needs" in (trials[9000].reason or "")
    assert not trials[9000].runs
    ended = {mib: trial for mib, trial in trials.items() if mib != 9000}
    assert {trial.state for trial in ended.values()} == {State.COMPLETED}
    shares = {mib: trial.last("share") for mib, trial in ended.items()}
    assert {shares[mib] for mib in (100, 101, 102)} <= {0.3333, 0.5}
    assert {shares[mib] for mib in (900, 901)} <= {0.75, 1.0}
    assert {mib: trial.resources["gpu"] for mib, trial in ended.items()} == shares
    assert crowded(list(ended.values())) <= 1.0
    session = results.experiment.record.sessions[0]
    assert any("gpu: auto = by forecast" in line for line in session["plan"])
