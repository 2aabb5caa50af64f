"""Writing while a study runs: beside the driver, whole after a crash, and what a real TensorBoard then serves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import event_reader
import made_up
import pytest

from raytune_suite import hparams, viewer
from raytune_suite.board import Board
from raytune_suite.errors import ExperimentError
from raytune_suite.tensorboard import TensorBoardWriter, write

ROOT = Path(__file__).parents[1]


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    return {run: event_reader.scalars(folder, run, made_up.METRIC) for run in event_reader.runs(folder)}


def shown(folder: Path) -> dict[str, Any]:
    """Everything a TensorBoard would show of the rows."""
    return {
        run: (event_reader.session(folder, run), event_reader.status(folder, run), curves(folder)[run])
        for run in event_reader.runs(folder)
    }


def live_story(folder: Path, **options: Any) -> tuple[made_up.Story, TensorBoardWriter]:
    """A journal whose events go to a writer from the first one on."""
    story = made_up.Story(folder)
    writer = TensorBoardWriter(folder, **options)
    story.journal.subscribe(writer.apply)
    return story, writer


def some_trials(story: made_up.Story, numbers: range) -> None:
    for number in numbers:
        story.whole(number, [1.0 / (number + 1), 0.5 / (number + 1)])


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first true answer, asked again and again for a bounded time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := condition():
            return answer
        time.sleep(0.1)
    pytest.fail(f"nothing after {seconds} s")


def test_a_writer_that_came_late_reads_what_it_missed(tmp_path: Path) -> None:
    story, writer = live_story(tmp_path / "made-up")
    some_trials(story, range(3))
    writer.close()
    assert writer.error is None
    assert len(event_reader.runs(story.folder)) == 3
    assert event_reader.experiment(story.folder).name == "made-up"


def test_a_full_queue_loses_nothing(tmp_path: Path) -> None:
    story, writer = live_story(tmp_path / "made-up", size=1)
    some_trials(story, range(8))
    writer.close()
    story.journal.close()
    live = shown(story.folder)
    write(story.folder)
    assert live == shown(story.folder)
    assert len(live) == 8


def test_the_driver_never_waits_for_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    original = Board.apply
    monkeypatch.setattr(Board, "apply", lambda self, event: (released.wait(60), original(self, event)))
    story, writer = live_story(tmp_path / "made-up", size=10)
    some_trials(story, range(30))  # would hang here
    assert not event_reader.board(story.folder).exists()
    released.set()
    writer.close()
    assert len(event_reader.runs(story.folder)) == 30


def test_points_can_be_seen_while_the_study_runs(tmp_path: Path) -> None:
    story, writer = live_story(tmp_path / "made-up")
    story.trial(0)
    story.start(0)
    story.report(0, 1, 0.5)
    run = event_reader.board(story.folder) / "00000"
    until(lambda: run.exists() and event_reader.scalars(story.folder, "00000", made_up.METRIC), 20)
    until(lambda: event_reader.scalars(story.folder, "00000", hparams.EPOCHS)[-1:] == [(1, 1.0)], 20)
    writer.close()


def test_files_that_a_crash_cut_short_are_whole_after_a_resume(tmp_path: Path) -> None:
    story, writer = live_story(tmp_path / "made-up")
    some_trials(story, range(3))
    writer.close()
    for path in event_reader.files(story.folder, "00001"):
        os.truncate(path, path.stat().st_size // 2)
    resumed = TensorBoardWriter(story.folder)
    story.journal.subscribe(resumed.apply)
    story.session(made_up.RUNGS)
    resumed.close()
    assert {run: len(points) for run, points in curves(story.folder).items()} == dict.fromkeys(
        ("00000", "00001", "00002"), 2
    )
    assert all(len(event_reader.files(story.folder, run)) == 1 for run in event_reader.runs(story.folder))


def test_the_files_can_be_made_from_the_journal_alone(tmp_path: Path) -> None:
    story, writer = live_story(tmp_path / "made-up")
    some_trials(story, range(4))
    writer.close()
    story.journal.close()
    live = shown(story.folder)
    for path in event_reader.board(story.folder).rglob("*tfevents*"):
        path.unlink()
    write(story.folder)
    assert shown(story.folder) == live


def test_the_files_are_not_made_again_under_a_running_driver(tmp_path: Path) -> None:
    story = made_up.Story(tmp_path / "made-up")
    with pytest.raises(ExperimentError, match="being written by process"):
        write(story.folder)


def test_trouble_with_the_files_ends_the_writing_and_not_the_study(tmp_path: Path) -> None:
    folder = tmp_path / "made-up"
    folder.mkdir()
    (folder / "tensorboard").write_text("a file where the folder should be")
    story, writer = live_story(folder)
    some_trials(story, range(2))
    writer.close()
    assert isinstance(writer.error, OSError)
    some_trials(story, range(2, 3))


def test_neither_torch_nor_tensorboardx_is_imported(tmp_path: Path) -> None:
    folder = tmp_path / "made-up"
    made_up.tell(folder)
    code = (
        "import sys; from raytune_suite.tensorboard import write; write(sys.argv[1]);"
        "print(sorted({'torch', 'tensorboardX', 'tensorflow', 'ray', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Callable[..., Any]]:
    """A real TensorBoard on this folder; gives a function that asks it over HTTP."""
    port = viewer.free_port(None)
    process = subprocess.Popen(
        [*viewer.command(viewer.logdir(folder), port), "--reload_interval=1", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def ask(path: str, **body: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/data/plugin/{path}",
            data=json.dumps(body).encode() if body else None,
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            return None

    try:
        yield ask
    finally:
        process.terminate()
        process.wait(30)


def rows(ask: Callable[..., Any]) -> list[Any]:
    statuses = [f"STATUS_{name}" for name in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
    answer = ask("hparams/session_groups", startIndex=0, sliceSize=100, allowedStatuses=statuses)
    return (answer or {}).get("sessionGroups", [])


@pytest.mark.slow
@pytest.mark.parametrize("loading", ["--load_fast=true", "--load_fast=false"])
def test_a_real_tensorboard_shows_fifty_rows_and_a_restored_curve_once(tmp_path: Path, loading: str) -> None:
    story, writer = live_story(tmp_path / "made-up", max_open=2)
    for number in range(48):
        story.whole(number, [0.5, 0.4])
    story.trial(48)
    story.trial(49)
    for number in (48, 49):
        story.start(number)
    for iteration in range(1, 6):  # in turns, so that the files take turns in being open
        for number in (48, 49):
            story.report(number, iteration, 1.0 / iteration)
    with serving(story.folder, loading) as ask:
        until(lambda: len(rows(ask)) == 50)
        story.retry(48, 1, "preempted")
        story.start(48, 1, restored=3)
        story.report(48, 4, 0.01)
        story.end(48, "completed", iteration=4)
        writer.close()
        until(lambda: len(ask("scalars/scalars?tag=validation%2Floss&run=00048") or []) == 4)
        found = {row["name"]: row for row in rows(ask)}
        assert len(found) == 50
        until(lambda: {r["name"]: r for r in rows(ask)}["00048"]["sessions"][0]["status"] == "STATUS_SUCCESS")
        assert found["00049"]["sessions"][0]["status"] == "STATUS_UNKNOWN"
        points = ask("scalars/scalars?tag=validation%2Floss&run=00048")
        assert [point[1] for point in points] == [1, 2, 3, 4]
        assert points[-1][2] == pytest.approx(0.01)
        assert len(ask("scalars/scalars?tag=validation%2Floss&run=00049")) == 5


@pytest.mark.slow
def test_trials_of_two_experiments_with_the_same_number_are_two_rows(tmp_path: Path) -> None:
    for name, trials in (("one", 3), ("two", 4)):
        made_up.tell(tmp_path / name, trials)
    with serving(tmp_path) as ask:
        found = until(lambda: len(rows(ask)) == 7 and rows(ask))
        assert {row["name"] for row in found} >= {"one/tensorboard/00000", "two/tensorboard/00000"}
