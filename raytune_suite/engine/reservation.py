"""Nobody waits for ever: room for a trial that many younger ones have gone past.

Ray gives free room to whoever fits, so a trial that needs a whole GPU could wait as long as small ones keep coming.
Going past is right as long as it is not for ever: it is what fills the gaps. After :data:`PASSES` the trial that has
waited longest has a GPU emptied for it: workers there take no new trial, and no worker for others is started meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from raytune_suite.engine.tenants import Process, Tenant

PASSES = 8
"""So many younger trials may begin before one that waits."""
ALL = 32
"""After so many, not one GPU but everything is emptied: it may be a CPU that it waits for."""

Place = tuple[Any, Any]
"""A GPU: its node and its number there."""


class Reservation:
    """For whom room is kept, and where; ``gpus`` None is everywhere."""

    def __init__(self) -> None:
        self.holder: Tenant | None = None
        self.gpus: frozenset[Place] | None = None

    def began(self, tenant: Tenant, pending: Iterable[Tenant]) -> None:
        """A tenant has got its process: those that have waited longer note that it went past them."""
        if tenant is self.holder:
            self.holder = None
        for other in pending:
            if other.actor_id < tenant.actor_id:
                other.passed += 1

    def look(self, pending: Iterable[Tenant], processes: Iterable[Process]) -> bool:
        """Keep room for who has waited too long, if anybody has; whether that is new."""
        waiting = list(pending)
        if self.holder is not None and self.holder not in waiting:
            self.holder = None
        if self.holder is not None:
            if self.gpus is not None and self.holder.passed >= ALL:
                self.gpus = None
            return False
        late = [tenant for tenant in waiting if tenant.passed >= PASSES]
        if not late:
            return False
        self.holder = min(late, key=lambda tenant: tenant.actor_id)
        self.gpus = emptiest(amount_of(self.holder.request), processes)
        return True

    def forbids(self, process: Process) -> bool:
        """Whether the process must take no other tenant, so that its room becomes free."""
        if self.holder is None or process.request == self.holder.request:
            return False
        return self.gpus is None or bool(self.gpus & process.gpus)

    def allows_start(self, request: Any) -> bool:
        """Whether a process may be started for this request: nobody is to take the room that is being made."""
        return self.holder is None or request == self.holder.request


def amount_of(request: Any) -> float:
    """The GPUs that a request asks for."""
    return float(request.required_resources.get("GPU", 0.0))


def held(processes: Iterable[Process], busy: bool = False) -> dict[Place, float]:
    """What the processes hold of each GPU on which there is one; ``busy``: only those that house somebody count."""
    found: dict[Place, float] = defaultdict(float)
    for process in processes:
        for place in process.gpus:
            found[place] += min(1.0, amount_of(process.request)) if process.tenants or not busy else 0.0
    return dict(found)


def emptiest(amount: float, processes: Iterable[Process]) -> frozenset[Place] | None:
    """As many GPUs of one node as are asked for, those with least to wait for; None if none are known."""
    if not amount:
        return None
    by_node: dict[Any, list[tuple[float, Place]]] = defaultdict(list)
    for place, part in held(processes, busy=True).items():
        by_node[place[0]].append((part, place))
    count = max(1, round(amount))
    choices = [sorted(gpus, key=lambda one: (one[0], str(one[1])))[:count] for gpus in by_node.values()]
    full = [choice for choice in choices if len(choice) == count]
    if not full:
        return None
    return frozenset(place for _, place in min(full, key=lambda choice: sum(part for part, _ in choice)))
