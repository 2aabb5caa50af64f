"""A run that is told to stop, or killed: what is left is a readable experiment, quickly."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from raytune_suite.analysis import load
from raytune_suite.journal import read
from raytune_suite.states import State

pytestmark = [pytest.mark.ray, pytest.mark.slow]
HERE = Path(__file__).parent
WORKER = re.compile("Hosted|Residence")

STUDY = """
trainable: toys:Quadratic
metric: validation/loss
num_trials: 6
max_iterations: 1000
space: {x: {uniform: [0, 1]}, sleep: 0.3}
search: random
resources: {cpu: 1, gpu: 0}
name: stopped
storage: .
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """``raytune run`` in a process of its own, in the middle of its first trials."""
    (tmp_path / "toys.py").write_text((HERE / "toys.py").read_text())
    (tmp_path / "study.yaml").write_text(STUDY)
    process = subprocess.Popen(
        [sys.executable, "-m", "raytune_suite", "run", "study.yaml"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "RAYTUNE_NUM_CPUS": "2"},
    )
    try:
        _wait_for_reports(tmp_path / "stopped", 4)
        yield process
    finally:
        process.kill()
        process.wait()


def _wait_for_reports(folder: Path, count: int) -> None:
    for _ in range(600):
        if (folder / "journal.jsonl").exists():
            reports = [event for event in read(folder) if event["event"] == "report"]
            if len(reports) >= count:
                return
        time.sleep(0.1)
    pytest.fail("the study never reported")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_study_with_its_results(
    running: subprocess.Popen[str], tmp_path: Path, number: int, code: int
) -> None:
    running.send_signal(number)
    output, _ = running.communicate(timeout=60)
    assert running.returncode == code, output
    experiment = load(tmp_path / "stopped")
    assert experiment.record.closed is not None
    assert experiment.record.closed["state"] == "interrupted"
    assert {t.state for t in experiment.record.trials.values()} == {State.INTERRUPTED}
    assert experiment.best().best() is not None
    assert "best" in output


def test_a_killed_driver_leaves_every_report_and_no_worker(running: subprocess.Popen[str], tmp_path: Path) -> None:
    children = psutil.Process(running.pid).children(recursive=True)
    running.kill()
    running.wait()
    record = load(tmp_path / "stopped").record
    assert record.closed is None
    assert sum(len(t.reports) for t in record.trials.values()) >= 4
    _gone, alive = psutil.wait_procs(children, timeout=30)
    assert not [process for process in alive if WORKER.search(" ".join(process.cmdline()))], alive
