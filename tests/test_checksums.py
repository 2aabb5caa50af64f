"""Whatever happens to a file of a checkpoint is noticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from raytune_suite.checksums import damage, sums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "model.pt").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "deep" / "state.json").write_text("{}")
    return tmp_path


def test_what_is_as_it_was_written_has_no_damage(folder: Path) -> None:
    known = sums(folder)
    assert sorted(known) == ["deep/state.json", "model.pt"]
    assert damage(folder, known) is None


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "model.pt has 10239 bytes, 10240 were written"),
        (lambda file: file.write_bytes(b"\1" + file.read_bytes()[1:]), "the content of model.pt is not what was"),
        (lambda file: file.unlink(), "model.pt is gone"),
        (lambda file: (file.unlink(), file.mkdir()), "model.pt"),
    ],
)
def test_damage_names_the_file_and_what_is_wrong(folder: Path, harm: Callable[[Path], object], said: str) -> None:
    known = sums(folder)
    harm(folder / "model.pt")
    assert said in (damage(folder, known) or "")


def test_files_that_came_later_do_no_harm(folder: Path) -> None:
    known = sums(folder)
    (folder / "raytune.json").write_text("{}")
    assert damage(folder, known) is None
