"""PyTorch's CUDA caching allocator in arithmetic: what a sequence of allocations makes it reserve.

The constants and rules are those of ``c10/cuda/CUDACachingAllocator.cpp`` with its default settings: sizes are rounded
to 512 B; up to 1 MiB comes from segments of 2 MiB, up to 10 MiB from segments of 20 MiB, anything larger from a
segment of its own, rounded to 2 MiB. Free blocks are reused best fit first, split, and joined with free neighbours;
segments are kept. Not in it: the one time the real allocator gives segments back, when the device is full.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field

KIB, MIB = 2**10, 2**20
ROUNDING = 512
SMALL = MIB
SMALL_SEGMENT = 2 * MIB
LARGE_SEGMENT = 20 * MIB
OWN_SEGMENT = 10 * MIB
_SEGMENT_ROUNDING = 2 * MIB


@dataclass(eq=False)
class Block:
    """A stretch of a segment, between its neighbours."""

    size: int
    number: int
    small: bool
    free: bool = False
    before: Block | None = None
    after: Block | None = None

    def rank(self) -> tuple[int, int]:
        """The order of free blocks: by size, then by age."""
        return self.size, self.number


@dataclass
class CachingAllocator:
    """Bytes allocated and reserved, now and at most; blocks are named by the caller's keys."""

    allocated: int = 0
    reserved: int = 0
    peak_allocated: int = 0
    peak_reserved: int = 0
    _blocks: dict[int, Block] = field(default_factory=dict)
    _free: dict[bool, list[tuple[int, int]]] = field(default_factory=lambda: {True: [], False: []})
    _numbered: dict[int, Block] = field(default_factory=dict)
    _count: int = 0

    def allocate(self, key: int, size: int) -> None:
        """Give ``key`` a block of at least ``size`` bytes; nothing is given for none."""
        if size <= 0:
            return
        size = rounded(size)
        block = self._best(size) or self._segment(size)
        self._split(block, size)
        self._blocks[key] = block
        self.allocated += block.size
        self.peak_allocated = max(self.peak_allocated, self.allocated)

    def release(self, key: int) -> None:
        """Take the block of ``key`` back and join it with its free neighbours."""
        block = self._blocks.pop(key, None)
        if block is None:
            return
        self.allocated -= block.size
        for other in (block.before, block.after):
            if other is not None and other.free:
                self._join(block, other)
        self._put(block)

    def _best(self, size: int) -> Block | None:
        free = self._free[size <= SMALL]
        at = bisect_left(free, (size, -1))
        if at == len(free):
            return None
        return self._take(self._numbered[free[at][1]])

    def _segment(self, size: int) -> Block:
        whole = segment_for(size)
        self.reserved += whole
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        return self._new(whole, size <= SMALL)

    def _split(self, block: Block, size: int) -> None:
        rest = block.size - size
        if rest < ROUNDING or (not block.small and rest <= SMALL):
            return
        other = self._new(rest, block.small)
        block.size = size
        other.before, other.after, block.after = block, block.after, other
        if other.after is not None:
            other.after.before = other
        self._put(other)

    def _join(self, block: Block, other: Block) -> None:
        self._take(other)
        block.size += other.size
        if other is block.before:
            block.before = other.before
            if block.before is not None:
                block.before.after = block
        else:
            block.after = other.after
            if block.after is not None:
                block.after.before = block
        del self._numbered[other.number]

    def _new(self, size: int, small: bool) -> Block:
        self._count += 1
        block = self._numbered[self._count] = Block(size, self._count, small)
        return block

    def _put(self, block: Block) -> None:
        block.free = True
        insort(self._free[block.small], block.rank())

    def _take(self, block: Block) -> Block:
        block.free = False
        free = self._free[block.small]
        del free[bisect_left(free, block.rank())]
        return block


def rounded(size: int) -> int:
    """The bytes of the block that a request gets."""
    return max(ROUNDING, -(-size // ROUNDING) * ROUNDING)


def segment_for(size: int) -> int:
    """The bytes that are asked of the driver for a block that no free one can hold."""
    if size <= SMALL:
        return SMALL_SEGMENT
    if size < OWN_SEGMENT:
        return LARGE_SEGMENT
    return -(-size // _SEGMENT_ROUNDING) * _SEGMENT_ROUNDING
