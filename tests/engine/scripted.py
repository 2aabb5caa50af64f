"""Worker processes without Ray: each is a residence in this process, which answers when the test lets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ray.exceptions import ActorDiedError

from raytune_suite.engine.pool import Pool
from raytune_suite.engine.residence import Order, Residence
from raytune_suite.engine.slots import Limits
from raytune_suite.engine.tenants import Process, Task, Tenant


class Request:
    """As much of a resource request as the pool looks at."""

    def __init__(self, **needs: float) -> None:
        self.required_resources = needs


class Scripted:
    """``most`` processes; each message is carried out when its answer is waited for, in the order sent."""

    def __init__(self, most: int = 1) -> None:
        self.most = most
        self.started: list[Process] = []
        self.ended: list[tuple[Process, bool]] = []
        self.messages: list[str] = []
        self.deaf: set[int] = set()
        self._count = 0
        self._work: dict[int, tuple[Process, str, tuple[Any, ...]]] = {}

    def _send(self, process: Process, method: str, *args: Any) -> int:
        self._count += 1
        self._work[self._count] = (process, method, args)
        self.messages.append(method)
        return self._count

    def start(self, request: Any) -> Process:
        self.started.append(Process(request, Residence()))
        return self.started[-1]

    def hello(self, process: Process) -> Any:
        return self._send(process, "run", lambda: "here")

    def turn(self, process: Process, orders: list[Order], tenant: int, task: Task) -> Any:
        return self._send(process, "turn", orders, tenant, task.method, task.args)

    def call(self, process: Process, orders: list[Order], tenant: int, task: Task, options: Mapping[str, Any]) -> Any:
        return self._send(process, "call", orders, tenant, task.method, task.args, options)

    def obey(self, process: Process, orders: list[Order]) -> Any:
        return self._send(process, "obey", orders)

    def ready(self, references: list[Any], timeout: float | None) -> list[Any]:
        """The oldest message of a process that answers."""
        return [ref for ref in sorted(references) if id(self._work[ref][0]) not in self.deaf][:1]

    def get(self, reference: Any) -> Any:
        process, method, args = self._work.pop(reference)
        if process.handle is None:
            raise ActorDiedError
        try:
            return getattr(process.handle, method)(*args)
        except Died:
            self.kill(process)
            raise ActorDiedError from None

    def capacity(self, request: Any) -> int:
        return self.most

    def cramped(self, request: Any, held: Mapping[Any, float]) -> bool:
        return True

    def end(self, process: Process, *, at_once: bool = False) -> None:
        self.ended.append((process, at_once))

    def kill(self, process: Process) -> None:
        """From now on every message to it fails as Ray's do."""
        process.handle = None


class Died(BaseException):
    """What a process dies of."""


class Counter:
    """A trainable that counts, says when it is over, and remembers in ``log`` what became of it."""

    log: ClassVar[list[str]] = []
    reusable = True

    def __init__(self, config: dict[str, Any], storage: Any = None) -> None:
        self.reset(config)
        self.log.append(f"made {self.name}")

    def reset(self, config: dict[str, Any], storage: Any = None) -> bool:
        if config.get("setup") == "fails":
            raise ValueError("no such data set")
        self.config, self.steps = config, 0
        self.name = config["name"]
        return True

    @property
    def over(self) -> bool:
        return bool(self.steps >= self.config.get("steps", 1))

    def train(self) -> dict[str, Any]:
        self.steps += 1
        if self.config.get("fails") == self.steps:
            raise ZeroDivisionError("by zero")
        if self.config.get("kills") == self.steps:
            raise Died
        return {"steps": self.steps, "name": self.name}

    def save(self) -> int:
        return self.steps

    def stop(self) -> None:
        self.log.append(f"stopped {self.name}")


class Controller:
    """Trains every tenant until it is over and writes down what it is called with, as Tune's controller might."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.seen = pool, []  # type: ignore[var-annotated]
        self.names: dict[Tenant, str] = {}

    def add(self, name: str, request: Any, **config: Any) -> Tenant:
        tenant = self.pool.add_actor(
            Counter,
            {"config": {"name": name, **config}},
            request,
            on_start=self.started,
            on_stop=lambda t: self.seen.append(f"{self.names[t]} left"),
            on_error=lambda t, error: self.seen.append(f"{self.names[t]} lost: {type(error).__name__}"),
        )
        self.names[tenant] = name
        return tenant

    def started(self, tenant: Tenant) -> None:
        self.seen.append(f"{self.names[tenant]} starts")
        self.train(tenant)

    def train(self, tenant: Tenant) -> None:
        self.pool.schedule_actor_task(tenant, "train", on_result=self.result, on_error=self.failed)

    def result(self, tenant: Tenant, result: dict[str, Any]) -> None:
        self.seen.append(f"{self.names[tenant]} {result['steps']}")
        if result["steps"] >= tenant.arguments["config"].get("steps", 1):
            self.pool.remove_actor(tenant)
        else:
            self.train(tenant)

    def failed(self, tenant: Tenant, error: BaseException) -> None:
        self.seen.append(f"{self.names[tenant]} failed: {type(error).__name__}")
        self.pool.remove_actor(tenant)

    def run(self, limit: int = 100) -> list[str]:
        """Until nothing is left."""
        for _ in range(limit):
            if not self.pool.num_total_actors:
                return self.seen
            self.pool.next(timeout=0.0)
        raise AssertionError(f"it does not end: {self.seen}")


def pool(most: int = 1, **limits: Any) -> tuple[Pool, Scripted, Controller]:
    """A pool on scripted processes, and a controller for it."""
    workers = Scripted(most)
    made = Pool(workers, Limits(**limits))
    Counter.log = []
    return made, workers, Controller(made)
