"""The event files: how many are open, that none is doubled, that nothing of the user's is touched."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.summary.writer.record_writer import RecordWriter

from raytune_suite.eventfiles import SUFFIX, EventFiles, record, scalars


def write_round(files: EventFiles, runs: int, step: int) -> None:
    for run in range(runs):
        files.write(f"{run:05d}", scalars({"loss": run + step}), step, 1.0)


def steps(path: Path) -> list[int]:
    return [event.step for event in EventFileLoader(str(path)).Load() if event.HasField("summary")]


def test_more_runs_than_open_files_still_have_one_file_each_with_all_points(tmp_path: Path) -> None:
    files = EventFiles(tmp_path, max_open=3)
    for step in range(5):
        write_round(files, 10, step)
        assert files.open_count == 3
    files.close()
    for run in range(10):
        (path,) = (tmp_path / f"{run:05d}").iterdir()
        assert steps(path) == [0, 1, 2, 3, 4]


def test_what_was_flushed_can_be_read_while_the_file_is_open(tmp_path: Path) -> None:
    files = EventFiles(tmp_path)
    write_round(files, 1, 7)
    files.flush()
    (path,) = (tmp_path / "00000").iterdir()
    assert steps(path) == [7]


def test_only_our_own_files_are_removed(tmp_path: Path) -> None:
    files = EventFiles(tmp_path)
    write_round(files, 2, 0)
    of_the_user = tmp_path / "00001" / "events.out.tfevents.1.host"
    of_the_user.write_bytes(b"mine")
    files.remove_all()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [of_the_user.name]


def test_a_removed_run_begins_again_under_another_name(tmp_path: Path) -> None:
    files = EventFiles(tmp_path)
    write_round(files, 1, 0)
    (before,) = (tmp_path / "00000").iterdir()
    files.remove("00000")
    write_round(files, 1, 1)
    files.close()
    (after,) = (tmp_path / "00000").iterdir()
    assert before.name != after.name
    assert after.name.endswith(SUFFIX)
    assert steps(after) == [1]


@pytest.mark.parametrize("value", [1e39, -1e39])
def test_a_number_beyond_32_bits_becomes_infinite(value: float) -> None:
    assert abs(scalars({"x": value}).value[0].simple_value) == float("inf")


@pytest.mark.parametrize("data", [b"", b"a", bytes(range(256)), b"\xff" * 1000])
def test_records_are_those_of_tensorboards_own_writer(data: bytes) -> None:
    theirs = io.BytesIO()
    RecordWriter(theirs).write(data)
    assert record(data) == theirs.getvalue()
