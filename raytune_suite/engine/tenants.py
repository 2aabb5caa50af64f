"""What the driver knows of a tenant, which Tune takes for an actor of its own, and of a worker process."""

from __future__ import annotations

import enum
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from raytune_suite.engine.residence import Event, Order

TRAIN = ("train", "train_buffered")


class Stage(enum.Enum):
    """Where a tenant stands."""

    PENDING = "waits for a process"
    PARKED = "waits in a process, behind another tenant"
    LIVE = "has a process"
    LEAVING = "was removed in the middle of a step"
    GONE = "was removed"
    FAILED = "was lost with its process"


@dataclass
class Task:
    """One call that Tune waits for."""

    method: str
    args: tuple[Any, ...]
    on_result: Callable[[Tenant, Any], None] | None
    on_error: Callable[[Tenant, BaseException], None] | None


@dataclass(eq=False)
class Tenant:
    """One trainable, as Tune's controller sees it: an actor with callbacks."""

    actor_id: int
    request: Any
    kind: str
    arguments: Mapping[str, Any]
    on_start: Callable[[Tenant], None] | None
    on_stop: Callable[[Tenant], None] | None
    on_error: Callable[[Tenant, BaseException], None] | None
    stage: Stage = Stage.PENDING
    process: Process | None = None
    task: Task | None = None
    inbox: deque[Event] = field(default_factory=deque)
    heard: bool = False
    """Whether Tune has been told anything of it: until then it can be made again elsewhere, and nobody would know."""
    passed: int = 0
    """How many younger ones have got a process while it waited."""
    alone: bool = False
    """It was in a process that died with several: it shares no turn any more."""

    def __repr__(self) -> str:
        """Short: Tune writes it into every line it does not log."""
        return f"<tenant {self.actor_id}>"

    def set_on_start(self, on_start: Callable[[Tenant], None] | None) -> None:
        """As Tune calls it."""
        self.on_start = on_start

    def set_on_stop(self, on_stop: Callable[[Tenant], None] | None) -> None:
        """As Tune calls it."""
        self.on_stop = on_stop

    def set_on_error(self, on_error: Callable[[Tenant, BaseException], None] | None) -> None:
        """As Tune calls it."""
        self.on_error = on_error

    @property
    def home(self) -> Process:
        """The process that houses it. Raises RuntimeError if none does."""
        if self.process is None:
            raise RuntimeError(f"the actor {self.actor_id} has no process: it {self.stage.value}")
        return self.process

    @property
    def present(self) -> bool:
        """Whether a process houses it."""
        return self.stage in (Stage.LIVE, Stage.LEAVING)


@dataclass(eq=False)
class Process:
    """One worker process: ``tenants`` are the one that trains and, behind it, those parked."""

    request: Any
    handle: Any
    group: Any = None
    gpus: frozenset[tuple[Any, Any]] = frozenset()
    """The node and number of each GPU it has, once it has said so."""
    ready: bool = False
    busy: Any = None
    """The reference of the message it is at, if any."""
    orders: list[Order] = field(default_factory=list)
    train: Task | None = None
    tenants: list[Tenant] = field(default_factory=list)
    learnt: set[str] = field(default_factory=set)
    served: int = 0
    rss: int = 0
    spoiled: bool = False
    depth: int = 0
    """How many trials it is worth parking, judging by how many it got through in its last turn."""
    asked_at: float = field(default_factory=time.monotonic)


class Workers(Protocol):
    """Who starts, asks and ends processes. References are opaque; ``ready`` returns those with an answer."""

    def start(self, request: Any) -> Process:
        """Begin to start a process; its first answer is that of :meth:`hello`."""
        ...

    def hello(self, process: Process) -> Any:
        """Ask whether it is there."""
        ...

    def turn(self, process: Process, orders: list[Order], tenant: int, task: Task) -> Any:
        """Give orders, then let a tenant train."""
        ...

    def call(self, process: Process, orders: list[Order], tenant: int, task: Task, options: Mapping[str, Any]) -> Any:
        """Give orders, then call a method of a tenant."""
        ...

    def obey(self, process: Process, orders: list[Order]) -> Any:
        """Give orders."""
        ...

    def ready(self, references: list[Any], timeout: float | None) -> list[Any]:
        """Wait for the first answer and return all references that have one, in order of arrival where known."""
        ...

    def get(self, reference: Any) -> Any:
        """The answer; raises what was raised, or that the process died."""
        ...

    def capacity(self, request: Any) -> int:
        """How many such processes the cluster has room for."""
        ...

    def cramped(self, request: Any, held: Mapping[tuple[Any, Any], float]) -> bool:
        """Whether what is free does not suffice for another such process; ``held``: of each GPU that is in use."""
        ...

    def end(self, process: Process, *, at_once: bool = False) -> None:
        """End a process: after what it is at, or at once."""
        ...
