"""The drills that take seconds, smaller than by themselves; those with a cluster are run by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "drills"))

import damage

SMALL: tuple[Callable[[Path], list[str]], ...] = (
    lambda folder: damage.truncated(folder, every=301),
    lambda folder: damage.broken_inside(folder, every=97),
    *damage.DRILLS[2:],
)


@pytest.mark.parametrize("drill", SMALL)
def test_no_misfortune_costs_more_than_the_drill_says(drill: Callable[[Path], list[str]], tmp_path: Path) -> None:
    what, tries, outcome = drill(tmp_path)
    assert what
    assert int(tries) or "not tried" in outcome
    assert not any(word.isupper() and len(word) > 3 for word in outcome.replace("NaN", "").split()), outcome
