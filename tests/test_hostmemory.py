from __future__ import annotations

from pathlib import Path

import pytest

from raytune_suite.hostmemory import Kills, kills


@pytest.mark.parametrize(
    "text",
    ["low 0\nhigh 3\nmax 7\noom 2\noom_kill 2\noom_group_kill 0\n", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"],
)
def test_kills_are_counted_as_either_version_of_cgroups_tells_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "events").write_text(text)
    assert kills((tmp_path / "missing", tmp_path / "events")) == 2


def test_what_is_told_nowhere_is_not_guessed(tmp_path: Path) -> None:
    assert kills((tmp_path / "missing",)) is None
    assert not Kills((tmp_path / "missing",)).rose()


def test_a_kill_is_noticed_once(tmp_path: Path) -> None:
    counts = tmp_path / "vmstat"
    counts.write_text("nr_free_pages 5\noom_kill 4\n")
    watch = Kills((counts,))
    assert not watch.rose()
    counts.write_text("nr_free_pages 5\noom_kill 5\n")
    assert [watch.rose(), watch.rose()] == [True, False]
