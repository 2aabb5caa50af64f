"""Training a trial again, in a child process, against journals written by hand; no Ray."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from raytune_suite import environment, reproduce
from raytune_suite.cli import main
from raytune_suite.errors import ExperimentError, TrainableError
from raytune_suite.journal import Journal, read
from raytune_suite.lineage import lineages
from raytune_suite.record import fold
from raytune_suite.reproduction import _variables
from raytune_suite.study import Study

WALK = '''
import json, os, random, sys, time
from pathlib import Path

class Walk:
    """A random walk in steps of a rate; its place and its generator are its weights."""
    def __init__(self, config, context):
        self.config, self.random, self.place = config, random.Random(context.seed), 0.0
    def step(self):
        self.place += self.config["rate"] * self.random.random()
        time.sleep(self.config.get("sleep", 0))
        threads = int(os.environ.get("OMP_NUM_THREADS", 0))
        return {"loss": self.place, "threads": threads, "time": {"s": time.time()}}
    def save(self, folder):
        folder.mkdir()
        (folder / "walk.json").write_text(json.dumps([self.place, self.random.getstate()]))
    def load(self, folder):
        self.place, (version, numbers, gauss) = json.loads((folder / "walk.json").read_text())
        self.random.setstate((version, tuple(numbers), gauss))
    def reset(self, config, context): return False
    def close(self): pass

class Changed(Walk):
    def step(self):
        metrics = super().step()
        return {**metrics, "loss": metrics["loss"] + 1e-9 * (self.place > 2)}

class Short(Walk):
    def step(self):
        return super().step() if self.place < 2 else {}

class Broken(Walk):
    def step(self):
        raise ValueError("no such file: digits.csv")

class Dies(Walk):
    def step(self):
        print("last words", flush=True)
        os.abort()
'''
SEEDS = {0: 11, 1: 22}


class Walks:
    """Writes the journal of an experiment with :data:`WALK`."""

    def __init__(self, folder: Path, trainable: str = "walk_toys:Walk") -> None:
        (folder / "walk_toys.py").write_text(WALK)
        self.study = Study.from_dict(
            {
                "name": "walk",
                "trainable": trainable,
                "metric": "loss",
                "num_trials": 2,
                "max_iterations": 6,
                "space": {"rate": {"uniform": [0, 2]}},
                "search": "random",
                "storage": str(folder),
            },
            project=folder,
        )
        self.folder = self.study.folder
        self.journal = Journal.create(self.folder)
        (self.folder / "study.yaml").write_text(self.study.dump())
        self.journal.append("experiment", name="walk", metric="loss", mode="min", version=1)
        self.journal.append("session", project="..", resources={"cpu": 3, "gpu": 0})
        self.facts = environment.capture(folder)
        self.facts["variables"]["OMP_NUM_THREADS"] = "3"
        self.places = {number: (0.0, random.Random(seed)) for number, seed in SEEDS.items()}

    def trial(self, number: int, rate: float = 1.0, **config: Any) -> None:
        self.rates = {**getattr(self, "rates", {}), number: rate}
        config = {"rate": rate, **config}
        self.journal.append("trial", number=number, trial_id=f"{number:05d}", config=config, seed=SEEDS[number])
        self.journal.append("environment", id="e1", facts=self.facts)
        self.journal.append("start", number=number, attempt=0)
        self.journal.append("worker", number=number, environment="e1")

    def reports(self, number: int, first: int, last: int, shift: float = 0.0) -> None:
        for iteration in range(first, last + 1):
            place, generator = self.places[number]
            place += self.rates[number] * generator.random()
            self.places[number] = place, generator
            metrics = {"loss": place + shift, "threads": 3, "time/s": 0.0}
            self.journal.append("report", number=number, iteration=iteration, metrics=metrics, elapsed=1.0)

    def exploit(self, number: int, source: int, rate: float) -> None:
        place, generator = self.places[source]
        copied = random.Random()
        copied.setstate(generator.getstate())
        self.places[number], self.rates[number] = (place, copied), rate
        reason = {"from": f"{source:05d}", "config": {"rate": rate}}
        self.journal.append("decision", number=number, iteration=4, action="exploit", by="pbt", reason=reason, text="")

    def close(self) -> Path:
        self.journal.close()
        return self.folder


@pytest.fixture
def walks(tmp_path: Path) -> Walks:
    return Walks(tmp_path)


def test_a_trial_comes_out_the_same_with_the_threads_it_had(walks: Walks) -> None:
    walks.trial(1, 0.7)
    walks.reports(1, 1, 6)
    found = reproduce(walks.close(), 1)
    assert (found.identical, found.iterations, found.metrics, found.lineage) == (True, 6, ("loss", "threads"), (1,))
    assert found.lines() == ["identical: trial 1, 6 iterations, 2 metrics"]


def test_changed_code_differs_where_it_first_shows(tmp_path: Path) -> None:
    walks = Walks(tmp_path, "walk_toys:Changed")
    walks.trial(0)
    walks.reports(0, 1, 6)
    found = reproduce(walks.close(), 0)
    first = next(i for i, loss in enumerate(walked(SEEDS[0], 6), 1) if loss > 2)
    assert found.difference is not None
    assert (found.difference.metric, found.difference.iteration, found.iterations) == ("loss", first, first)
    assert f"different: trial 0, loss at iteration {first}" in found.lines()[0]


def walked(seed: int, steps: int) -> list[float]:
    generator, place, places = random.Random(seed), 0.0, []
    for _ in range(steps):
        place += generator.random()
        places.append(place)
    return places


def test_a_tolerance_lets_a_small_difference_pass_and_is_told(tmp_path: Path) -> None:
    walks = Walks(tmp_path, "walk_toys:Changed")
    walks.trial(0)
    walks.reports(0, 1, 6)
    found = reproduce(walks.close(), 0, tolerance=1e-6)
    assert (found.reproduced, found.identical) == (True, False)
    assert "within tolerance 1e-06" in found.lines()[0]


def test_on_another_cpu_the_default_tolerance_counts_and_what_differs_is_listed(walks: Walks) -> None:
    walks.facts["cpu"] = {"model": "Another CPU"}
    walks.trial(0)
    walks.reports(0, 1, 6, shift=1e-4)
    found = reproduce(walks.close(), 0)
    assert (found.reproduced, found.identical) == (True, False)
    assert [fact.key for fact in found.environment] == ["cpu.model"]
    assert any("Another CPU" in line for line in found.lines())


def test_only_variables_that_change_numbers_are_taken_from_a_journal(walks: Walks) -> None:
    walks.facts["variables"]["LD_PRELOAD"] = "/tmp/nothing-of-ours.so"
    walks.trial(0)
    walks.reports(0, 1, 2)
    record = fold(read(walks.close()))
    path = lineages(read(walks.folder)).path(0)
    found = _variables(record, path)
    assert found["OMP_NUM_THREADS"] == "3"
    assert found.get("LD_PRELOAD") == os.environ.get("LD_PRELOAD")


def test_what_an_older_journal_does_not_say_is_no_difference(walks: Walks) -> None:
    del walks.facts["cpu"]
    walks.trial(0)
    walks.reports(0, 1, 2)
    assert reproduce(walks.close(), 0).environment == ()


def test_a_population_trial_is_trained_along_its_lineage(walks: Walks) -> None:
    walks.trial(0, 1.0)
    walks.trial(1, 2.0)
    walks.reports(0, 1, 4)
    walks.reports(1, 1, 4)
    walks.exploit(1, 0, 0.5)
    walks.reports(0, 5, 6)
    walks.reports(1, 5, 6)
    found = reproduce(walks.close(), 1)
    assert (found.identical, found.iterations, found.lineage) == (True, 6, (0, 1))
    assert "trials 0 -> 1" in found.lines()[1]


def test_a_difference_right_after_a_resume_points_at_save_and_load(walks: Walks) -> None:
    walks.trial(0)
    walks.reports(0, 1, 3)
    walks.journal.append("worker", number=0, environment="e1", restored=3, restored_from="00000")
    walks.reports(0, 4, 6, shift=1.0)
    found = reproduce(walks.close(), 0)
    assert found.difference is not None
    assert found.difference.iteration == 4
    assert "save and load" in found.hint


def test_the_final_checkpoint_can_be_kept(walks: Walks, tmp_path: Path) -> None:
    walks.trial(0)
    walks.reports(0, 1, 3)
    found = reproduce(walks.close(), 0, save=tmp_path / "again")
    assert found.checkpoint is not None
    assert json.loads((found.checkpoint / "walk.json").read_text())[0] == walked(SEEDS[0], 3)[-1]
    with pytest.raises(ExperimentError, match="exists already"):
        reproduce(walks.folder, 0, save=tmp_path / "again")


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        ("Broken", TrainableError, "no such file: digits.csv"),
        ("Dies", TrainableError, "(?s)SIGABRT.*last words"),
        ("Short", ExperimentError, r"ended after \d iterations; 6 were logged"),
        ("Gone", TrainableError, "has no Gone"),
    ],
)
def test_a_training_that_cannot_be_repeated_says_why(
    tmp_path: Path, kind: str, error: type[Exception], text: str
) -> None:
    walks = Walks(tmp_path, f"walk_toys:{kind}")
    walks.trial(0)
    walks.reports(0, 1, 6)
    with pytest.raises(error, match=text):
        reproduce(walks.close(), 0)


def test_a_trial_that_is_not_there_or_reported_nothing_is_refused(walks: Walks) -> None:
    walks.trial(0)
    folder = walks.close()
    with pytest.raises(ExperimentError, match=r"no trial 5\. Its trials: 0 to 0"):
        reproduce(folder, 5)
    with pytest.raises(ExperimentError, match="reported nothing"):
        reproduce(folder, 0)


def test_the_command_gives_0_for_identical_and_1_for_different(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walks = Walks(tmp_path)
    walks.trial(0)
    walks.trial(1)
    walks.reports(0, 1, 3)
    walks.reports(1, 1, 3, shift=0.5)
    folder = str(walks.close())
    assert main(["reproduce", folder, "0"]) == 0
    assert main(["reproduce", folder, "1"]) == 1
    shown = capsys.readouterr().out
    assert "identical: trial 0" in shown
    assert "different: trial 1, loss at iteration 1" in shown
    assert main(["reproduce", folder, "1", "--ignore", "lo*"]) == 0


def test_ctrl_c_says_how_far_it_came_and_leaves_no_child(walks: Walks) -> None:
    walks.trial(0, sleep=2)
    walks.reports(0, 1, 6)
    command = [sys.executable, "-m", "raytune_suite", "reproduce", str(walks.close()), "0"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a shell runs in the background
    try:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, before)
    child = child_of(process.pid)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "all equal so far" in errors
    assert not Path(f"/proc/{child}").exists()


def test_a_child_ends_with_its_parent_however_that_died(walks: Walks) -> None:
    walks.trial(0, sleep=30)
    walks.reports(0, 1, 6)
    command = [sys.executable, "-m", "raytune_suite", "reproduce", str(walks.close()), "0"]
    process = subprocess.Popen(command, start_new_session=True)
    child = child_of(process.pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


def child_of(parent: int) -> int:
    """The process that trains, once it does."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for entry in Path("/proc").iterdir():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (OSError, IndexError):
                continue
            if int(stat[1]) == parent and b"raytune_suite.retraining" in words:
                time.sleep(1.0)  # it is past its imports
                return int(entry.name)
        time.sleep(0.05)
    raise TimeoutError("no child began to train")
