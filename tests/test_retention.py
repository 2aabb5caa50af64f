"""Which checkpoints a running study deletes, and which it never does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raytune_suite.record import Record
from raytune_suite.retention import Retention, size
from raytune_suite.study import Study


class Watched:
    """A study's journal, record and checkpoints, as far as retention looks at them."""

    def __init__(self, folder: Path, *, population: bool = False, **changes: Any) -> None:
        base: dict[str, Any] = {
            "name": "kept",
            "trainable": "anything:Model",
            "metric": "loss",
            "num_trials": 9,
            "max_iterations": 9,
            "space": {"x": {"uniform": [0, 1]}},
            "search": "random",
            "scheduler": "asha",
        }
        self.folder, self.record = folder, Record()
        study = Study.from_dict({**base, **changes}, project=folder)
        self.record.apply({"event": "experiment", "metric": "loss", "mode": "min"})
        self.retention = Retention(study, folder, self.record, population=population)

    def event(self, kind: str, **fields: Any) -> None:
        event = {"event": kind, "time": 0.0, **fields}
        self.record.apply(event)
        self.retention(event)

    def trial(self, number: int, loss: float, end: str | None = "stopped", by: str | None = "asha") -> None:
        self.event("trial", number=number, config={}, point={})
        self.event("report", number=number, iteration=1, metrics={"loss": loss})
        checkpoint = self.folder / "checkpoints" / f"{number:05d}" / "000001"
        checkpoint.mkdir(parents=True)
        (checkpoint / "state").write_bytes(bytes(1000))
        self.event("checkpoint", number=number, iteration=1, path=str(checkpoint.relative_to(self.folder)))
        if end is not None:
            self.event("end", number=number, state=end, by=by, value=loss)

    def left(self) -> list[int]:
        self.notices = self.retention.close()
        return sorted(int(path.name) for path in (self.folder / "checkpoints").iterdir())


def test_a_stopped_trial_keeps_its_checkpoints_only_while_it_is_the_best(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    for number, loss in enumerate([0.5, 0.7, 0.3, 0.4]):
        watched.trial(number, loss)
    assert watched.left() == [2]
    assert watched.notices == []


@pytest.mark.parametrize(
    ("end", "by"),
    [("completed", None), ("failed", None), (None, None), ("interrupted", "signal"), ("stopped", "time")],
)
def test_what_may_go_on_or_was_trained_out_keeps_its_checkpoints(tmp_path: Path, end: str | None, by: str) -> None:
    watched = Watched(tmp_path)
    watched.trial(0, 0.1)
    watched.trial(1, 0.5, end, by)
    assert watched.left() == [0, 1]


def test_the_default_keeps_its_checkpoints_for_the_comparison(tmp_path: Path) -> None:
    watched = Watched(tmp_path, default={"x": 0.5})
    watched.trial(0, 0.9, by="nan")
    watched.trial(1, 0.1)
    assert watched.left() == [0, 1]


@pytest.mark.parametrize("changes", [{"population": True}, {"checkpoint": {"keep": ["all"]}}])
def test_where_any_checkpoint_may_be_wanted_none_goes(tmp_path: Path, changes: dict[str, Any]) -> None:
    watched = Watched(tmp_path, **changes)
    watched.trial(0, 0.1)
    watched.trial(1, 0.5)
    assert watched.left() == [0, 1]


def test_a_quota_takes_the_worst_ended_trials_first_and_failed_ones_last(tmp_path: Path) -> None:
    watched = Watched(tmp_path, checkpoint={"quota": "3.5kB"})
    watched.trial(0, 0.2, "failed", None)
    watched.trial(1, 0.9, "completed", None)
    watched.trial(2, 0.1, "completed", None)
    watched.trial(3, 0.5, "completed", None)
    assert watched.left() == [0, 2, 3]
    assert watched.notices == ["checkpoints of 1 ended trial were deleted to keep within checkpoint.quota (3.42 KiB)"]


def test_a_quota_that_what_is_needed_exceeds_is_said_once_and_costs_nobody_a_checkpoint(tmp_path: Path) -> None:
    watched = Watched(tmp_path, checkpoint={"quota": 1500})
    for number in range(4):
        watched.trial(number, 0.5, None)
    assert watched.left() == [0, 1, 2, 3]
    (notice,) = watched.notices
    assert "checkpoint.quota (1.46 KiB) is exceeded" in notice
    assert "raise it" in notice


def test_what_an_earlier_session_had_no_time_to_delete_goes_later(tmp_path: Path) -> None:
    before = Watched(tmp_path, checkpoint={"keep": ["all"]})
    before.trial(0, 0.1)
    before.trial(1, 0.5)
    before.retention.close()
    after = Watched(tmp_path)
    after.record = after.retention._record = before.record
    after.retention.take_over()
    assert after.left() == [0]


def test_sizes_are_said_in_binary_units() -> None:
    assert [size(n) for n in (5, 2048, 1.5 * 2**30)] == ["5 B", "2 KiB", "1.5 GiB"]
