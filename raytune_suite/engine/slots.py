"""The worker processes of a pool: which is free for whom, when one is started, replaced or given up."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raytune_suite.engine.reservation import Reservation, held
from raytune_suite.engine.tenants import Process, Stage, Task, Tenant, Workers

MOST_PARKED = 8
_PATIENCE_S = 0.5
"""A process that has not started for so long may be waiting for resources that free processes hold."""


@dataclass(frozen=True)
class Limits:
    """When a process is replaced: after ``trials``, or above ``memory`` bytes; None for never. ``park``: may trials
    be handed out before those before them are known to be over."""

    trials: float | None = None
    memory: float | None = None
    park: bool = False


class Slots:
    """Processes, the tenants that wait for one (``pending``, by request) and the messages under way (``asked``)."""

    def __init__(
        self,
        workers: Workers,
        limits: Limits,
        processes: list[Process] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.workers, self.limits, self.clock = workers, limits, clock
        self.reservation = Reservation()
        self.processes: list[Process] = processes if processes is not None else []
        self.pending: dict[Any, deque[Tenant]] = defaultdict(deque)
        self.makers: dict[str, Any] = {}
        self.asked: dict[Any, tuple[Process, Tenant | None, Task | None]] = {}
        self.before: Callable[[], None] = lambda: None
        """Called before a process is asked for anything, and before waiting."""

    @property
    def appetite(self) -> int:
        """How many trials, beyond one a process, could be handed out now and would begin soon."""
        alike = len({process.request for process in self.processes}) == 1
        return sum(process.depth for process in self.processes) if self.limits.park and alike else 0

    def kind_of(self, cls: Any, kwargs: dict[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """Under which name a process knows the class, and what it is made with."""
        wrapped = getattr(cls, "__ray_metadata__", None)
        plain = wrapped.modified_class if wrapped is not None else cls
        kind, maker, arguments = f"{plain.__module__}.{plain.__qualname__}#{id(plain)}", plain, kwargs
        if (named := getattr(plain, "pooled", None)) is not None:
            maker, arguments = named(kwargs)
        self.makers.setdefault(kind, maker)
        return kind, arguments

    def free(self, request: Any) -> Process | None:
        """A process that houses nobody and has the resources; one that is worn out is replaced instead."""
        for process in list(self.processes):
            if process.ready and not process.tenants and process.request == request:
                if self.reservation.forbids(process):
                    continue
                if not self._worn(process):
                    process.request = request  # it may have been begun before the request had its form
                    return process
                self.retire(process)
        return None

    def _worn(self, process: Process) -> bool:
        most, memory = self.limits.trials, self.limits.memory
        old = most is not None and process.served >= most
        return process.spoiled or old or (memory is not None and process.rss > memory)

    def retire(self, process: Process) -> None:
        """End a free process in order."""
        self.drop(process)
        self.workers.end(process)

    def start(self, request: Any, wanted: int) -> None:
        """Start processes for tenants that none is starting for, where there is room; free ones of others make it."""
        if not self.reservation.allows_start(request):
            return
        mine = [process for process in self.processes if process.request == request]
        starting = sum(not process.ready for process in mine)
        for _ in range(min(wanted - starting, self.workers.capacity(request) - len(mine))):
            self.begin(request)
        late = self.clock() - _PATIENCE_S
        if any(not p.ready and p.request == request and p.asked_at < late for p in self.processes):
            self._make_room(request)

    def begin(self, request: Any) -> None:
        """Start a process."""
        process = self.workers.start(request)
        self.processes.append(process)
        self.greet(process)

    def greet(self, process: Process) -> None:
        """Ask a process whether it is there; until it answers, nobody moves in."""
        process.ready, process.asked_at = False, self.clock()
        process.busy = self.workers.hello(process)
        self.asked[process.busy] = (process, None, None)

    def _make_room(self, request: Any) -> None:
        """End free processes of other requests, one at a time, if they are in the way."""
        for other in self.processes:
            free = other.ready and not other.tenants and other.request != request
            if free and not self.pending.get(other.request) and self.workers.cramped(request, held(self.processes)):
                self.retire(other)
                return

    def keep_room(self) -> None:
        """See to it that nobody waits for ever: end what stands on the room that is kept for somebody."""
        if not any(self.pending.values()):
            self.reservation.holder = None
            return
        if self.reservation.look(itertools.chain(*self.pending.values()), self.processes):
            for other in [process for process in self.processes if not process.ready]:
                if not self.reservation.allows_start(other.request):  # it may be next in Ray's queue
                    self.drop(other)
                    self.workers.end(other, at_once=True)
        for other in [process for process in self.processes if process.ready and not process.tenants]:
            if self.reservation.forbids(other):
                self.retire(other)

    def enter(self, process: Process, tenant: Tenant, how: str) -> None:
        """Put a tenant into a process: to ``enter`` it now, or to ``park`` behind the one that trains."""
        if tenant.kind not in process.learnt:
            process.learnt.add(tenant.kind)
            process.orders.append(("learn", tenant.kind, self.makers[tenant.kind]))
        process.orders.append((how, tenant.actor_id, tenant.kind, dict(tenant.arguments)))
        process.tenants.append(tenant)
        tenant.process = process
        tenant.stage = Stage.PARKED

    def take_back(self, tenant: Tenant) -> None:
        """Take a parked tenant out of its process."""
        process = tenant.home
        process.orders.append(("leave", tenant.actor_id))
        process.tenants.remove(tenant)

    def drop(self, process: Process) -> None:
        """Ask the process nothing more and expect nothing of it."""
        if process in self.processes:
            self.processes.remove(process)
        for reference in [ref for ref, (of, *_) in self.asked.items() if of is process]:
            del self.asked[reference]
        process.tenants, process.busy, process.train = [], None, None

    def park(self, process: Process, behind: Tenant) -> None:
        """Let pending tenants wait in the process, as many as its last turn got through.

        Only behind a tenant of which nothing has been told: should the process die, it can begin again like the others.
        """
        queue = self.pending.get(process.request)
        if not self.limits.park or behind.heard or behind.alone:
            return
        while queue and not queue[0].alone and len(process.tenants) <= process.depth:
            self.enter(process, queue.popleft(), "park")

    def queue_again(self, tenants: Sequence[Tenant], alone: bool = False) -> None:
        """Let tenants wait for a process once more, first of all and in this order; ``alone``: with none behind it."""
        for tenant in reversed(tenants):
            tenant.stage, tenant.process, tenant.alone = Stage.PENDING, None, tenant.alone or alone
            self.pending[tenant.request].appendleft(tenant)

    def orders(self, process: Process) -> list[Any]:
        """Take what has been ordered and not been sent."""
        orders, process.orders = process.orders, []
        return orders
