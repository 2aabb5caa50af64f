"""How many trials may be on their way at once, while a study runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from raytune_suite.packing import pack, takes_another
from raytune_suite.plan import Plan
from raytune_suite.resources import Cluster, Request, slots

LOOK_AGAIN_S = 10.0
AHEAD = 2
"""So many trials may wait for room: one that is large, and one that may be small enough to go past it."""
_REMEMBERED = 20


class Slots:
    """Of trials that all ask for the same; follows the cluster, if the cluster can grow."""

    def __init__(self, made: Plan, population: int | None) -> None:
        self._made, self._population = made, population or 0
        self._slots = max(made.slots, self._population)
        self._until = time.monotonic() + LOOK_AGAIN_S

    def __call__(self) -> int:
        """How many there are now."""
        if self._made.cluster.autoscaling and time.monotonic() > self._until:
            self._until = time.monotonic() + LOOK_AGAIN_S
            now = slots(self._made.request, Cluster.of_ray(), self._made.study.max_concurrent)
            self._slots = max(now, self._population)
        return self._slots


class PackedSlots:
    """Of trials that ask for different shares: as many as there are, and more while another could find room.

    ``asked`` says what the trials on their way ask for. A trial is made only when the GPUs have room for one as small
    as those seen lately, and while no more than :data:`AHEAD` wait: each made earlier would know less.
    """

    def __init__(self, made: Plan, asked: Callable[[], Sequence[Request]]) -> None:
        self._made, self._asked = made, asked
        self._cluster, self._until = made.cluster, time.monotonic() + LOOK_AGAIN_S
        self._latest: deque[Request] = deque([made.request], maxlen=_REMEMBERED)
        self._known: tuple[Sequence[Request], int] | None = None

    def __call__(self) -> int:
        """How many there may be now."""
        if self._made.cluster.autoscaling and time.monotonic() > self._until:
            self._until = time.monotonic() + LOOK_AGAIN_S
            self._cluster, self._known = Cluster.of_ray(gpu_memory=True), None
        asked = self._asked()
        if self._known is None or self._known[0] != asked:
            self._known = asked, self._count(asked)
        ceiling = self._made.study.max_concurrent
        return self._known[1] if ceiling is None else min(self._known[1], ceiling)

    def _count(self, asked: Sequence[Request]) -> int:
        if asked and asked[-1] != self._latest[-1]:
            self._latest.append(asked[-1])
        rooms, waiting = pack(asked, (*self._cluster.nodes, *self._cluster.growth))
        small = min(self._latest, key=lambda wanted: wanted.gpu)
        if not takes_another(rooms, replace(small, accelerator_type=None)):
            return len(asked)
        return len(asked) + max(0, AHEAD - len(waiting))
