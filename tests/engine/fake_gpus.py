"""Worker processes on GPUs that are not there, in virtual time: Ray's placing, its queue as unkind as may be."""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from raytune_suite.engine.pool import Pool
from raytune_suite.engine.residence import Event, Here, Order, Reply
from raytune_suite.engine.slots import Limits
from raytune_suite.engine.tenants import Process, Task, Tenant
from raytune_suite.engine.workers import Early
from raytune_suite.packing import Room, takes_another
from raytune_suite.resources import Cluster, Node, Request
from raytune_suite.slots import PackedSlots

START_S = 2.0
GRACE_S = 2 * START_S + 2.0


def request_of(early: Early) -> Request:
    needs = early.required_resources
    return Request(needs.get("CPU", 0), needs.get("GPU", 0))


@dataclass
class Handle:
    """Where a process is, if anywhere; ``waits`` is its first message, to be answered once it has a place."""

    place: tuple[int, tuple[int, ...]] | None = None
    waits: int | None = None


class FakeGpus:
    """One node of so many GPUs. A queued process is placed as soon as it fits, whoever of those that fit is first."""

    def __init__(self, node: Node, seed: int) -> None:
        self.room, self.rng = Room.of(node), random.Random(seed)
        self.whole = len(self.room.gpus)
        self.queue: list[Process] = []
        self.now = 0.0
        self._count = 0
        self._heap: list[tuple[float, int]] = []
        self._answers: dict[int, Any] = {}

    def clock(self) -> float:
        return self.now

    def start(self, request: Any) -> Process:
        process = Process(request, Handle())
        self.queue.append(process)
        return process

    def hello(self, process: Process) -> Any:
        process.handle.waits = self._number()
        self._place()
        return process.handle.waits

    def turn(self, process: Process, orders: list[Order], tenant: int, task: Task) -> Any:
        assert process.handle.place is not None, "it trains where it has no room"
        entered = [given[3] for given in orders if given[0] == "enter"]
        seconds = entered[0]["config"]["seconds"]
        return self._answer(seconds, Reply((Event(tenant, {"done": True}, over=True),)))

    def call(self, process: Process, orders: list[Order], tenant: int, task: Task, options: Mapping[str, Any]) -> Any:
        raise AssertionError("nothing is called")

    def obey(self, process: Process, orders: list[Order]) -> Any:
        return self._answer(0.0, Reply())

    def ready(self, references: list[Any], timeout: float | None) -> list[Any]:
        while self._heap:
            at, reference = heapq.heappop(self._heap)
            if reference in references:
                self.now = max(self.now, at)
                return [reference]
            self._answers.pop(reference)
        self.now += 0.1
        return []

    def get(self, reference: Any) -> Any:
        return self._answers.pop(reference)

    def capacity(self, request: Any) -> int:
        gpu = request_of(request).gpu
        return self.whole * int(1 / gpu + 1e-9) if gpu < 1 else int(self.whole // gpu)

    def cramped(self, request: Any, held: Mapping[Any, float]) -> bool:
        return not takes_another([self.room], request_of(request))

    def end(self, process: Process, *, at_once: bool = False) -> None:
        if process in self.queue:
            self.queue.remove(process)
        elif process.handle.place is not None:
            wanted, (_, gpus) = request_of(process.request), process.handle.place
            self.room.cpu += round(wanted.cpu * 10_000)
            for gpu in gpus:
                self.room.gpus[gpu] += min(10_000, round(wanted.gpu * 10_000))
            process.handle.place = None
        self._place()

    def _place(self) -> None:
        self.rng.shuffle(self.queue)
        for process in list(self.queue):
            gpus = self.room.place(request_of(process.request)) if process.handle.waits is not None else None
            if gpus is not None:
                self.queue.remove(process)
                process.handle.place = (0, gpus)
                here = Here("127.0.0.1", 1, "node", tuple(map(str, gpus)))
                self._answers[process.handle.waits] = here
                heapq.heappush(self._heap, (self.now + START_S, process.handle.waits))

    def _number(self) -> int:
        self._count += 1
        return self._count

    def _answer(self, after: float, answer: Any) -> int:
        number = self._number()
        self._answers[number] = answer
        heapq.heappush(self._heap, (self.now + after, number))
        return number


class Study:
    """Hands trials out as the suite does, trains each for its seconds, and watches over what happens meanwhile."""

    def __init__(self, trials: list[tuple[float, float]], gpus: int = 4, seed: int = 0) -> None:
        node = Node(64, gpus)
        self.workers = FakeGpus(node, seed)
        self.pool = Pool(self.workers, Limits(), clock=self.workers.clock)
        self.trials = list(enumerate(trials))
        self.live: dict[Tenant, int] = {}
        self.began: dict[int, float] = {}
        self.ended: dict[int, float] = {}
        self.reserved: dict[int, float] = {}
        self.on_gpu: dict[int, set[int]] = {gpu: set() for gpu in range(gpus)}
        self.crowded: list[tuple[float, int, set[int]]] = []
        self.idle_since: float | None = None
        self.longest_idle = 0.0
        made: Any = SimpleNamespace(
            request=Request(0.1, trials[0][0]),
            cluster=Cluster((node,)),
            study=SimpleNamespace(max_concurrent=None),
        )
        self.slots = PackedSlots(made, lambda: [request_of(tenant.request) for tenant in self.live])

    def run(self, limit: int = 100_000) -> Study:
        for _ in range(limit):
            self._hand_out()
            if not self.live and not self.trials:
                return self
            self.pool.next(timeout=0.1)
            self._watch()
        raise AssertionError(f"it does not end: {len(self.live)} live at {self.workers.now}")

    def _hand_out(self) -> None:
        while self.trials and len(self.live) < self.slots():
            number, (gpu, seconds) = self.trials.pop(0)
            tenant = self.pool.add_actor(
                SimpleNamespace,
                {"config": {"seconds": seconds}},
                Early({"CPU": 0.1, "GPU": gpu}),
                on_start=self._started,
                on_stop=lambda tenant: None,
                on_error=lambda tenant, error: None,
            )
            self.live[tenant] = number

    def _started(self, tenant: Tenant) -> None:
        number = self.live[tenant]
        self.began[number] = self.workers.now
        for _, gpu in tenant.home.gpus:
            self.on_gpu[int(gpu)].add(number)
            self.crowded.append((self.workers.now, int(gpu), set(self.on_gpu[int(gpu)])))
        self.pool.schedule_actor_task(tenant, "train", on_result=self._result)

    def _result(self, tenant: Tenant, result: Any) -> None:
        number = self.live.pop(tenant)
        self.ended[number] = self.workers.now
        for trials in self.on_gpu.values():
            trials.discard(number)
        self.pool.remove_actor(tenant)

    def _watch(self) -> None:
        holder = self.pool.reservation.holder
        if holder is not None and holder in self.live:
            self.reserved.setdefault(self.live[holder], self.workers.now)
        if holder is None and self._something_fits():
            self.idle_since = self.workers.now if self.idle_since is None else self.idle_since
            self.longest_idle = max(self.longest_idle, self.workers.now - self.idle_since)
        else:
            self.idle_since = None

    def _something_fits(self) -> bool:
        """Whether a trial that waits would find room beside those that train and the workers that start."""
        room = Room(self.workers.room.cpu, [10_000] * self.workers.whole)
        for process in self.pool.processes:
            if process.handle.place is not None and (process.tenants or not process.ready):
                for gpu in process.handle.place[1]:
                    room.gpus[gpu] -= min(10_000, round(request_of(process.request).gpu * 10_000))
        waiting = [tenant for queue in self.pool.pending.values() for tenant in queue]
        return any(takes_another([room], request_of(tenant.request)) for tenant in waiting)
