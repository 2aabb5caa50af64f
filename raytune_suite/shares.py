"""The part of a GPU that a trial is given: from bytes to a fraction that Ray can count and that packs.

Ray counts GPUs in ten-thousandths and knows nothing of memory. A trial that needs some memory is therefore given the
part of the smallest GPU it may land on that holds it, rounded up so that parts add up to whole GPUs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from raytune_suite.errors import PlanError

if TYPE_CHECKING:
    from raytune_suite.nodes import Node

STEP = 10_000
"""Ray's resolution: a request is a whole number of ten-thousandths."""

CONTEXT = 768 * 2**20
"""Bytes that a process with a CUDA context takes of a GPU before torch allocates anything: kernels, libraries, the
driver's own. Measured on an H200 (torch 2.11, CUDA 13): 742 MiB, with cuDNN 758 MiB. Not measured on other GPUs."""

PARTS = tuple(sorted([*(Fraction(1, n) for n in (24, 16, 12, 8, 6, 4, 3, 2, 1)), Fraction(2, 3), Fraction(3, 4)]))
"""The shares of trials that differ in size: few, so that a worker of one share soon gets another trial of that share,
and such that what one leaves another fills."""


@dataclass(frozen=True)
class Kind:
    """GPUs that Ray cannot tell apart: its name for them, the bytes of the smallest, how many there are."""

    accelerator_type: str | None
    memory: int | None
    count: float

    def describe(self) -> str:
        """As in ``4 x A100 of 40 GiB``."""
        name = self.accelerator_type or "GPU"
        return f"{self.count:g} x {name}" + (f" of {gib(self.memory)}" if self.memory else ", memory unknown")


class TooLargeError(PlanError):
    """A trial needs more memory than any GPU has."""


def gib(size: float) -> str:
    """Bytes in words: ``6 GiB``, ``512 MiB``."""
    if size >= 2**30 * 0.995:
        return f"{size / 2**30:.3g} GiB"
    return f"{size / 2**20:.3g} MiB" if size >= 2**20 * 0.995 else f"{size / 1024:.3g} KiB"


def kinds(nodes: Iterable[Node]) -> list[Kind]:
    """The GPUs of these nodes by Ray's name for them, smallest first; those of unknown memory last."""
    found: dict[str | None, list[Node]] = {}
    for node in nodes:
        if node.gpu:
            found.setdefault(node.accelerator_type, []).append(node)
    made = [
        Kind(name, _smallest([node.gpu_memory for node in alike]), sum(node.gpu for node in alike))
        for name, alike in found.items()
    ]
    return sorted(made, key=lambda kind: kind.memory or math.inf)


def landing(need: int, among: list[Kind]) -> tuple[Kind, bool]:
    """The kind of GPU whose share a trial of ``need`` bytes asks for, and whether it must be told to Ray by name.

    Where the trial fits every kind it may land anywhere, and the smallest counts. Where it does not, it goes to the
    kind that holds most of its like at once.

    Raises:
        TooLargeError: no GPU has that much memory.
        PlanError: how much memory the GPUs have is not known.
    """
    if not among or any(kind.memory is None for kind in among):
        raise PlanError(_unknown(need, among))
    roomy = [kind for kind in among if _times(kind, need)]
    if not roomy:
        largest = among[-1]
        raise TooLargeError(
            f"a trial needs {gib(need)} of GPU memory, and the largest GPU here has {gib(_of(largest))}"
        )
    if len(roomy) == len(among):
        return among[0], False
    best = max(roomy, key=lambda kind: kind.count * _times(kind, need))
    if best.accelerator_type is None:
        raise PlanError(
            f"a trial needs {gib(need)} of GPU memory and must not land on the smaller GPUs, but Ray has no name for "
            f"the larger ones. Start their nodes with --resources '{{\"accelerator_type:NAME\": 1}}'"
        )
    return best, True


def share(trials_per_gpu: int) -> float:
    """The largest share of a GPU of which ``trials_per_gpu`` fit, rounded down to what Ray can count."""
    return math.floor(STEP / trials_per_gpu) / STEP if trials_per_gpu > 1 else 1.0


def equal_share(need: int, memory: int) -> float:
    """The share of trials that all need the same: what is left of a GPU is divided among as many as fit."""
    most = max(1, _fitting(memory, need))
    units = STEP // most
    return (units if STEP // max(units, 1) == most else min(units + 1, STEP)) / STEP


def fitting_share(need: int, memory: int) -> float:
    """The smallest of :data:`PARTS` that holds ``need`` bytes of a GPU, within Ray's resolution."""
    wanted = need / memory
    part = next((part for part in PARTS if float(part) + 1 / STEP >= wanted), Fraction(1))
    return math.floor(part * STEP) / STEP


def trials_on_one(gpu: float) -> int:
    """How many shares of this size one GPU holds."""
    return STEP // max(1, round(gpu * STEP))


def allocatable(gpu: float, memory: int) -> int:
    """Bytes that torch may allocate within a share of a GPU: the share less the CUDA context of its process."""
    return max(0, int(min(gpu, 1.0) * memory) - CONTEXT)


def _smallest(memories: list[int | None]) -> int | None:
    known = [memory for memory in memories if memory is not None]
    return min(known) if len(known) == len(memories) else None


def _of(kind: Kind) -> int:
    return kind.memory or 0


def _times(kind: Kind, need: int) -> int:
    return _fitting(_of(kind), need)


def _fitting(memory: int, need: int) -> int:
    return math.floor(memory / max(1, need) + 1e-9)


def _unknown(need: int, among: list[Kind]) -> str:
    declare = "or say what there is: RAYTUNE_GPUS='4x24GiB'"
    if not among:
        return f"a trial needs {gib(need)} of GPU memory, and no such GPU is here. Set resources: {{gpu: 0}}, {declare}"
    where = ", ".join(kind.describe() for kind in among if kind.memory is None)
    return f"a share by memory needs GPUs whose memory is known; here is {where}. Use trials_per_gpu, {declare}"
