"""Searchers that take their time, on a real Ray: trials train meanwhile, and everything ends in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from raytune_suite import Study, run
from raytune_suite.journal import read
from raytune_suite.replay import replay
from raytune_suite.states import State

pytestmark = [pytest.mark.ray]
HERE = Path(__file__).parent


def study(folder: Path, search: str, **changes: Any) -> Study:
    base: dict[str, Any] = {
        "name": "thinking",
        "trainable": "toys:Quadratic",
        "metric": "validation/loss",
        "num_trials": 10,
        "max_iterations": 3,
        "space": {"x": {"uniform": [0, 1]}, "sleep": 0.2},
        "search": f"thinking:{search}",
        "resources": {"cpu": 1, "gpu": 0},
        "storage": str(folder),
    }
    return Study.from_dict({**base, **changes}, project=HERE)


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in read(folder / "thinking") if event["event"] == kind]


@pytest.mark.usefixtures("ray_local")
def test_trials_train_while_the_searcher_thinks_and_what_it_suggests_is_derived_again(tmp_path: Path) -> None:
    made = study(tmp_path, "Slow")
    results = run(made, verbosity=-1)
    assert (results.state, results.exit_code) == ("finished", 0)
    trials, reports = events(tmp_path, "trial"), events(tmp_path, "report")
    assert any(trial["seen"] < report["seq"] < trial["seq"] for trial in trials for report in reports)
    derived = replay(tmp_path / "thinking", made)
    assert derived.identical, derived.lines()
    assert derived.counts.suggestions == 10
    assert len({event["pid"] for event in events(tmp_path, "worker")}) == 2  # workers that wait are kept
    assert not [thread for thread in threading.enumerate() if thread.name == "searcher"]


@pytest.mark.usefixtures("ray_local")
def test_with_one_slot_every_suggestion_knows_all_results(tmp_path: Path) -> None:
    run(study(tmp_path, "Slow", max_concurrent=1, num_trials=5), verbosity=-1)
    kinds = {event["seq"]: event["event"] for event in read(tmp_path / "thinking")}
    later = events(tmp_path, "trial")[1:]
    assert [kinds[trial["seen"]] for trial in later] == ["end"] * 4
    assert [trial["seen"] for trial in later] == [trial["seq"] - 1 for trial in later]


@pytest.mark.usefixtures("ray_local")
def test_a_searcher_that_fails_ends_the_study_with_its_record(tmp_path: Path) -> None:
    results = run(study(tmp_path, "Failing"), verbosity=-1)
    assert (results.state, results.exit_code) == ("failed", 2)
    assert "no two observations differ" in (tmp_path / "thinking" / "driver.log").read_text()
    trials = results.experiment.record.trials
    assert sorted(trials) == [0, 1, 2]
    assert all(trial.state in (State.COMPLETED, State.INTERRUPTED) for trial in trials.values())


@pytest.mark.slow
def test_a_signal_ends_a_study_whose_searcher_does_not_end(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(study(tmp_path, "Stuck").dump())
    process = subprocess.Popen(
        [sys.executable, "-m", "raytune_suite", "run", "study.yaml", "-q"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE)},
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_for_end(tmp_path / "thinking")
        signalled = time.time()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    finally:
        process.kill()
        process.wait()
    close = events(tmp_path, "close")[0]
    assert close["state"] == "interrupted"
    assert close["time"] - signalled < 3.0
    assert close["exit_code"] == 143


def _wait_for_end(folder: Path) -> None:
    for _ in range(1800):
        if (folder / "journal.jsonl").exists() and '"event":"end"' in (folder / "journal.jsonl").read_text():
            return
        time.sleep(0.1)
    pytest.fail("no trial ended")
