"""A study whose driver is killed without a word goes on on a real Ray: nothing finished is lost or repeated."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from raytune_suite import Study, resume, retry, run
from raytune_suite.errors import ExperimentError
from raytune_suite.journal import read
from raytune_suite.opening import study_of
from raytune_suite.record import Record, fold
from raytune_suite.replay import replay
from raytune_suite.states import State

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]
HERE = Path(__file__).parent

STUDY = """
trainable: toys:Quadratic
metric: validation/loss
num_trials: {trials}
max_iterations: 9
space: {{x: {{uniform: [0, 1]}}, sleep: {sleep}}}
search: {search}
scheduler: {scheduler}
resources: {{cpu: 1, gpu: 0}}
name: {name}
storage: .
"""
ASHA = "{name: asha, reduction_factor: 3}"


def project(folder: Path, name: str, *, sleep: float = 0.2, search: str = "random", scheduler: str = ASHA) -> Path:
    (folder / "toys.py").write_text((HERE / "toys.py").read_text())
    study = STUDY.format(name=name, trials=8, sleep=sleep, search=search, scheduler=scheduler)
    (folder / "study.yaml").write_text(study)
    return folder / "study.yaml"


def run_and_kill(folder: Path, name: str, reports: int) -> Record:
    """Run the study of ``folder`` in a process and kill it after so many reports."""
    process = subprocess.Popen(
        [sys.executable, "-m", "raytune_suite", "run", "study.yaml", "-q"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "RAYTUNE_NUM_CPUS": "2"},
    )
    try:
        for _ in range(900):
            if _reports(folder / name) >= reports:
                break
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
    assert _reports(folder / name) >= reports
    return fold(read(folder / name))


def _reports(folder: Path) -> int:
    return sum(e["event"] == "report" for e in read(folder)) if (folder / "journal.jsonl").exists() else 0


@pytest.mark.parametrize("search", ["random", "{name: bayesian, initial_points: 3}"])
def test_a_killed_driver_loses_and_repeats_no_finished_trial(tmp_path: Path, search: str) -> None:
    before = (run_and_kill(project(tmp_path, "killed", search=search).parent, "killed", 25)).trials
    folder = (tmp_path / "killed").rename(tmp_path / "moved")  # to be resumed elsewhere
    results = resume(folder, verbosity=-1)
    assert (results.state, results.exit_code) == ("finished", 0)
    after = results.experiment.record.trials
    assert sorted(after) == list(range(8))
    assert {t.state for t in after.values()} <= {State.COMPLETED, State.STOPPED}
    done = {n for n, t in before.items() if t.state.ended}
    running = {n for n, t in before.items() if not t.state.ended}
    assert done
    assert running
    assert all(len(after[n].runs) == len(before[n].runs) and after[n].value == before[n].value for n in done)
    for number in running & {n for n, t in before.items() if t.iteration}:
        last = after[number].runs[-1]
        assert last.restored is None or last.restored >= before[number].iteration
        assert [r.iteration for r in after[number].reports] == list(range(1, after[number].iteration + 1))
        assert [r.metrics["steps"] for r in after[number].reports] == list(range(1, after[number].iteration + 1))
    assert replay(folder, study_of(folder, results.experiment.record.sessions[-1])).identical
    with pytest.raises(ExperimentError, match="nothing to go on with"):
        resume(folder, verbosity=-1)


@pytest.mark.parametrize("scheduler", ["hyperband", "{name: pbt, perturbation_interval: 3}"])
def test_schedulers_that_cannot_be_rebuilt_go_on_all_the_same(tmp_path: Path, scheduler: str) -> None:
    project(tmp_path, "killed", sleep=0.05, scheduler=scheduler)
    run_and_kill(tmp_path, "killed", 20)
    results = resume(tmp_path / "killed", verbosity=-1)
    trials = results.experiment.record.trials
    assert results.state == "finished"
    assert len(trials) == 8
    assert all(t.state in (State.COMPLETED, State.STOPPED) for t in trials.values())
    assert max(t.iteration for t in trials.values()) == 9


def base(folder: Path, **changes: Any) -> Study:
    study: dict[str, Any] = {
        "name": "toy",
        "trainable": "toys:Quadratic",
        "metric": "validation/loss",
        "num_trials": 3,
        "max_iterations": 3,
        "space": {"x": {"uniform": [0, 1]}},
        "search": "random",
        "resources": {"cpu": 1, "gpu": 0},
        "storage": str(folder),
    }
    return Study.from_dict({**study, **changes}, project=HERE)


def test_a_finished_study_can_be_extended(tmp_path: Path) -> None:
    first = run(base(tmp_path), verbosity=-1).experiment.record
    second = resume(tmp_path / "toy", num_trials="+2", verbosity=-1).experiment
    whole = run(base(tmp_path, name="whole", num_trials=5), verbosity=-1).experiment.record
    assert {n: t.point for n, t in second.record.trials.items()} == {n: t.point for n, t in whole.trials.items()}
    assert all(second.record.trials[n].runs == t.runs for n, t in first.trials.items())
    assert second.study.num_trials == 5
    assert replay(second.folder, second.study.with_project(HERE)).identical


def test_failed_trials_can_be_tried_again(tmp_path: Path) -> None:
    space = {"x": {"uniform": [0, 1]}, "how": "raise-once"}
    failed = run(base(tmp_path, trainable="toys:Failing", space=space), verbosity=-1).experiment.record
    assert {t.state for t in failed.trials.values()} == {State.FAILED}
    with pytest.raises(ExperimentError, match="No trial is oom"):
        retry(tmp_path / "toy", states=["oom"], verbosity=-1)
    again = retry(tmp_path / "toy", verbosity=-1).experiment.record
    assert {(t.state, t.attempt) for t in again.trials.values()} == {(State.COMPLETED, 1)}
    assert {t.runs[-1].restored for t in again.trials.values()} == {1}


def test_a_trial_whose_last_checkpoint_is_broken_goes_on_from_the_one_before(tmp_path: Path) -> None:
    project(tmp_path, "torn", scheduler="fifo", sleep=0.4)
    study_file = tmp_path / "study.yaml"
    study_file.write_text(study_file.read_text() + "checkpoint: {keep: [all]}\n")
    before = run_and_kill(tmp_path, "torn", reports=7)
    trial = next(t for t in before.trials.values() if not t.state.ended and t.iteration >= 2)
    time.sleep(2)  # its worker outlives its driver for a moment
    checkpoints = sorted((tmp_path / "torn" / "checkpoints" / trial.trial_id).glob("0*"))
    (checkpoints[-1] / "state.json").write_text("")
    resume(tmp_path / "torn", verbosity=-1)
    after = fold(read(tmp_path / "torn")).trials[trial.number]
    assert after.state is State.COMPLETED
    assert [report.iteration for report in after.reports] == list(range(1, 10))
    assert after.runs[-1].restored == int(checkpoints[-2].name)
    broken = [event for event in read(tmp_path / "torn") if event["event"] == "broken"]
    assert [(e["number"], e["iteration"]) for e in broken] == [(trial.number, int(checkpoints[-1].name))]
    assert "state.json has 0 bytes" in broken[0]["reason"]
    assert "state.json has 0 bytes" in (tmp_path / "torn" / "driver.log").read_text()
