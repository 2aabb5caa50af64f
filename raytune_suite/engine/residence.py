"""What runs in a worker process of the pool: it houses trainables, one trial after the other, and lets them train.

A message of the driver is a list of orders and, mostly, a call to train; the answer comes when a bucket of time is
over or a decision is needed. What else Tune asks of a trainable (``save``, ``restore``) is a call of its own. Ray runs
them in order and in the main thread, so a trainable is only ever stopped between two steps. Trials that wait here
(``park``) begin within the same turn, once the one before them is certain to be over.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

BUCKET_S = 0.05
"""A turn begins no further trial once it is this old."""

Order = tuple[Any, ...]
"""``("learn", kind, maker)``, ``("enter" | "park", tenant, kind, arguments)``, ``("leave", tenant)``, ``("forget",)``:
the last lets go of everything a study has left."""


@dataclass(frozen=True)
class Event:
    """What became of one call to train: ``value`` is the result, or the error if ``failed``.

    ``over``: whatever the driver decides, the trial will not train again, so the next one has begun.
    """

    tenant: int
    value: Any
    failed: bool = False
    over: bool = False


@dataclass(frozen=True)
class Reply:
    """The events of a turn, in order, and how the process does."""

    events: tuple[Event, ...] = ()
    rss: int = 0
    brisk: bool = False  # the last trial was over before the bucket was, and another could have begun
    spoiled: bool = False  # what a trial left behind may harm the next: the process should be replaced


@dataclass(frozen=True)
class Maker:
    """How a trainable is made where its class can be imported: the function ``name`` of ``module``, with ``fixed``.

    A class that Tune pickles by value would bring ``ray.tune`` into the process; naming it does not.
    """

    module: str
    name: str
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, **arguments: Any) -> Any:
        """Make it."""
        return getattr(importlib.import_module(self.module), self.name)(**self.fixed, **arguments)


class Here(NamedTuple):
    """Where a process is: its node's address and id, its own id, the GPUs that Ray gave it."""

    address: str
    pid: int
    node: str
    gpus: tuple[str, ...]


class Residence:
    """The trainables of one process. Those with a true ``reusable`` are reset for the next trial instead of remade."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        os.environ.update(variables or {})
        self._makers: dict[str, Any] = {}
        self._tenants: dict[int, Any] = {}
        self._kinds: dict[int, str] = {}
        self._free: dict[str, Any] = {}
        self._parked: deque[tuple[int, str, dict[str, Any]]] = deque()
        self._broken: dict[int, BaseException] = {}
        self._failed: set[int] = set()
        self._spoiled = False

    def hello(self, prepare: Maker | None = None) -> Here:
        """Be there; ``prepare`` does what may be done before any trial."""
        import ray

        if prepare is not None:
            prepare()
        context = ray.get_runtime_context()
        gpus = tuple(str(gpu) for gpu in context.get_accelerator_ids().get("GPU", ()))
        return Here(ray.util.get_node_ip_address(), os.getpid(), context.get_node_id(), gpus)

    def get_current_ip_pid(self) -> tuple[str, int]:
        """What Tune asks of an actor whose place it wants to know."""
        here = self.hello()
        return here.address, here.pid

    def get_auto_filled_metrics(self, *_: Any, **__: Any) -> dict[str, Any]:
        """What Tune asks of an actor that starts, for a trial that ends without a result."""
        here = self.hello()
        return {"node_ip": here.address, "pid": here.pid}

    # -- being asked ---------------------------------------------------------------------------------------------

    def turn(self, orders: Sequence[Order], tenant: int, method: str, args: Sequence[Any]) -> Reply:
        """Obey, then train ``tenant`` once, and after it those parked, as long as the bucket lasts."""
        self._obey(orders)
        until = time.monotonic() + BUCKET_S
        events: list[Event] = []
        following: int | None = tenant
        while following is not None:
            events.append(self._train(following, method, args))
            # A failure is told before anything else: the next trial might end the process, and be blamed on this one.
            going_on = events[-1].over and not events[-1].failed and time.monotonic() < until
            following = self._next() if going_on else None
        brisk = events[-1].over and not events[-1].failed and time.monotonic() < until
        return Reply(tuple(events), _rss(), brisk, self._spoiled)

    def call(
        self, orders: Sequence[Order], tenant: int, method: str, args: Sequence[Any], options: Mapping[str, Any]
    ) -> Any:
        """Obey, then call any other method of a tenant; its errors are raised."""
        self._obey(orders)
        if tenant in self._broken:
            raise self._broken[tenant]
        return getattr(self._tenants[tenant], method)(*args, **options)

    def obey(self, orders: Sequence[Order]) -> Reply:
        """Obey, and nothing else."""
        self._obey(orders)
        return Reply((), _rss(), spoiled=self._spoiled)

    def run(self, function: Any, *args: Any) -> Any:
        """Call a function here, between trials."""
        return function(*args)

    def close(self) -> None:
        """Let go of everything: the process is about to end, or a study is over."""
        for trainable in [*self._tenants.values(), *self._free.values()]:
            _stop(trainable)
        self._tenants, self._free = {}, {}

    # -- orders --------------------------------------------------------------------------------------------------

    def _obey(self, orders: Sequence[Order]) -> None:
        for what, *given in orders:
            if what == "learn":
                self._makers[given[0]] = given[1]
            elif what == "enter":
                self._enter(*given)
            elif what == "park":
                self._parked.append((given[0], given[1], given[2]))
            elif what == "leave":
                self._leave(given[0])
            else:
                self.close()
                self._makers.clear()

    def _enter(self, tenant: int, kind: str, arguments: dict[str, Any]) -> None:
        """Make the trainable or reset a free one; an error is told when the tenant is first asked for something."""
        try:
            made = self._free.pop(kind, None)
            if made is None or not made.reset(arguments["config"], storage=arguments.get("storage")):
                made = self._makers[kind](**arguments)
            self._tenants[tenant], self._kinds[tenant] = made, kind
        except (Exception, SystemExit) as error:
            self._broken[tenant] = error

    def _leave(self, tenant: int) -> None:
        self._broken.pop(tenant, None)
        failed = tenant in self._failed
        self._failed.discard(tenant)
        self._parked = deque(waiting for waiting in self._parked if waiting[0] != tenant)
        trainable, kind = self._tenants.pop(tenant, None), self._kinds.pop(tenant, "")
        if trainable is None:
            return
        if getattr(trainable, "reusable", False) and not failed:
            self._free[kind] = trainable
        else:
            _stop(trainable)

    def _next(self) -> int | None:
        """The parked trial that begins now, in place of the one that is over."""
        if not self._parked:
            return None
        tenant, kind, arguments = self._parked.popleft()
        for over in list(self._tenants):
            self._leave(over)
        self._enter(tenant, kind, arguments)
        return tenant

    def _train(self, tenant: int, method: str, args: Sequence[Any]) -> Event:
        if tenant in self._broken:
            return Event(tenant, _told(self._broken[tenant], method), failed=True, over=True)
        trainable = self._tenants[tenant]
        try:
            result = getattr(trainable, method)(*args)
        except (Exception, SystemExit) as error:
            self._failed.add(tenant)
            self._spoiled = self._spoiled or _spoils(error)
            return Event(tenant, _told(error, method), failed=True, over=True)
        last = result[-1] if isinstance(result, list) else result
        return Event(tenant, result, over=bool(getattr(trainable, "over", False) or last.get("done")))


def _stop(trainable: Any) -> None:
    try:
        trainable.stop()
    except Exception:
        traceback.print_exc()  # the trial is over and its results are told


def _told(error: BaseException, method: str) -> Any:
    """The error as Ray tells of one raised in an actor, whether it can be pickled or not."""
    from ray import cloudpickle
    from ray.exceptions import RayTaskError

    text = "".join(traceback.format_exception(error))
    try:
        cloudpickle.loads(cloudpickle.dumps(error))
        cause = error if isinstance(error, Exception) else RuntimeError(repr(error))
    except Exception:
        cause = RuntimeError(f"{type(error).__name__}: {error}")
    return RayTaskError(method, text, cause, proctitle="raytune worker", pid=os.getpid())


def _spoils(error: BaseException) -> bool:
    """Whether nothing should train in this process any more: memory may be gone, or a GPU in an unknown state."""
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_initialized()
    return on_gpu or isinstance(error, MemoryError) or getattr(error, "state", None) == "oom"


def _rss() -> int:
    """Resident memory of this process in bytes; 0 where it cannot be told."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
