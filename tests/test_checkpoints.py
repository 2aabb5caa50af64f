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


def test_a_broken_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    made = written(tmp_path, [0.9, 0.1, 0.5], keep=["all"])
    (made.folder / "000003" / "state").write_text("state")
    saved, broken = made.latest_intact()
    assert saved is not None
    assert saved.iteration == 2
    assert [(b.iteration, b.reason) for b in broken] == [(3, "state has 5 bytes, 7 were written")]
    assert sorted(path.name for path in made.folder.iterdir()) == ["000001", "000002", "broken-000003"]
    assert made.latest_intact() == (saved, [])  # said once


def test_a_checkpoint_whose_description_is_cut_off_is_broken(tmp_path: Path) -> None:
    made = written(tmp_path, [0.9, 0.1], keep=["all"])
    info = made.folder / "000002" / "raytune.json"
    info.write_text(info.read_text()[:-20])
    saved, broken = made.latest_intact()
    assert saved is not None
    assert saved.iteration == 1
    assert [b.reason for b in broken] == ["its raytune.json is gone or cannot be read"]


def test_a_trial_whose_checkpoints_are_all_broken_starts_anew(tmp_path: Path) -> None:
    made = written(tmp_path, [0.9, 0.1], keep=["all"])
    for name in ("000001", "000002"):
        (made.folder / name / "state").unlink()
    saved, broken = made.latest_intact()
    assert saved is None
    assert len(broken) == 2


def test_the_winner_is_tested_with_an_intact_checkpoint(tmp_path: Path) -> None:
    made = written(tmp_path, [0.9, 0.1, 0.5], keep=["all"])
    (made.folder / "000002" / "state").unlink()
    best = made.best_intact()
    assert best is not None
    assert best.iteration == 3


def test_a_checkpoint_asked_for_by_name_gives_way_to_an_earlier_one(tmp_path: Path) -> None:
    made = written(tmp_path, [0.9, 0.1, 0.5], keep=["all"])
    (made.folder / "000002" / "state").unlink()
    saved, broken = made.intact(made.folder / "000002")
    assert saved is not None
    assert (saved.iteration, len(broken)) == (1, 1)
    assert made.intact(made.folder / "000003")[0] == made.latest()


def test_training_that_went_back_leaves_later_checkpoints_behind(tmp_path: Path) -> None:
    made = written(tmp_path, [0.9, 0.1, 0.5], keep=["all"])
    made.write(2, 3.0, 0.3, saver("from another trial"))
    made.settle()
    assert [(s.iteration, s.value) for s in made.all()] == [(1, 0.9), (2, 0.3)]
    TrialCheckpoints(made.folder, ["last", "best"]).prune()
    assert sorted(path.name for path in made.folder.iterdir()) == ["000002"]


def test_checkpoints_without_sums_are_taken_as_they_are(tmp_path: Path) -> None:
    made = written(tmp_path, [0.5])
    (made.folder / "000001" / "raytune.json").write_text('{"iteration": 1, "elapsed": 0.5, "value": 0.5}')
    saved, broken = made.latest_intact()
    assert saved is not None
    assert (saved.iteration, broken) == (1, [])
