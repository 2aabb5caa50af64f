"""Trials that run out of memory, on a real Ray with fake GPUs: what they are given next, and what it costs others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raytune_suite import run, schedulers
from raytune_suite.driver import Driver
from raytune_suite.journal import read
from raytune_suite.live import Given
from raytune_suite.replay import Nowhere, replay
from raytune_suite.restore import restore
from raytune_suite.search import build
from raytune_suite.states import State
from raytune_suite.stoppers import Stoppers
from raytune_suite.study import Study

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]
HERE = Path(__file__).parent

NEVER, IN_PIECES, TOO_MUCH = 0, 2, 10_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, ray_local: None) -> Path:
    """A study whose trials need nothing, a whole GPU and smaller batches, and more than there is."""
    place = tmp_path_factory.mktemp("oom")
    study = Study.from_dict(
        {
            "name": "hungry",
            "trainable": "torch_toys:Hungry",
            "metric": "validation/loss",
            "max_iterations": 3,
            "space": {"appetite": {"grid": [NEVER, IN_PIECES, TOO_MUCH]}, "learning_rate": 0.1},
            "search": "grid",
            "resources": {"cpu": 0.5, "gpu": 0.25},
            "retries": {"oom": 3},
            "storage": str(place),
        },
        project=HERE,
    )
    run(study, verbosity=-1)
    return place / "hungry"


def events(folder: Path, kind: str, number: int) -> list[dict[str, Any]]:
    return [event for event in read(folder) if event["event"] == kind and event["number"] == number]


def test_each_step_of_the_ladder_is_on_record_and_reaches_the_worker(folder: Path) -> None:
    steps = {number: [(e["step"], e["given"]) for e in events(folder, "retry", number)] for number in range(3)}
    assert steps[0] == []
    assert steps[1] == [("share", {"gpu": 0.5}), ("alone", {"gpu": 1.0}), ("micro_batch", {"gpu": 1.0, "split": 2})]
    assert steps[2] == steps[1]
    assert [event["gpu"] for event in events(folder, "worker", 1)] == [0.25, 0.5, 1.0, 1.0]


def test_nothing_is_lost_and_neighbours_are_not_touched(folder: Path) -> None:
    ends = [events(folder, "end", number)[0]["state"] for number in range(3)]
    assert ends == [State.COMPLETED, State.COMPLETED, State.OOM]
    assert [event["attempt"] for event in events(folder, "start", 0)] == [0]
    for number in range(2):
        reports = events(folder, "report", number)
        losses = [event["metrics"]["validation/loss"] for event in reports]
        assert [event["iteration"] for event in reports] == [1, 2, 3]
        assert losses == sorted(losses, reverse=True)
    assert [event["restored"] for event in events(folder, "worker", 1)] == [None, 1, 1, 1]


def test_the_journal_is_lived_through_again_with_what_each_was_given(folder: Path) -> None:
    study = Study.load(folder / "study.yaml", project=HERE)
    assert replay(folder, study).identical
    driver = Driver(study, Nowhere(), build(study), schedulers.build(study), Stoppers(study), num_trials=3)
    past = [event for event in read(folder) if event["event"] not in ("close", "end") or event.get("number") == 0]
    restore(driver, past)
    assert driver.waiting[2].given == Given(gpu=1.0, split=2)
    assert driver.waiting[2].spent == {State.OOM: 3}
