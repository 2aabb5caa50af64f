"""The processes of the pool as Ray actors: one per slot, with the resources that a trial asks for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from raytune_suite.engine import lean
from raytune_suite.engine.residence import Maker, Order, Residence
from raytune_suite.engine.tenants import Process, Task

_LOOK_AGAIN_S = 5.0
_FAREWELL_S = 5.0
_PASSED_ON = ("RAY_CHDIR_TO_TRIAL_DIR", "RAY_AIR_LOCAL_CACHE_DIR", "TUNE_DISABLE_STRICT_METRIC_CHECKING")


@dataclass(frozen=True, eq=False)
class Early:
    """A request for one bundle, before ray.tune is there to give it its form; equals that form."""

    bundle: dict[str, float]

    @property
    def bundles(self) -> list[dict[str, float]]:
        """As Ray's form has them."""
        return [{kind: float(amount) for kind, amount in self.bundle.items() if amount}]

    head_bundle_is_empty = False

    @property
    def required_resources(self) -> dict[str, float]:
        """As Ray's form has them."""
        return self.bundles[0]

    def __eq__(self, other: object) -> bool:
        """Whether it asks for the same."""
        return not getattr(other, "head_bundle_is_empty", True) and getattr(other, "bundles", None) == self.bundles

    def __hash__(self) -> int:
        """By what it asks for."""
        return hash(tuple(sorted(self.required_resources.items())))


class RayWorkers:
    """Worker processes on Ray. ``limit`` is asked how many may run at once; without it, as many as the nodes hold.

    ``settings``: those of the study whose trainable new processes import while they wait for a trial.
    """

    def __init__(self, limit: Callable[[], int] | None = None, settings: Mapping[str, Any] | None = None) -> None:
        self._limit = limit
        self._prepare = Maker(lean.__name__, "prepare", {"settings": dict(settings)}) if settings else None
        self._remote = ray.remote(Residence)
        self._variables = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        self._variables["PL_DISABLE_FORK"] = "1"  # as Tune sets it for its workers
        self._fitting: dict[Any, tuple[float, int]] = {}
        self._ending: list[Any] = []

    def start(self, request: Any) -> Process:
        """See :class:`~raytune_suite.engine.tenants.Workers`."""
        bundle = {} if request.head_bundle_is_empty else dict(request.bundles[0])
        options: dict[str, Any] = {"num_cpus": bundle.pop("CPU", 0), "num_gpus": bundle.pop("GPU", 0)}
        group = None
        if request.head_bundle_is_empty or len(request.bundles) > 1:
            group = request.to_placement_group()
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                placement_group=group,
                placement_group_bundle_index=-1 if request.head_bundle_is_empty else 0,
                placement_group_capture_child_tasks=True,
            )
        if memory := bundle.pop("memory", 0):
            options["memory"] = memory
        unseen = {} if options["num_gpus"] else {"CUDA_VISIBLE_DEVICES": ""}  # Ray would let it see all of them
        handle = self._remote.options(**options, resources=bundle).remote({**self._variables, **unseen})
        return Process(request, handle, group)

    def hello(self, process: Process) -> Any:
        """See :class:`~raytune_suite.engine.tenants.Workers`."""
        return process.handle.hello.remote(self._prepare)

    def turn(self, process: Process, orders: list[Order], tenant: int, task: Task) -> Any:
        """See :class:`~raytune_suite.engine.tenants.Workers`."""
        return process.handle.turn.remote(orders, tenant, task.method, task.args)

    def call(self, process: Process, orders: list[Order], tenant: int, task: Task, options: Mapping[str, Any]) -> Any:
        """See :class:`~raytune_suite.engine.tenants.Workers`."""
        return process.handle.call.remote(orders, tenant, task.method, task.args, dict(options))

    def obey(self, process: Process, orders: list[Order]) -> Any:
        """See :class:`~raytune_suite.engine.tenants.Workers`."""
        return process.handle.obey.remote(orders)

    def ready(self, references: list[Any], timeout: float | None) -> list[Any]:
        """See :class:`~raytune_suite.engine.tenants.Workers`."""
        found, rest = ray.wait(references, num_returns=1, timeout=timeout)
        if found and rest:
            found += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        return list(found)

    def get(self, reference: Any) -> Any:
        """See :class:`~raytune_suite.engine.tenants.Workers`."""
        return ray.get(reference)

    def capacity(self, request: Any) -> int:
        """See :class:`~raytune_suite.engine.tenants.Workers`; at least 1, so that Ray is asked and may grow."""
        if self._limit is not None:
            return self._limit()
        until, fitting = self._fitting.get(request, (0.0, 0))
        if time.monotonic() > until:
            fitting = _fitting(request.required_resources)
            self._fitting[request] = (time.monotonic() + _LOOK_AGAIN_S, fitting)
        return max(1, fitting)

    def cramped(self, request: Any, held: Mapping[tuple[Any, Any], float]) -> bool:
        """See :class:`~raytune_suite.engine.tenants.Workers`."""
        free, needs = ray.available_resources(), request.required_resources
        return any(free.get(kind, 0.0) < amount for kind, amount in needs.items()) or _in_fragments(needs, held)

    def end(self, process: Process, *, at_once: bool = False) -> None:
        """See :class:`~raytune_suite.engine.tenants.Workers`."""
        if at_once or not process.ready:
            ray.kill(process.handle)
        else:
            process.handle.close.remote()
            self._ending.append(process.handle.__ray_terminate__.remote())
        if process.group is not None:
            remove_placement_group(process.group)

    def farewell(self) -> None:
        """Give processes that were told to end a moment for it."""
        if self._ending:
            ray.wait(self._ending, num_returns=len(self._ending), timeout=_FAREWELL_S)
            self._ending.clear()


def _fitting(needs: Mapping[str, float]) -> int:
    """How many such requests fit on the nodes that are there, each whole on one node, a share whole on one GPU."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(_times(node.get(kind, 0.0), amount, kind) for kind, amount in needs.items()) for node in nodes)


def _times(available: float, amount: float, kind: str) -> int:
    if kind == "GPU" and amount < 1:
        return int(available) * int(1 / amount + 1e-9)
    return int(available / amount + 1e-9)


def _in_fragments(needs: Mapping[str, float], held: Mapping[tuple[Any, Any], float]) -> bool:
    """Whether the GPUs have too little left one by one, whatever they have together."""
    amount = needs.get("GPU", 0.0)
    if not amount:
        return False
    most = 1.0 - min(1.0, amount) + 1e-6
    for node in (node for node in ray.nodes() if node["Alive"]):
        used = [part for (where, _), part in held.items() if where == node["NodeID"]]
        untouched = int(node["Resources"].get("GPU", 0)) - len(used)
        if untouched + sum(part <= most for part in used) >= max(1, amount):
            return False
    return True
