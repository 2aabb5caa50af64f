"""A study that is foreseen by its own first trials, which are trained, and then run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from raytune_suite import foreseen
from raytune_suite.analysis import load
from raytune_suite.cli import build
from raytune_suite.journal import read
from raytune_suite.states import State

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]
TOYS = Path(__file__).parent / "toys.py"
STUDY = """\
name: foreseen
trainable: "toys:Quadratic"
metric: validation/loss
num_trials: 14
max_iterations: 9
space: {x: {uniform: [0, 1]}}
search: {name: bayesian, initial_points: 4}
scheduler: {name: asha, reduction_factor: 3}
resources: {cpu: 1, gpu: 0}
storage: ./experiments
"""
FEW = ("--replications", "3")
PATIENT = (*FEW, "--budget", "600")


def raytune(*words: str) -> Result:
    return CliRunner().invoke(build(), list(words))


def trained(folder: Path) -> list[tuple[int, int]]:
    return [(event["number"], event["iteration"]) for event in read(folder) if event["event"] == "report"]


def test_probes_are_trained_once_and_the_run_says_how_far_off_the_plan_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(TOYS, tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    folder = tmp_path / "experiments" / "foreseen"

    short = raytune("simulate", "study.yaml", "--probes", "6", "--budget", "0.001", *FEW)
    assert "0.001 s are too few to play foreseen once under asha" in str(short.exception)
    probes = trained(folder)
    assert {number for number, _ in probes} == set(range(6))
    assert foreseen.read(folder) is None

    planned = raytune("simulate", "study.yaml", "--compare", "fifo", *PATIENT)
    assert planned.exit_code == 0, planned.exception
    assert "foreseen: 14 trials on" in planned.output
    assert "raytune run goes on from them" in planned.output
    assert trained(folder) == probes
    kept = foreseen.read(folder)
    assert kept is not None

    ran = raytune("run", "study.yaml", "-q")
    assert ran.exit_code == 0, ran.exception
    assert trained(folder)[: len(probes)] == probes
    assert not {number for number, _ in trained(folder)[len(probes) :]} & set(range(6))
    record = load(folder).record
    assert len(record.trials) == 14
    assert {trial.state for trial in record.trials.values()} == {State.COMPLETED, State.STOPPED}
    assert all(len(trial.runs) == 1 for trial in record.trials.values())
    assert len(record.sessions) == 2
    assert "\n".join(foreseen.lines(folder, record)).startswith(f"iterations: {len(trained(folder))}, foreseen ")

    after = raytune("simulate", "study.yaml", *PATIENT)
    assert after.exit_code == 0, after.exception
    assert "raytune run goes on" not in after.output
    assert foreseen.read(folder) == kept
    assert re.search(r"is finished: there is nothing to go on with", str(raytune("run", "study.yaml").exception))
