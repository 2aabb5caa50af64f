"""How many trials may be on their way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from raytune_suite.resources import Cluster, Node, Request
from raytune_suite.slots import AHEAD, PackedSlots

SMALL, LARGE = Request(1, 0.25), Request(1, 1)


def packed(asked: list[Request], most: int | None = None, typical: Request = SMALL) -> PackedSlots:
    study = SimpleNamespace(max_concurrent=most)
    made: Any = SimpleNamespace(request=typical, cluster=Cluster((Node(64, 2),)), study=study)
    return PackedSlots(made, lambda: list(asked))


def test_trials_are_made_while_there_is_room_for_a_small_one() -> None:
    assert packed([])() == AHEAD
    assert packed([SMALL] * 7)() == 7 + AHEAD
    assert packed([SMALL] * 8)() == 8


def test_a_large_trial_that_waits_lets_one_more_try() -> None:
    assert packed([SMALL] * 5 + [LARGE])() == 6 + AHEAD - 1
    assert packed([SMALL] * 5 + [LARGE] * 2)() == 7


def test_none_is_made_for_room_that_no_trial_could_use() -> None:
    slots = packed([Request(1, 0.75)] * 2, typical=Request(1, 0.5))

    assert slots() == 2


def test_what_is_small_is_learnt_from_the_trials_there_were() -> None:
    asked = [Request(1, 0.75)] * 2
    slots = packed(asked, typical=Request(1, 0.5))
    assert slots() == 2

    asked[1] = SMALL
    assert slots() == 2 + AHEAD


def test_max_concurrent_is_a_ceiling() -> None:
    assert packed([SMALL] * 3, most=3)() == 3
