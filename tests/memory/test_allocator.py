"""The caching allocator in arithmetic: rounding, segments, reuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytune_suite.memory.allocator import KIB, MIB, CachingAllocator, rounded, segment_for


def after(*sizes: int) -> CachingAllocator:
    allocator = CachingAllocator()
    for key, size in enumerate(sizes):
        allocator.allocate(key, size)
    return allocator


@pytest.mark.parametrize(("size", "block"), [(1, 512), (512, 512), (513, 1024), (100_000, 100_352)])
def test_sizes_are_rounded_to_512_bytes(size: int, block: int) -> None:
    assert rounded(size) == block


@pytest.mark.parametrize(
    ("size", "segment"),
    [(1, 2), (MIB, 2), (MIB + 1, 20), (10 * MIB - 512, 20), (10 * MIB, 10), (10 * MIB + 1, 12), (33 * MIB, 34)],
)
def test_small_blocks_share_segments_of_2_mib_larger_ones_of_20_and_the_largest_have_their_own(
    size: int, segment: int
) -> None:
    assert segment_for(size) == segment * MIB


def test_a_segment_is_filled_before_another_is_asked_for() -> None:
    assert after(*[MIB] * 2).reserved == 2 * MIB
    assert after(*[MIB] * 3).reserved == 4 * MIB
    assert after(*[4 * MIB] * 5).reserved == 20 * MIB
    assert after(*[6 * MIB] * 4).reserved == 40 * MIB  # three fit; what is left over of 20 is too small


def test_small_and_large_blocks_do_not_mix() -> None:
    assert after(2 * MIB, 1).reserved == 22 * MIB


def test_freed_blocks_are_used_again_and_segments_stay() -> None:
    allocator = after(30 * MIB)
    allocator.release(0)
    allocator.allocate(1, 30 * MIB)

    assert (allocator.reserved, allocator.allocated) == (30 * MIB, 30 * MIB)
    allocator.release(1)
    assert (allocator.reserved, allocator.allocated, allocator.peak_allocated) == (30 * MIB, 0, 30 * MIB)


def test_free_neighbours_become_one_block() -> None:
    allocator = after(*[512 * KIB] * 4)
    for key in (1, 2):
        allocator.release(key)
    allocator.allocate(9, MIB)

    assert allocator.reserved == 2 * MIB


def test_holes_that_are_too_small_make_it_reserve_more_than_is_allocated() -> None:
    allocator = after(*[512 * KIB] * 4)
    for key in (0, 2):
        allocator.release(key)
    allocator.allocate(9, MIB)

    assert allocator.allocated == 2 * MIB
    assert allocator.reserved == 4 * MIB


def test_the_smallest_hole_that_fits_is_taken() -> None:
    allocator = after(30 * MIB, 20 * MIB)
    allocator.release(0)
    allocator.release(1)
    allocator.allocate(2, 19 * MIB)
    allocator.allocate(3, 30 * MIB)

    assert allocator.reserved == 50 * MIB


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 64 * MIB)), max_size=60))
def test_it_never_reserves_less_than_it_allocates_and_everything_comes_back(steps: list[tuple[int, int]]) -> None:
    allocator, held = CachingAllocator(), dict[int, int]()
    for key, size in steps:
        if key in held:
            allocator.release(key)
            del held[key]
        else:
            allocator.allocate(key, size)
            held[key] = size
        assert sum(map(rounded, filter(None, held.values()))) <= allocator.allocated <= allocator.reserved
    for key in held:
        allocator.release(key)

    assert allocator.allocated == 0
    free = [size for pool in allocator._free.values() for size, _ in pool]
    assert sum(free) == allocator.reserved
    assert len(free) == len([s for s in free if s >= 2 * MIB]), "free neighbours were not joined"
