"""A study from its file to its record, on a real Ray."""

from __future__ import annotations

import ast
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raytune_suite import Study, run
from raytune_suite.analysis import load
from raytune_suite.errors import EnvironmentMismatchError, ExperimentError, PlanError, StudyError, TrainableError
from raytune_suite.journal import read
from raytune_suite.runner import Results
from raytune_suite.states import State

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]
HERE = Path(__file__).parent


def study(tmp_path: Path, **changes: Any) -> Study:
    base: dict[str, Any] = {
        "name": "toy",
        "trainable": "toys:Quadratic",
        "metric": "validation/loss",
        "num_trials": 4,
        "max_iterations": 3,
        "space": {"x": {"uniform": [0, 1]}},
        "search": "random",
        "resources": {"cpu": 1, "gpu": 0},
        "storage": str(tmp_path),
    }
    return Study.from_dict({**base, **changes}, project=HERE)


def quiet(made: Study) -> Results:
    return run(made, verbosity=-1)


def test_every_trial_is_recorded_with_its_configuration_and_curve(tmp_path: Path) -> None:
    results = quiet(study(tmp_path, default={"x": 0.9}))
    assert (results.state, results.exit_code, results.experiment.status) == ("finished", 0, "finished")
    record = results.experiment.record
    assert [t.state for t in record.trials.values()] == [State.COMPLETED] * 4
    assert record.trials[0].origin == "default"
    assert record.trials[0].config == {"x": 0.9}
    assert [r.iteration for r in record.trials[2].reports] == [1, 2, 3]
    best = results.experiment.best()
    assert best.value == min(t.value for t in record.trials.values())
    assert best.test is not None
    assert record.trials[0].test == pytest.approx({"loss": 0.36, "steps": 3})


def test_the_folder_holds_a_record_and_no_scratch(tmp_path: Path) -> None:
    quiet(study(tmp_path))
    folder = tmp_path / "toy"
    assert sorted(p.name for p in folder.iterdir() if not p.name.startswith("journal")) == [
        "checkpoints",
        "driver.log",
        "study.yaml",
        "tensorboard",
        "trials",
    ]
    assert Study.load(folder / "study.yaml").space == {"x": {"uniform": [0, 1]}}
    assert sorted(p.name for p in (folder / "checkpoints" / "00001").iterdir()) == ["000003"]


def test_no_file_of_a_run_is_a_pickle(tmp_path: Path) -> None:
    quiet(study(tmp_path))
    for file in (tmp_path / "toy").rglob("*"):
        assert not (file.is_file() and file.read_bytes()[:1] == b"\x80"), file


def test_a_name_is_never_reused_in_silence(tmp_path: Path) -> None:
    quiet(study(tmp_path))
    with pytest.raises(ExperimentError, match="exists already"):
        quiet(study(tmp_path))


def test_a_failed_trial_is_told_apart_and_the_others_go_on(tmp_path: Path) -> None:
    results = quiet(
        study(
            tmp_path,
            trainable="toys:Failing",
            num_trials=None,
            search="grid",
            space={"x": 0.5, "how": {"grid": ["raise", "oom", "kill", "nan", None]}},
            retries={"oom": 0},
        )
    )
    states = {t.config["how"]: t.state for t in results.experiment.record.trials.values()}
    assert states == {
        "raise": State.FAILED,
        "oom": State.OOM,
        "kill": State.FAILED,
        "nan": State.STOPPED,
        None: State.COMPLETED,
    }
    failed = next(t for t in results.experiment.record.trials.values() if t.config["how"] == "raise")
    assert failed.error is not None
    assert failed.error["type"] == "ValueError"
    assert "toys.py" in failed.error["traceback"]
    assert results.exit_code == 0


def test_an_exit_code_tells_that_nothing_succeeded(tmp_path: Path) -> None:
    results = quiet(study(tmp_path, trainable="toys:Setup", num_trials=2))
    assert results.exit_code == 1
    assert {t.error["message"] for t in results.experiment.record.trials.values() if t.error} == {"no such data set"}


@pytest.mark.parametrize("how", ["oom-once", "raise-once"])
def test_a_retried_trial_goes_on_from_its_checkpoint(tmp_path: Path, how: str) -> None:
    results = quiet(
        study(
            tmp_path,
            trainable="toys:Failing",
            space={"x": {"uniform": [0, 1]}, "how": how},
            num_trials=1,
            retries={"failed": 1, "oom": 1},
        )
    )
    trial = results.experiment.record.trials[0]
    assert (trial.state, trial.attempt) == (State.COMPLETED, 1)
    assert [r.metrics["steps"] for r in trial.reports] == [1, 2, 3]
    assert trial.runs[-1].restored == 1


@pytest.mark.parametrize("how", ["sleep", "lock"])
def test_a_step_that_never_returns_is_ended_with_its_stack(tmp_path: Path, how: str) -> None:
    results = quiet(
        study(
            tmp_path,
            trainable="toys:Failing",
            space={"x": {"uniform": [0, 1]}, "how": how},
            num_trials=1,
            stop={"step_time": "2s"},
        )
    )
    trial = results.experiment.record.trials[0]
    assert trial.state is State.TIMED_OUT
    assert trial.error is not None
    assert "toys.py" in trial.error["traceback"]
    assert trial.error["message"].startswith("a training step did not return within 2 s; it hung in fail (")


def test_a_trainable_of_bare_ray_tune_runs_and_is_checkpointed(tmp_path: Path) -> None:
    results = quiet(study(tmp_path, trainable="toys:TuneClass", num_trials=2))
    assert [t.state for t in results.experiment.record.trials.values()] == [State.COMPLETED] * 2
    assert results.experiment.best_checkpoint().joinpath("checkpoint.pt").exists()


def test_a_plain_function_runs_reports_and_is_checkpointed(tmp_path: Path) -> None:
    results = quiet(study(tmp_path, trainable="toys:function", max_iterations=5))
    trials = results.experiment.record.trials.values()
    assert [t.state for t in trials] == [State.COMPLETED] * 4
    assert [t.iteration for t in trials] == [3] * 4
    assert results.experiment.best_checkpoint().joinpath("steps").read_text() == "3"


def test_early_stopping_explains_itself(tmp_path: Path) -> None:
    results = quiet(
        study(
            tmp_path,
            num_trials=12,
            max_iterations=9,
            scheduler={"name": "asha", "grace_period": 1, "reduction_factor": 3},
        )
    )
    trials = list(results.experiment.record.trials.values())
    stopped = [t for t in trials if t.state is State.STOPPED]
    assert stopped
    assert all(t.by == "asha" and t.decisions[-1]["reason"]["cutoff"] is not None for t in stopped)
    assert all(t.iteration in (1, 3) for t in stopped)


def test_a_target_ends_the_study(tmp_path: Path) -> None:
    results = quiet(study(tmp_path, num_trials=500, stop={"target": 0.9}))
    assert results.state == "finished"
    assert len(results.experiment.record.trials) < 50


def test_a_misspelt_metric_is_found_at_the_first_report(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="validation/loss"):
        quiet(study(tmp_path, metric="validation/los"))
    assert load(tmp_path / "toy").record.closed["state"] == "failed"


@pytest.mark.parametrize("scheduler", ["hyperband", "median", "pbt"])
def test_ray_schedulers_run_to_the_end(tmp_path: Path, scheduler: str) -> None:
    options = {"pbt": {"perturbation_interval": 2}, "median": {"grace_period": 1}}.get(scheduler, {})
    results = quiet(
        study(
            tmp_path,
            num_trials=9,
            max_iterations=9,
            scheduler={"name": scheduler, **options},
        )
    )
    trials = results.experiment.record.trials.values()
    assert len(trials) == 9
    assert all(t.state in (State.COMPLETED, State.STOPPED) for t in trials)
    assert all(math.isfinite(t.value) for t in trials)


def test_the_driver_never_imports_the_training_code_or_torch(tmp_path: Path) -> None:
    made = study(tmp_path)
    (tmp_path / "study.yaml").write_text(made.dump())
    script = (
        "import sys; from pathlib import Path; from raytune_suite import Study, run\n"
        f"study = Study.load({str(tmp_path / 'study.yaml')!r}).with_project(Path({str(HERE)!r}))\n"
        "run(study, verbosity=-1, num_cpus=2)\n"
        "print(sorted({'torch', 'toys', 'tensorboardX'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_a_ray_started_here_can_be_reached_from_this_machine_only(tmp_path: Path) -> None:
    script = (
        "import os, psutil\n"
        "from raytune_suite import ray_runtime\n"
        "with ray_runtime.environment(), ray_runtime.connected(None, 0, 1, 0):\n"
        "    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]\n"
        "    ports = [c for p in processes for c in p.net_connections() if c.status == 'LISTEN']\n"
        "    print(len(ports), sorted({c.laddr.ip for c in ports}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    count, addresses = done.stdout.strip().splitlines()[-1].split(" ", 1)
    assert int(count) > 3
    assert not set(ast.literal_eval(addresses)) - {"127.0.0.1", "::ffff:127.0.0.1"}


@pytest.mark.parametrize("engine", ["pool", "tune"])
def test_each_trial_sees_the_gpus_it_was_given_and_no_other(tmp_path: Path, engine: str) -> None:
    space = {"x": {"grid": [0.5]}, "gpu": {"grid": [0, 0.5, 1, 2]}}
    made = study(tmp_path, trainable="toys:Device", space=space, resources="toys:asked", search="grid", num_trials=None)
    results = run(made, verbosity=-1, engine=engine)
    for trial in results.experiment.record.trials.values():
        visible = [gpu for gpu in trial.last("visible").split(",") if gpu]
        assert trial.last("gpu") == trial.config["gpu"]
        assert len(visible) == math.ceil(trial.config["gpu"])
        assert trial.gpu_ids == visible


def test_trials_share_a_gpu_as_the_study_says(tmp_path: Path) -> None:
    results = quiet(study(tmp_path, trainable="toys:Device", resources={"cpu": 0.5, "trials_per_gpu": 2}))
    assert {t.last("gpu") for t in results.experiment.record.trials.values()} == {0.5}
    assert results.experiment.record.sessions[0]["slots"] == 4


def test_as_many_trials_share_a_gpu_as_get_most_done(tmp_path: Path) -> None:
    space = {"x": {"uniform": [0, 1]}, "sleep": 0.3}  # they sleep, so more of them always do more
    resources = {"cpu": 0.25, "trials_per_gpu": "auto"}
    quiet(study(tmp_path, num_trials=14, max_iterations=6, space=space, resources=resources))
    events = list(read(tmp_path / "toy"))
    told = [(e["level"], e["next"], e["final"]) for e in events if e["event"] == "density"]
    assert told[0] == (1, 2, False)
    shares = [e["gpu"] for e in events if e["event"] == "worker"]
    assert shares[0] == 1.0
    assert 0.5 in shares


def test_max_concurrent_is_a_ceiling(tmp_path: Path) -> None:
    results = quiet(study(tmp_path, max_concurrent=1, space={"x": {"uniform": [0, 1]}, "sleep": 0.1}))
    runs = sorted((t.runs[0].started, t.ended_at) for t in results.experiment.record.trials.values())
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(runs))


def test_a_request_no_node_can_meet_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="64"):
        quiet(study(tmp_path, resources={"cpu": 64, "gpu": 0}))
    assert not (tmp_path / "toy").exists()


def test_a_strict_study_refuses_workers_that_differ_from_the_driver(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentMismatchError, match="MKL_CBWR"):
        quiet(study(tmp_path, trainable="toys:Environment", environment={"policy": "strict"}))
    assert load(tmp_path / "toy").record.closed["state"] == "failed"


def test_a_callback_of_rays_sees_results_without_the_suites_own_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    monkeypatch.setenv("TOYS_CALLBACK", str(seen))
    quiet(study(tmp_path, num_trials=2, callbacks=["toys:Counting"]))
    lines = [json.loads(line) for line in seen.read_text().splitlines()]
    assert sorted((trial, iteration) for trial, iteration, _ in lines) == [
        (trial, iteration) for trial in ("00000", "00001") for iteration in (1, 2, 3)
    ]
    assert "validation/loss" in lines[0][2]
    assert not [key for key in lines[0][2] if key.startswith("_")]


def test_an_exact_grid_is_run_point_by_point(tmp_path: Path) -> None:
    results = quiet(
        study(tmp_path, search="grid", num_trials=None, space={"x": {"grid": [0.1, 0.3]}, "b": {"choice": [1, 2]}})
    )
    configs = [t.config for t in results.experiment.record.trials.values()]
    assert sorted((c["x"], c["b"]) for c in configs) == [(0.1, 1), (0.1, 2), (0.3, 1), (0.3, 2)]


def test_a_study_of_nothing_but_nan_is_no_success(tmp_path: Path) -> None:
    results = quiet(study(tmp_path, trainable="toys:Diverged", num_trials=2))
    assert {t.by for t in results.experiment.record.trials.values()} == {"nan"}
    assert (results.state, results.exit_code) == ("finished", 1)


def test_a_study_whose_first_trials_all_fail_is_given_up_with_their_error(tmp_path: Path) -> None:
    space = {"x": {"uniform": [0, 1]}, "how": "raise"}
    with pytest.raises(TrainableError, match=r"first . trials all failed.*ValueError: the learning rate exploded"):
        quiet(study(tmp_path, trainable="toys:Failing", space=space, num_trials=30))
    record = load(tmp_path / "toy").record
    assert 5 <= len(record.trials) < 10
    assert (record.closed or {})["exit_code"] == 2
