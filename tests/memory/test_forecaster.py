"""The child that rehearses, and what becomes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raytune_suite.memory.child import answers
from raytune_suite.memory.forecaster import WORKSPACE, Forecaster
from raytune_suite.study import Study

TESTS = Path(__file__).parents[1]


def a_study(trainable: str, **fields: Any) -> Study:
    made = {"metric": "validation/loss", "num_trials": 3, "max_iterations": 2, "search": "random", "name": "a"}
    space = {"width": {"choice": [8, 64]}}
    return Study.from_dict({**made, "trainable": trainable, "space": space, **fields}, project=TESTS)


@pytest.fixture(scope="module")
def forecaster() -> Iterator[Forecaster]:
    made = Forecaster(a_study("rehearsed:Chatty"))
    yield made
    made.close()


def test_a_forecast_is_what_would_be_reserved_and_the_workspaces(forecaster: Forecaster) -> None:
    found = forecaster({"width": 64})

    assert found.bytes == 2 * 2**20 + WORKSPACE
    assert found.parameters == 4 * 64 * 64


def test_what_the_code_does_wrong_is_said_and_the_next_question_is_answered(forecaster: Forecaster) -> None:
    wrong = forecaster({"width": "wide"})

    assert wrong.bytes is None
    assert "TypeError" in wrong.why
    assert "rehearsed.py, line" in wrong.why
    assert forecaster({"width": 8}).bytes


def test_a_child_that_dies_or_hangs_costs_no_more_than_its_time() -> None:
    made = Forecaster(a_study("rehearsed:Square"), each_s=0.5)
    try:
        assert made({"width": 8}).bytes
        began = time.monotonic()
        assert made({"width": 8, "then": "sleeps"}).why == "rehearsing a training step took too long"
        assert time.monotonic() - began < 30
        assert "ended with exit code 3" in made({"width": 8, "then": "dies"}).why
        assert made({"width": 8}).why == "the process that rehearses a training step died twice"
    finally:
        made.close()


def test_what_is_no_trainable_of_the_suites_cannot_be_forecast(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps({"trainable": "rehearsed:doubled", "project": str(TESTS)}))

    assert "is no TorchTrainable" in answers(tmp_path)({"width": 8})["why"]
