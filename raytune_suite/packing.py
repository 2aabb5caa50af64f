"""Where Ray would place trials of different sizes: node by node, GPU by GPU, so as to know whether another one fits.

Ray itself does the placing; this model of it says when to make another trial, and what a space of sizes would pack to.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import mean

from raytune_suite.nodes import Node
from raytune_suite.resources import Request
from raytune_suite.shares import STEP

_BEGINNINGS = 20


@dataclass
class Room:
    """What is free on one node, in ten-thousandths: of CPUs, of each GPU, of everything else by name."""

    cpu: int
    gpus: list[int]
    others: dict[str, int] = field(default_factory=dict)
    accelerator_type: str | None = None

    @classmethod
    def of(cls, node: Node) -> Room:
        """All of a node."""
        others = {**node.custom, "memory": float(node.memory)}
        units = {kind: round(amount * STEP) for kind, amount in others.items()}
        return cls(round(node.cpu * STEP), [STEP] * math.floor(node.gpu), units, node.accelerator_type)

    def place(self, wanted: Request) -> tuple[int, ...] | None:
        """Take a request's room, and say on which GPUs (none for one without); None if there is not enough.

        A share goes to the GPU with the least room that holds it, as Ray does it.
        """
        if wanted.accelerator_type not in (None, self.accelerator_type):
            return None
        cpu, others = round(wanted.cpu * STEP), {kind: round(n * STEP) for kind, n in wanted.custom.items()}
        if cpu > self.cpu or any(self.others.get(kind, 0) < amount for kind, amount in others.items()):
            return None
        chosen = self._gpus(wanted.gpu)
        if chosen is None:
            return None
        self.cpu -= cpu
        for kind, amount in others.items():
            self.others[kind] -= amount
        for gpu in chosen:
            self.gpus[gpu] -= min(STEP, round(wanted.gpu * STEP))
        return chosen

    def _gpus(self, amount: float) -> tuple[int, ...] | None:
        if amount <= 0:
            return ()
        if amount >= 1:
            free = [gpu for gpu, left in enumerate(self.gpus) if left == STEP]
            return tuple(free[: round(amount)]) if len(free) >= round(amount) else None
        units = round(amount * STEP)
        fitting = [(left, gpu) for gpu, left in enumerate(self.gpus) if left >= units]
        return (min(fitting)[1],) if fitting else None


def pack(requests: Iterable[Request], nodes: Iterable[Node]) -> tuple[list[Room], list[Request]]:
    """Place requests in their order, each on the first node that takes it; the rest of the room, and who found none."""
    rooms = [Room.of(node) for node in nodes]
    return rooms, [wanted for wanted in requests if not any(room.place(wanted) is not None for room in rooms)]


def takes_another(rooms: Iterable[Room], least: Request) -> bool:
    """Whether a request as small as ``least`` still finds a place; the rooms stay as they are."""
    return any(Room(r.cpu, [*r.gpus], dict(r.others), r.accelerator_type).place(least) is not None for r in rooms)


def trials_at_once(sample: Sequence[Request], nodes: Iterable[Node], ahead: int = 2) -> float:
    """How many trials run at once on average where they come as in the sample, over and over, until ``ahead`` wait."""
    machines = tuple(nodes)
    begins = range(0, len(sample), max(1, len(sample) // _BEGINNINGS))
    return mean(_placed(itertools.cycle([*sample[at:], *sample[:at]]), machines, ahead) for at in begins)


def _placed(queue: Iterator[Request], nodes: tuple[Node, ...], ahead: int) -> int:
    rooms, placed, waiting = [Room.of(node) for node in nodes], 0, 0
    while waiting < ahead:
        wanted = next(queue)
        found = any(room.place(wanted) is not None for room in rooms)
        placed, waiting = placed + found, waiting + (not found)
    return placed
