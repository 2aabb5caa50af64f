"""The best configurations again, on fresh seeds and a real Ray."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from raytune_suite import Study, confirm, load, run
from raytune_suite.cli import main
from raytune_suite.errors import ExperimentError
from raytune_suite.seeds import repeat_seeds
from raytune_suite.verdict import verdict_of

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]
HERE = Path(__file__).parent
NEAR, SAME, FAR = {"x": 0.31}, {"x": 0.305}, {"x": 0.9}


def experiment(tmp_path: Path, sleep: float = 0.0, **changes: Any) -> Path:
    """An experiment whose default is far from the best, and whose best two differ by less than the noise."""
    base: dict[str, Any] = {
        "name": "noisy",
        "trainable": "toys:Noisy",
        "metric": "validation/loss",
        "num_trials": 4,
        "max_iterations": 3,
        "default": FAR,
        "points_to_evaluate": [NEAR, SAME, {"x": 0.6}],
        "space": {"x": {"uniform": [0, 1]}, "sleep": sleep},
        "search": "random",
        "resources": {"cpu": 1, "gpu": 0},
        "storage": str(tmp_path),
    }
    return run(Study.from_dict({**base, **changes}, project=HERE), verbosity=-1).experiment.folder


def test_what_is_better_is_found_under_noise_that_all_share_and_what_is_not_is_said_to_be_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = experiment(tmp_path)
    code = main(["confirm", str(folder), "--top", "4", "--seeds", "4", "-q"])
    shown = capsys.readouterr().out
    verdict = verdict_of(folder)
    assert code == 0
    assert verdict is not None
    assert (verdict.certain, set(verdict.among)) == (False, {1, 2})
    assert "indistinguishable" in shown
    assert "0 (default)" in shown
    over_default = {c.trial: c.over_default for c in verdict.contenders}
    assert all(over_default[trial] > 0.99 for trial in (1, 2, 3))  # type: ignore[operator]
    for command in (["show", str(folder)], ["best", str(folder)]):
        main(command)
        assert "indistinguishable" in capsys.readouterr().out


def test_seeds_are_fresh_each_time_and_the_trainings_are_an_experiment_of_their_own(tmp_path: Path) -> None:
    folder = experiment(tmp_path)
    first, second = (confirm(folder, top=1, seeds=2, verbosity=-1) for _ in range(2))
    assert (first.folder.name, second.folder.name) == ("confirmed-1", "confirmed-2")
    studies = [load(path).study for path in (folder, first.folder, second.folder)]
    assert len({seed for study in studies for seed in repeat_seeds(study.seed, 2)}) == 6
    best = next(t.config["x"] for t in load(folder).ranked() if t.number)
    assert [t.config["x"] for t in load(first.folder).record.trials.values()] == [0.9, best]
    assert studies[1].scheduler.name == "fifo"


def test_an_interrupted_confirmation_is_gone_on_with(tmp_path: Path) -> None:
    folder = experiment(tmp_path, sleep=0.3, max_concurrent=1)
    command = [sys.executable, "-m", "raytune_suite", "confirm", str(folder), "--top", "3", "--seeds", "2", "-q"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    journal = folder / "confirmed-1" / "journal.jsonl"
    deadline = time.monotonic() + 120
    while '"event":"end"' not in (journal.read_text() if journal.exists() else ""):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "raytune confirm" in errors
    with pytest.raises(ExperimentError, match=r"confirmed-1 is unfinished and was asked for seeds 2, got 3"):
        confirm(folder, seeds=3)
    outcome = confirm(folder, verbosity=-1)
    assert outcome.verdict is not None
    assert outcome.folder.name == "confirmed-1"
    trials = load(outcome.folder).record.trials
    assert len(outcome.verdict.contenders) == len(trials) == 4
    assert len(trials[0].runs) == 1, "what was finished is not trained again"


def test_population_based_training_and_a_lone_configuration_are_refused(tmp_path: Path) -> None:
    lone = experiment(tmp_path, num_trials=1, points_to_evaluate=[], name="lone")
    with pytest.raises(ExperimentError, match="has 1 configuration"):
        confirm(lone)
    pbt = experiment(tmp_path, name="population")
    file = pbt / "study.yaml"
    file.write_text(file.read_text().replace("scheduler: fifo", "scheduler: pbt"))
    with pytest.raises(ExperimentError, match="ran under pbt"):
        confirm(pbt)
    assert not [path for folder in (lone, pbt) for path in folder.glob("confirmed-*")]
