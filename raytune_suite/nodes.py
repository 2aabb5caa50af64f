"""Machines: this one, those of a Ray session, and those an autoscaler may still add to it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from raytune_suite.hardware import DECLARED, usable_cpus, usable_memory, visible_gpus

AUTOSCALING = "RAYTUNE_AUTOSCALING"
BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")
"""Where ``ray up`` leaves the whole cluster configuration on a head node."""
_ANSWER_S = 30.0
_BUILT_IN = ("CPU", "GPU", "memory", "object_store_memory")


@dataclass(frozen=True)
class Node:
    """One machine (or a kind an autoscaler may start): CPUs, GPUs, bytes of memory.

    ``gpu_memory`` is the bytes of its smallest GPU where known, ``accelerator_type`` Ray's name for its GPUs.
    """

    cpu: float
    gpu: float = 0
    memory: int = 0
    custom: Mapping[str, float] = field(default_factory=dict)
    accelerator_type: str | None = None
    gpu_memory: int | None = None
    name: str = ""

    def describe(self) -> str:
        """What this machine has, in a few words."""
        parts = [f"{self.cpu:g} CPU"]
        if self.gpu:
            parts.append(f"{self.gpu:g} GPU" + (f" ({self.accelerator_type})" if self.accelerator_type else ""))
        return ", ".join([*parts, *(f"{count:g} {kind}" for kind, count in self.custom.items())])


def amounts(resources: Mapping[str, float]) -> str:
    """Amounts of Ray's resources in words, without those it keeps for itself: ``4 CPU, 1 GPU``."""
    shown = {kind: resources.get(kind, 0) for kind in ("CPU", "GPU")}
    shown |= {k: v for k, v in resources.items() if k not in _BUILT_IN and ":" not in k and "_group_" not in k}
    return ", ".join(f"{count:g} {kind}" for kind, count in shown.items() if count or kind in resources) or "nothing"


def local_node() -> Node:
    """This machine as a node, without Ray."""
    gpus = visible_gpus()
    return Node(
        cpu=usable_cpus(),
        gpu=len(gpus),
        memory=usable_memory(),
        accelerator_type=(gpus[0].accelerator_type or None) if gpus else None,
        gpu_memory=min((gpu.memory for gpu in gpus), default=None),
        name="this machine",
    )


def ray_nodes(gpu_memory: bool = False) -> tuple[Node, ...]:
    """The living nodes of the Ray session of this process; ``gpu_memory``: each is asked how much its GPUs have."""
    import ray

    living = [(node_of(n["Resources"], n.get("NodeManagerAddress", "")), n) for n in ray.nodes() if n["Alive"]]
    if not gpu_memory:
        return tuple(node for node, _ in living)
    asked = [n["NodeID"] for node, n in living if node.gpu]
    memories = _gpu_memories(tuple(asked))
    return tuple(replace(node, gpu_memory=memories.get(n["NodeID"])) for node, n in living)


_KNOWN: dict[str, int | None] = {}


def _gpu_memories(node_ids: tuple[str, ...]) -> dict[str, int | None]:
    """Bytes of the smallest GPU of each node, as the node itself says; one that does not answer is left out."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    ask, asked = ray.remote(num_cpus=0)(smallest_gpu), {}
    found = {here: smallest_gpu(os.environ)} if here in node_ids else {}
    for node_id in set(node_ids).difference(_KNOWN, found):
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        asked[ask.options(scheduling_strategy=there).remote()] = node_id
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_S) if asked else ([], [])
    for reference in ready:
        _KNOWN[asked[reference]] = ray.get(reference)
    return {**_KNOWN, **found}


def smallest_gpu(environ: Mapping[str, str] | None = None) -> int | None:
    """Bytes of this machine's smallest GPU; None without one. A worker without a GPU looks at all there are."""
    seen = {DECLARED: os.environ.get(DECLARED, "")} if environ is None else environ
    return min((gpu.memory for gpu in visible_gpus(seen)), default=None)


def node_of(resources: Mapping[str, float], name: str = "") -> Node:
    """A node from the resources Ray lists for it."""
    kinds = [kind.partition(":")[2] for kind in resources if kind.startswith("accelerator_type:")]
    custom = {k: v for k, v in resources.items() if k not in _BUILT_IN and ":" not in k}
    return Node(
        cpu=resources.get("CPU", 0),
        gpu=resources.get("GPU", 0),
        memory=int(resources.get("memory", 0)),
        custom=custom,
        accelerator_type=kinds[0] if kinds else None,
        name=name,
    )


def ray_growth(environ: Mapping[str, str] = os.environ) -> tuple[bool, tuple[Node, ...]]:
    """Whether the session can grow by itself, and by which nodes beyond those that live."""
    groups = _bootstrap_groups(BOOTSTRAP.expanduser()) or _reported_groups()
    if groups:
        living = [node.accelerator_type for node in ray_nodes()]
        growth = _still_to_come(groups, living)
        return bool(growth), growth
    return environ.get(AUTOSCALING, "").lower() in ("1", "true", "yes"), ()


def _still_to_come(groups: Iterable[tuple[Node, int]], living: list[str | None]) -> tuple[Node, ...]:
    """Each group's maximum less its kind's living nodes; the kind is told by accelerator."""
    growth: list[Node] = []
    alive = list(living)
    for node, most in groups:
        here = min(most, alive.count(node.accelerator_type))
        for _ in range(here):
            alive.remove(node.accelerator_type)
        growth += [node] * (most - here)
    return tuple(growth)


def _bootstrap_groups(path: Path) -> list[tuple[Node, int]]:
    """Node kinds and their largest number from the file ``ray up`` left; empty where there is none."""
    import yaml

    if not path.is_file():
        return []
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    kinds: dict[str, Any] = config.get("available_node_types", {})
    head, ceiling = config.get("head_node_type"), config.get("max_workers", 0)
    groups = []
    for name, kind in kinds.items():
        most = 1 if name == head else min(ceiling, kind.get("max_workers", 0))
        groups.append((node_of(kind.get("resources", {}), name), most))
    return [group for group in groups if group[0].cpu or group[0].gpu]


def _reported_groups() -> list[tuple[Node, int]]:
    """Node kinds the autoscaler told Ray of (KubeRay's does); a private door, so it may be missing."""
    try:
        from ray._private.state import state

        config = state.get_cluster_config()
    except (ImportError, AttributeError):
        return []
    groups = config.node_group_configs if config else []
    return [(node_of(dict(group.resources), group.name), group.max_count) for group in groups]
