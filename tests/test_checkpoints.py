"""Which checkpoints of a trial there are, and that none is ever half there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from raytune_suite.checkpoints import TrialCheckpoints


def saver(text: str) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        folder.mkdir()
        (folder / "state").write_text(text)

    return save


def written(tmp_path: Path, values: list[float | None], **options: object) -> TrialCheckpoints:
    made = TrialCheckpoints(tmp_path / "00000", **options)  # type: ignore[arg-type]
    for iteration, value in enumerate(values, 1):
        made.write(iteration, iteration * 0.5, value, saver(f"state {iteration}"))
    made.settle()
    return made


@pytest.mark.parametrize(
    ("keep", "mode", "kept"),
    [
        (["last", "best"], "min", [2, 4]),
        (["last", "best"], "max", [1, 4]),
        (["last"], "min", [4]),
        (["best"], "min", [2]),
        (["all"], "min", [1, 2, 3, 4]),
    ],
)
def test_what_is_kept_is_what_was_asked_for(tmp_path: Path, keep: list[str], mode: str, kept: list[int]) -> None:
    made = written(tmp_path, [0.9, 0.1, 0.5, 0.4], keep=keep, mode=mode)
    assert [saved.iteration for saved in made.all()] == kept


def test_a_trial_goes_on_from_the_latest_and_is_judged_by_the_best(tmp_path: Path) -> None:
    made = written(tmp_path, [0.9, 0.1, 0.5])
    latest, best = made.latest(), made.best()
    assert latest is not None
    assert (latest.iteration, latest.elapsed, (latest.path / "state").read_text()) == (3, 1.5, "state 3")
    assert best is not None
    assert best.iteration == 2


def test_values_that_are_no_numbers_are_never_the_best(tmp_path: Path) -> None:
    made = written(tmp_path, [None, float("nan"), float("-inf")])
    assert made.best() is None
    assert [saved.iteration for saved in made.all()] == [3]


def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    made = written(tmp_path, [0.5])

    def broken(folder: Path) -> None:
        folder.mkdir()
        (folder / "state").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        made.write(2, 1.0, 0.4, broken)
    assert [path.name for path in made.folder.iterdir()] == ["000001"]


def test_a_draft_of_a_killed_writer_is_no_checkpoint(tmp_path: Path) -> None:
    made = written(tmp_path, [0.5])
    saver("half")(made.folder / ".000002-dead")
    saver("no info")(made.folder / "000003")
    assert [saved.iteration for saved in made.all()] == [1]


def test_an_iteration_trained_again_replaces_its_checkpoint(tmp_path: Path) -> None:
    made = written(tmp_path, [0.5])
    again = made.write(1, 2.0, 0.4, saver("again"))
    made.settle()
    assert (again.path / "state").read_text() == "again"
    assert [saved.value for saved in made.all()] == [0.4]
