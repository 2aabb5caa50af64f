from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from raytune_suite.preflight import StepReport, first_config, try_step
from raytune_suite.study import Study

TOYS = """
import os, sys, time

class Toy:
    def __init__(self, config, context):
        self.config, self.context = config, context
    def step(self):
        (self.context.trial_dir / "file.txt").write_text("mine")
        return {"loss": self.config["x"], "validation": {"accuracy": 0.5}, "iterations": self.context.max_iterations}
    def save(self, folder): pass
    def load(self, folder): pass
    def reset(self, config, context): return False
    def close(self): pass

class Raises(Toy):
    def step(self):
        raise ValueError(f"cannot train with x = {self.config['x']}")

class Dies(Toy):
    def step(self):
        print("last words", flush=True)
        os.abort()

class Exits(Toy):
    def step(self):
        sys.exit(3)

class Hangs(Toy):
    def step(self):
        time.sleep(600)

class Silent(Toy):
    def step(self):
        return {}

def train(config):
    from ray import tune
    for i in range(3):
        tune.report({"loss": config["x"] / (i + 1)})

def quits(config):
    pass
"""
TUNE = """
from ray import tune

class Old(tune.Trainable):
    def setup(self, config):
        self.x = config["x"]
    def step(self):
        return {"loss": self.x, "done": False}
    def save_checkpoint(self, folder):
        return None
    def load_checkpoint(self, folder):
        pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "toys_to_try.py").write_text(TOYS)
    (tmp_path / "old_toys_to_try.py").write_text(TUNE)
    return tmp_path


def study(project: Path, trainable: str, **changes: Any) -> Study:
    settings = {
        "trainable": trainable,
        "metric": "loss",
        "num_trials": 3,
        "max_iterations": 7,
        "default": {"x": 0.25},
        "space": {"x": {"uniform": [0, 1]}, "y": {"randint": [0, 10]}},
        "search": "random",
        "name": "toy",
        "resources": {"gpu": 0},
    }
    return Study.from_dict({**settings, **changes}, project)


def tried(project: Path, trainable: str, *, timeout: float = 120, **changes: Any) -> StepReport:
    return try_step(study(project, trainable, **changes), timeout)


def test_a_good_trainable_reports_flat_metrics_and_how_long_it_took(project: Path) -> None:
    report = tried(project, "toys_to_try:Toy")
    assert report.ok
    assert report.metrics == {"loss": 0.25, "validation/accuracy": 0.5, "iterations": 7}
    assert report.setup_seconds > 0
    assert report.step_seconds > 0


def test_the_configuration_is_the_one_trial_0_will_have(project: Path) -> None:
    from raytune_suite.search import build

    for default in ({"x": 0.25}, None, {}):
        toy = study(project, "toys_to_try:Toy", default=default, seed=5)
        suggestion = build(toy).ask(0)
        if default is not None and suggestion is not None:
            assert first_config(toy) == toy.search_space.config(suggestion.point)
        assert first_config(toy) == first_config(toy)


def test_nothing_is_left_in_the_project(project: Path) -> None:
    tried(project, "toys_to_try:Toy")
    assert {path.name for path in project.iterdir()} <= {"toys_to_try.py", "old_toys_to_try.py", "__pycache__"}


def test_a_misspelt_metric_is_named_with_the_near_one(project: Path) -> None:
    report = tried(project, "toys_to_try:Toy", metric="validation/acuracy")
    assert not report.ok
    assert report.error is None
    assert str(report.problems[0]).endswith("Did you mean validation/accuracy?")


def test_an_error_comes_back_as_the_users_own_traceback(project: Path) -> None:
    report = tried(project, "toys_to_try:Raises")
    assert report.error is not None
    assert "cannot train with x = 0.25" in report.error
    assert "toys_to_try.py" in report.error
    assert "hosts.py" not in report.error
    (problem,) = report.problems
    assert str(problem) == "trainable: toys_to_try:Raises failed: ValueError: cannot train with x = 0.25"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Dies", ["killed by SIGABRT", "last words"]),
        ("Exits", ["SystemExit: 3"]),
    ],
)
def test_however_the_code_ends_it_is_told(project: Path, name: str, words: list[str]) -> None:
    report = tried(project, f"toys_to_try:{name}")
    assert report.error is not None
    assert not [word for word in words if word not in report.error]
    assert report.problems


@pytest.mark.parametrize(
    ("trainable", "words"),
    [
        ("toys_to_try:Missing", "trainable: toys_to_try:Missing: toys_to_try (.*) has no Missing"),
        ("toys_to_tri:Toy", "trainable: toys_to_tri:Toy: there is no module toys_to_tri .* Did you mean toys_to_try"),
    ],
)
def test_a_misspelt_trainable_is_one_message_without_a_traceback_of_ours(
    project: Path, trainable: str, words: str
) -> None:
    report = tried(project, trainable)
    assert not report.ok
    assert report.error is None
    (problem,) = report.problems
    assert re.match(words.replace("(.*)", r"\(.*\)"), str(problem))


def test_a_step_that_never_ends_is_killed(project: Path) -> None:
    report = tried(project, "toys_to_try:Hangs", timeout=3)
    assert report.error is not None
    assert "did not end within 3 s" in report.error


def test_a_trainable_that_reports_nothing_is_refused(project: Path) -> None:
    report = tried(project, "toys_to_try:Silent")
    assert [str(p) for p in report.problems] == [
        "trainable: toys_to_try:Silent ended without reporting a result. Report at least loss."
    ]


def test_a_step_longer_than_its_limit_is_a_problem_of_the_limit(project: Path) -> None:
    report = tried(project, "toys_to_try:Toy", stop={"step_time": 1e-9, "trial_time": "1h"})
    assert [problem.where for problem in report.problems] == ["stop.step_time"]


def test_ray_tunes_own_kinds_of_trainables_are_tried_too(project: Path) -> None:
    assert tried(project, "toys_to_try:train").metrics == {"loss": 0.25}
    assert tried(project, "old_toys_to_try:Old").metrics == {"loss": 0.25}
    assert "without reporting" in str(tried(project, "toys_to_try:quits").problems[0])
