"""How much of a GPU a trial is given, in arithmetic alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytune_suite import shares
from raytune_suite.errors import PlanError
from raytune_suite.nodes import Node
from raytune_suite.shares import CONTEXT, Kind, TooLargeError, equal_share, fitting_share, landing

GIB = 2**30
A100, H100 = Kind("A100", 40 * GIB, 2), Kind("H100", 80 * GIB, 4)


@given(need=st.integers(2**20, 200 * GIB), memory=st.integers(4 * GIB, 192 * GIB))
def test_equal_shares_fill_a_gpu_with_as_many_trials_as_its_memory_holds(need: int, memory: int) -> None:
    gpu = equal_share(need, memory)

    trials, room = shares.trials_on_one(gpu), max(1, min(10_000, memory // need))
    assert trials <= room
    assert trials == room or (room > 100 and trials > 0.5 * room)  # beyond a hundred Ray's steps are too coarse


@given(need=st.integers(2**20, 200 * GIB), memory=st.integers(4 * GIB, 192 * GIB))
def test_a_share_holds_what_it_is_for_within_rays_resolution(need: int, memory: int) -> None:
    gpu = fitting_share(need, memory)

    assert gpu * memory >= min(need, memory) - 2 * memory / 10_000
    assert any(math.isclose(gpu, math.floor(part * 10_000) / 10_000) for part in shares.PARTS)


@pytest.mark.parametrize("parts", [(0.75, 0.25), (2 / 3, 1 / 3), (0.5, 0.25, 0.25), (1 / 3, 1 / 6, 0.5), (1 / 3,) * 3])
def test_what_one_share_leaves_others_fill(parts: tuple[float, ...]) -> None:
    units = [round(fitting_share(int(part * 24 * GIB), 24 * GIB) * 10_000) for part in parts]

    assert 9_998 <= sum(units) <= 10_000


def test_a_trial_that_fits_every_gpu_is_measured_by_the_smallest_and_may_land_anywhere() -> None:
    assert landing(10 * GIB, [A100, H100]) == (A100, False)


def test_a_trial_that_is_too_large_for_some_gpus_is_kept_off_them() -> None:
    assert landing(50 * GIB, [A100, H100]) == (H100, True)


def test_among_kinds_that_do_the_one_that_holds_most_is_taken() -> None:
    small = Kind("T4", 16 * GIB, 8)

    assert landing(20 * GIB, [small, A100, H100]) == (H100, True)  # 16 at once, not 4


def test_a_trial_too_large_for_every_gpu_is_refused_naming_the_largest() -> None:
    with pytest.raises(TooLargeError, match=r"needs 100 GiB of GPU memory, and the largest GPU here has 80 GiB"):
        landing(100 * GIB, [A100, H100])


def test_memory_that_nobody_knows_is_asked_for() -> None:
    with pytest.raises(PlanError, match=r"2 x T4, memory unknown.*RAYTUNE_GPUS"):
        landing(GIB, [Kind("T4", None, 2)])


def test_larger_gpus_without_a_name_cannot_be_asked_for() -> None:
    with pytest.raises(PlanError, match="Ray has no name for the larger ones"):
        landing(50 * GIB, [A100, Kind(None, 80 * GIB, 1)])


def test_gpus_of_one_name_count_by_the_smallest_of_them() -> None:
    nodes = [Node(8, 2, accelerator_type="A100", gpu_memory=80 * GIB), Node(8, 7, 0, {}, "A100", 5 * GIB), Node(4)]

    assert shares.kinds(nodes) == [Kind("A100", 5 * GIB, 9)]


def test_a_share_less_its_context_is_what_torch_may_allocate() -> None:
    assert shares.allocatable(0.25, 24 * GIB) == 6 * GIB - CONTEXT
    assert shares.allocatable(0.01, 24 * GIB) == 0


@pytest.mark.parametrize(("size", "text"), [(6 * GIB, "6 GiB"), (1.5 * GIB, "1.5 GiB"), (CONTEXT, "768 MiB")])
def test_sizes_are_said_in_binary_units(size: float, text: str) -> None:
    assert shares.gib(size) == text
