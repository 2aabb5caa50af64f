"""Tune's actor manager over a pool of long-lived worker processes.

The controller asks for an actor a trial; it gets a :class:`~raytune_suite.engine.tenants.Tenant`, which is put into a
free process of the same resource request. Making the trainable, training it and leaving it are orders that ride on one
message, so a trial of one step is one message and one answer. Callbacks come in the order in which Tune's own manager
calls them: an actor's error before that of its task, a removed actor's stop only once its step is over.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from ray.exceptions import RayActorError, RayError, RayTaskError

from raytune_suite.engine.residence import Event, Here, Reply
from raytune_suite.engine.slots import MOST_PARKED, Limits, Slots
from raytune_suite.engine.tenants import TRAIN, Process, Stage, Task, Tenant, Workers


class Pool(Slots):
    """What Tune's controller takes for its ``RayActorManager``; ``processes``, if given, are there already."""

    def __init__(self, workers: Workers, limits: Limits, processes: list[Process] | None = None, **more: Any) -> None:
        super().__init__(workers, limits, processes, **more)
        self._tenants: dict[int, Tenant] = {}
        self._due: deque[Callable[[], None]] = deque()
        self._numbers = 0
        #: As the controller reads it: the Ray actor of each actor that is there, and its resources.
        self._live_actors_to_ray_actors_resources: dict[Tenant, tuple[Any, None]] = {}

    # -- what the controller asks --------------------------------------------------------------------------------

    def add_actor(
        self,
        cls: Any,
        kwargs: dict[str, Any],
        resource_request: Any,
        *,
        on_start: Callable[[Tenant], None] | None = None,
        on_stop: Callable[[Tenant], None] | None = None,
        on_error: Callable[[Tenant, BaseException], None] | None = None,
    ) -> Tenant:
        """Ask for a process that houses ``cls(**kwargs)``."""
        kind, arguments = self.kind_of(cls, kwargs)
        self._numbers += 1
        tenant = Tenant(self._numbers, resource_request, kind, arguments, on_start, on_stop, on_error)
        self._tenants[tenant.actor_id] = tenant
        self.pending[resource_request].append(tenant)
        return tenant

    def remove_actor(self, tracked_actor: Tenant, kill: bool = False, stop_future: Any = None) -> bool:
        """End a tenant; whether ``on_stop`` will be called."""
        tenant = tracked_actor
        if tenant.stage is Stage.FAILED:
            return False
        if tenant.stage is Stage.PENDING:
            self.pending[tenant.request].remove(tenant)
            self._forget(tenant)
            return False
        if tenant.stage is Stage.PARKED:
            self.take_back(tenant)
            self._forget(tenant)
            return False
        if not tenant.present:
            raise ValueError(f"Unknown tracked actor: {tenant.actor_id}")
        self._remove(tenant, kill)
        return True

    def _remove(self, tenant: Tenant, kill: bool) -> None:
        process = tenant.home
        tenant.stage, tenant.task = Stage.LEAVING, None
        if kill:
            self._lost(process, RayActorError())
        elif process.busy is None or process.tenants[0] is not tenant:
            self._due.append(lambda: self._vacate(tenant))
        # else it leaves when its step is over

    def schedule_actor_task(
        self,
        tracked_actor: Tenant,
        method_name: str,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        on_result: Callable[[Tenant, Any], None] | None = None,
        on_error: Callable[[Tenant, BaseException], None] | None = None,
        _return_future: bool = False,
    ) -> Any:
        """Call a method of a tenant; leaving is an order and not a call."""
        tenant, task = tracked_actor, Task(method_name, tuple(args or ()), on_result, on_error)
        if method_name == "stop" or tenant.stage is Stage.FAILED:
            return None
        if tenant.stage is not Stage.LIVE:
            raise ValueError(f"the actor {tenant.actor_id} is not there: it {tenant.stage.value}")
        process = tenant.home
        tenant.task = task
        if method_name in TRAIN:
            if tenant.inbox:
                self._due.append(lambda: self._deliver(tenant))
            else:
                process.train = task
            return None
        tenant.heard = True
        self.before()
        reference = self.workers.call(process, self.orders(process), tenant.actor_id, task, kwargs or {})
        self.asked[reference] = (process, tenant, task)
        return reference if _return_future else None

    def clear_actor_task_futures(self, tracked_actor: Tenant) -> None:
        """Forget what Tune waited for; a step that runs goes on to its end."""
        tracked_actor.task = None

    def is_actor_started(self, tracked_actor: Tenant) -> bool:
        """Whether it is there."""
        return tracked_actor.present

    def is_actor_failed(self, tracked_actor: Tenant) -> bool:
        """Whether it was lost."""
        return tracked_actor.stage is Stage.FAILED

    @property
    def num_live_actors(self) -> int:
        """Tenants that have a process."""
        return len(self._live_actors_to_ray_actors_resources)

    @property
    def num_pending_actors(self) -> int:
        """Tenants that wait for one."""
        return self.num_total_actors - self.num_live_actors

    @property
    def num_total_actors(self) -> int:
        """All tenants that are not gone."""
        return len(self._tenants)

    @property
    def num_actor_tasks(self) -> int:
        """Calls whose answer Tune waits for."""
        return sum(tenant.task is not None for tenant in self._live_actors_to_ray_actors_resources)

    def get_live_actors_resources(self) -> dict[str, float]:
        """What all tenants with a process occupy."""
        total: dict[str, float] = defaultdict(float)
        for tenant in self._live_actors_to_ray_actors_resources:
            for kind, amount in tenant.request.required_resources.items():
                total[kind] += amount
        return dict(total)

    def cleanup(self) -> None:
        """Tune is done with its actors; processes that train are ended, free ones are left to who owns the pool."""
        for process in list(self.processes):
            if process.tenants or not process.ready:
                self.drop(process)
                self.workers.end(process, at_once=True)
            else:
                self.workers.obey(process, [*self.orders(process), ("forget",)])
                process.busy, process.depth, process.learnt = None, 0, set()
        self._tenants.clear()
        self.pending.clear()
        self.asked.clear()
        self._due.clear()
        self._live_actors_to_ray_actors_resources.clear()

    def close(self) -> None:
        """End all processes."""
        self.cleanup()
        for process in list(self.processes):
            self.retire(process)

    # -- events --------------------------------------------------------------------------------------------------

    def next(self, timeout: float | None = None) -> bool:
        """Wait for something to happen and call back; whether anything did."""
        handled = self._settle()
        self.before()
        self._post(idle=True)
        if handled:
            return True
        if not self.asked:
            time.sleep(min(timeout if timeout is not None else 0.1, 0.1))
            return False
        arrived = self.workers.ready(list(self.asked), timeout)
        for reference in arrived:
            if reference in self.asked:  # else its process was given up meanwhile
                self._arrived(reference)
        if arrived:
            self._settle()
            self.before()
            self._post()
        return bool(arrived)

    def _settle(self) -> bool:
        """Do what waits for nobody: deliver results that are here, give free processes to tenants."""
        handled = bool(self._due)
        while self._due:
            self._due.popleft()()
        return self._house() or handled

    def _arrived(self, reference: Any) -> None:
        process, tenant, task = self.asked.pop(reference)
        if process.busy == reference:
            process.busy = None
        try:
            answer = self.workers.get(reference)
        except RayTaskError as error:
            answer = error
        except RayActorError as error:
            self._lost(process, error)
            return
        except RayError as error:
            self._lost(process, RayActorError(error_msg=f"{type(error).__name__}: {error}"))
            return
        if tenant is not None and task is not None:
            self._answer_call(tenant, task, answer)
        elif isinstance(answer, Reply):
            self._replied(process, answer)
        elif tenant is not None:
            self._replied(process, Reply((Event(tenant.actor_id, answer, failed=True, over=True),), spoiled=True))
        elif isinstance(answer, RayTaskError):
            self._lost(process, RayActorError(error_msg=str(answer)))
        else:
            process.ready = True
            if isinstance(answer, Here):
                process.gpus = frozenset((answer.node, gpu) for gpu in answer.gpus)

    def _answer_call(self, tenant: Tenant, task: Task, answer: Any) -> None:
        if tenant.task is not task:
            return  # Tune no longer waits for it
        tenant.task = None
        if isinstance(answer, RayTaskError):
            if task.on_error is not None:
                task.on_error(tenant, answer)
        elif task.on_result is not None:
            task.on_result(tenant, answer)

    def _replied(self, process: Process, reply: Reply) -> None:
        process.rss, process.spoiled = reply.rss, reply.spoiled
        if reply.events:
            most = max(1, 2 * process.depth, len(reply.events))
            process.depth = min(MOST_PARKED, most) if reply.brisk else 0
        for event in reply.events:
            tenant = self._tenants.get(event.tenant)
            if tenant is None:
                continue
            if tenant.stage is Stage.PARKED:
                self._begin(tenant)
            if tenant.stage is Stage.LEAVING:
                self._vacate(tenant)
                continue
            tenant.inbox.append(event)
            self._deliver(tenant)
        if not process.depth:
            parked = [tenant for tenant in process.tenants if tenant.stage is Stage.PARKED]
            for tenant in parked:
                self.take_back(tenant)
            self.queue_again(parked)

    def _deliver(self, tenant: Tenant) -> None:
        """Hand over a result, if there is one and Tune has asked for it."""
        task = tenant.task
        if task is None or task.method not in TRAIN or not tenant.inbox:
            return
        event, tenant.task, tenant.heard = tenant.inbox.popleft(), None, True
        if event.failed and task.on_error is not None:
            error = event.value
            task.on_error(tenant, error.as_instanceof_cause() if isinstance(error, RayTaskError) else error)
        elif not event.failed and task.on_result is not None:
            task.on_result(tenant, event.value)

    # -- tenants and processes -----------------------------------------------------------------------------------

    def _house(self) -> bool:
        """Give free processes to pending tenants, in order; start processes for those left over."""
        housed = False
        self.keep_room()
        for request, queue in list(self.pending.items()):
            while queue and (process := self.free(request)) is not None:
                tenant = queue.popleft()
                self.enter(process, tenant, "enter")
                self._begin(tenant)
                housed = True
            if queue:
                self.start(request, len(queue))
        return housed

    def _begin(self, tenant: Tenant) -> None:
        """The tenant has its process to itself; those before it have left."""
        process = tenant.home
        tenant.stage = Stage.LIVE
        self.reservation.began(tenant, itertools.chain(*self.pending.values()))
        process.served += 1
        again = tenant in self._live_actors_to_ray_actors_resources
        self._live_actors_to_ray_actors_resources[tenant] = (process.handle, None)
        if again:  # its first process died before anything was told, so Tune still waits for what it was asked
            process.train = tenant.task
        elif tenant.on_start is not None:
            tenant.on_start(tenant)

    def _vacate(self, tenant: Tenant) -> None:
        """Tune has removed it, and its step is over."""
        process = tenant.process
        if tenant.stage is not Stage.LEAVING or process is None:
            return
        process.orders.append(("leave", tenant.actor_id))
        process.tenants.remove(tenant)
        self._forget(tenant)
        if tenant.on_stop is not None:
            tenant.on_stop(tenant)

    def _forget(self, tenant: Tenant) -> None:
        tenant.stage, tenant.task = Stage.GONE, None
        self._tenants.pop(tenant.actor_id, None)
        self._live_actors_to_ray_actors_resources.pop(tenant, None)

    def _lost(self, process: Process, error: RayActorError) -> None:
        """The process is gone: its trial is told, those parked behind it wait for another, uncharged.

        Where trials rode together, nobody knows in which of them it died, and what those before had done is lost. Of
        none of them anything has been told, so all begin again, each in a process to itself: the guilty one is alone.
        """
        tenants = list(process.tenants)
        self.drop(process)
        self.workers.end(process, at_once=True)
        riding = tenants if any(tenant.stage is Stage.PARKED for tenant in tenants) else []
        together = [t for t in riding if t.stage is Stage.PARKED or (t.stage is Stage.LIVE and not t.heard and t.task)]
        self.queue_again(together, alone=True)
        for tenant in tenants:
            if tenant.stage is Stage.LEAVING:
                self._forget(tenant)
                if tenant.on_stop is not None:
                    tenant.on_stop(tenant)
            elif tenant.stage is Stage.LIVE:
                self._fail(tenant, error)
        if not process.ready and self.pending[process.request]:
            self._fail(self.pending[process.request].popleft(), error)  # as Tune: one start a trial

    def _fail(self, tenant: Tenant, error: Any) -> None:
        """First the actor's error, then that of its task."""
        task = tenant.task
        self._forget(tenant)
        tenant.stage = Stage.FAILED
        if tenant.on_error is not None:
            tenant.on_error(tenant, error)
        if task is not None and task.on_error is not None:
            task.on_error(tenant, error)

    # -- messages ------------------------------------------------------------------------------------------------

    def _post(self, idle: bool = False) -> None:
        """Send what has gathered: calls to train at once, mere orders only if the process has nothing better to do."""
        for process in self.processes:
            if process.busy is not None or not process.ready:
                continue
            task, tenant = process.train, next((t for t in process.tenants if t.stage is Stage.LIVE), None)
            if task is not None and tenant is not None and tenant.task is task:
                self.park(process, behind=tenant)
                process.busy = self.workers.turn(process, self.orders(process), tenant.actor_id, task)
                self.asked[process.busy] = (process, tenant, None)
                process.train = None
            elif process.orders and idle:
                process.busy = self.workers.obey(process, self.orders(process))
                self.asked[process.busy] = (process, None, None)
