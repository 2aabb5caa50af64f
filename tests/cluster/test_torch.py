"""TorchTrainable on a real Ray: under the suite and under a bare Tuner."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raytune_suite import Study, run
from raytune_suite.states import State

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]
HERE = Path(__file__).parent


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where each preparation of the data leaves a line; the cache is this test's own."""
    monkeypatch.setenv("RAYTUNE_DATA_DIR", str(tmp_path / "cache"))
    return tmp_path / "prepared"


def study(tmp_path: Path, **changes: Any) -> Study:
    base: dict[str, Any] = {
        "name": "line",
        "trainable": "torch_toys:Line",
        "metric": "validation/loss",
        "num_trials": 5,
        "max_iterations": 4,
        "default": {"learning_rate": 0.01},
        "space": {"learning_rate": {"loguniform": [1e-3, 1e-1]}},
        "search": "random",
        "resources": {"cpu": 1, "gpu": 0},
        "storage": str(tmp_path),
    }
    return Study.from_dict({**base, **changes}, project=HERE)


def test_a_study_prepares_data_once_trains_and_tests_the_winner(tmp_path: Path, prepared: Path) -> None:
    # The workers of the shared Ray have their own environment: the study runs in a process of its own.
    (tmp_path / "study.yaml").write_text(study(tmp_path).dump())
    script = (
        "import os, sys; from pathlib import Path; from raytune_suite import Study, run\n"
        f"os.environ['TOYS_PREPARED'] = {str(prepared)!r}\n"
        f"study = Study.load({str(tmp_path / 'study.yaml')!r}).with_project(Path({str(HERE)!r}))\n"
        "results = run(study, verbosity=-1, num_cpus=2)\n"
        "record = results.experiment.record\n"
        "print(results.exit_code, record.best().test is not None, record.trials[0].test is not None,\n"
        "      {r.metrics['validation/threads'] for t in record.trials.values() for r in t.reports})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "0 True True {1}"
    assert len(prepared.read_text().splitlines()) == 1


def test_a_trial_whose_worker_dies_goes_on_elsewhere_from_its_checkpoint(tmp_path: Path, prepared: Path) -> None:
    space = {"learning_rate": {"loguniform": [1e-3, 1e-1]}, "crash": True}
    results = run(study(tmp_path, space=space, num_trials=1, default=None, retries={"failed": 1}), verbosity=-1)
    trial = results.experiment.record.trials[0]
    assert (trial.state, trial.attempt, trial.runs[-1].restored) == (State.COMPLETED, 1, 1)
    losses = [r.metrics["validation/loss"] for r in trial.reports]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == 4


def test_two_processes_train_as_one_does_also_after_their_worker_died(tmp_path: Path, prepared: Path) -> None:
    losses = {}
    for processes, crash in ((1, False), (2, True)):
        space = {"learning_rate": {"choice": [0.01]}, "processes": processes, "crash": crash}
        asked = {"resources": {"cpu": processes, "gpu": 0}, "retries": {"failed": 1}, "num_trials": 1}
        results = run(study(tmp_path, name=f"by-{processes}", space=space, default=None, **asked), verbosity=-1)
        trial = results.experiment.record.trials[0]
        assert (trial.state, trial.attempt) == (State.COMPLETED, int(crash))
        losses[processes] = [report.metrics["validation/loss"] for report in trial.reports]
    assert len(losses[1]) == 4
    assert losses[2] == pytest.approx(losses[1], rel=1e-4)


def test_a_bare_tuner_trains_a_torch_trainable_on_reused_workers(tmp_path: Path) -> None:
    from ray import tune

    from raytune_suite import as_tune
    from trainables.digits import DigitsCNN

    results = tune.Tuner(
        tune.with_resources(as_tune(DigitsCNN, max_iterations=2), {"cpu": 1}),
        param_space={"learning_rate": tune.grid_search([1e-3, 3e-3, 1e-2]), "channels": 8},
        tune_config=tune.TuneConfig(metric="validation/loss", mode="min", reuse_actors=True),
        run_config=tune.RunConfig(
            stop={"training_iteration": 2},
            storage_path=str(tmp_path),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
        ),
    ).fit()
    assert not results.errors
    assert [r.metrics["training_iteration"] for r in results] == [2, 2, 2]
    assert results.get_best_result().checkpoint is not None
