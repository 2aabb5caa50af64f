"""What a trial asks for, what the machines have, and how many trials fit at once.

Ray counts resources in steps of 1e-4, node by node, and places a trial whole on one node. The arithmetic
here follows it exactly, so the number of slots printed before a study starts is the number Ray will fill.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from raytune_suite.errors import PlanError, Problem, StudyError
from raytune_suite.nodes import Node, local_node, ray_growth, ray_nodes
from raytune_suite.shares import CONTEXT, STEP, Kind, equal_share, fitting_share, gib, kinds, landing, share

if TYPE_CHECKING:
    from raytune_suite.study import Resources, Study

__all__ = ["STEP", "Cluster", "Node", "Request", "fits", "left_over", "possible", "request", "share", "slots"]
MEMORY = "memory"
"""Ray's name for main memory, in bytes."""
_RESERVED = ("CPU", "GPU", "object_store_memory")


@dataclass(frozen=True)
class Cluster:
    """The machines of a session; ``growth`` are those an autoscaler may still start, where it says so."""

    nodes: tuple[Node, ...]
    autoscaling: bool = False
    growth: tuple[Node, ...] = ()

    @classmethod
    def local(cls) -> Cluster:
        """This machine alone, as seen without Ray: affinity, cgroup limits and visible GPUs count."""
        return cls((local_node(),))

    @classmethod
    def of_ray(cls, autoscaling: bool | None = None, *, gpu_memory: bool = False) -> Cluster:
        """The living nodes of the Ray session this process is in; ``gpu_memory``: also that of their GPUs.

        ``autoscaling=None`` finds out by itself: from the bootstrap file ``ray up`` leaves on a head, from
        what the autoscaler reports to Ray, or from ``RAYTUNE_AUTOSCALING=1`` where neither can be seen.
        """
        found, growth = ray_growth()
        nodes = ray_nodes(gpu_memory)
        if gpu_memory:
            growth = alike(growth, nodes)
        return cls(nodes, found if autoscaling is None else autoscaling, growth)

    @property
    def gpus(self) -> float:
        """All GPUs, those an autoscaler may start included."""
        return sum(node.gpu for node in (*self.nodes, *self.growth))

    @property
    def kinds(self) -> list[Kind]:
        """The GPUs that are here or may come, by what Ray calls them."""
        return kinds((*self.nodes, *self.growth))

    def describe(self) -> str:
        """How many machines there are and what they have together."""
        count = f"{len(self.nodes)} node{'s' if len(self.nodes) != 1 else ''}"
        total = f"{sum(n.cpu for n in self.nodes):g} CPU, {sum(n.gpu for n in self.nodes):g} GPU"
        if not self.autoscaling:
            return f"{count}: {total}"
        more = f"up to {len(self.growth)} more" if self.growth else "more as it grows"
        return f"{count}: {total}; autoscaling, {more}"


@dataclass(frozen=True)
class Request:
    """What one trial occupies. ``gpu`` is whole, or a share of one GPU."""

    cpu: float = 1
    gpu: float = 0
    custom: Mapping[str, float] = field(default_factory=dict)
    accelerator_type: str | None = None

    def bundle(self) -> dict[str, float]:
        """The same as a bundle of a Ray placement group."""
        bundle = {"CPU": self.cpu, "GPU": self.gpu, **self.custom}
        if self.accelerator_type:
            bundle[f"accelerator_type:{self.accelerator_type}"] = 0.001
        return {kind: amount for kind, amount in bundle.items() if amount > 0}

    @property
    def threads(self) -> int:
        """Threads torch may use in such a trial."""
        return max(1, math.floor(self.cpu))

    def describe(self) -> str:
        """What is asked for, in a few words."""
        parts = [f"{self.cpu:g} CPU", *([f"{self.gpu:g} GPU"] if self.gpu else [])]
        parts += [gib(n) if kind == MEMORY else f"{n:g} {kind}" for kind, n in self.custom.items()]
        return ", ".join(parts) + (f" on {self.accelerator_type}" if self.accelerator_type else "")


def alike(growth: tuple[Node, ...], nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Nodes to come, with the GPU memory of the living ones whose GPUs have the same name."""
    known = {kind.accelerator_type: kind.memory for kind in kinds(nodes)}
    return tuple(replace(node, gpu_memory=node.gpu_memory or known.get(node.accelerator_type)) for node in growth)


def request(
    study: Study, cluster: Cluster, config: Mapping[str, Any] | None = None, forecast: int | None = None
) -> Request:
    """What one trial of ``study`` asks for on ``cluster``.

    ``config`` (nested, as the trainable gets it) matters only where the resources are a function of it;
    without one the study's default configuration, or a drawn one, stands in. ``forecast``: bytes of GPU memory that
    its training is expected to allocate, which is what ``gpu: auto`` goes by; without one it is a whole GPU.

    Raises:
        StudyError: the function returned something that is not a resources section.
        TooLargeError: it needs more GPU memory than any GPU has.
        PlanError: the amounts cannot mean anything to Ray, or the memory of GPUs is asked for and not known.
    """
    wanted = study.resources
    if isinstance(wanted, str):
        wanted = _computed(study, wanted, config)
    gpu, kind = _gpu(wanted, cluster, forecast)
    if 0 < gpu < 1 and wanted.trials_per_gpu is None:
        gpu = max(gpu, _spread(wanted, cluster, kind, study.max_concurrent))
    return _checked(Request(float(wanted.cpu), gpu, _custom(wanted), wanted.accelerator_type or kind))


def asks_memory(study: Study) -> bool:
    """Whether what a trial is given may depend on how much memory the GPUs have."""
    wanted = study.resources
    return isinstance(wanted, str) or wanted.gpu_memory is not None or is_auto(study)


def is_auto(study: Study) -> bool:
    """Whether a trial's share of a GPU follows from a forecast of its memory."""
    wanted = study.resources
    given = None if isinstance(wanted, str) else (wanted.trials_per_gpu or wanted.gpu_memory)
    return not isinstance(wanted, str) and wanted.gpu == "auto" and given is None


def fits(wanted: Request, node: Node) -> int:
    """How many such trials run on ``node`` at the same time."""
    if wanted.accelerator_type and wanted.accelerator_type != node.accelerator_type:
        return 0
    counts = [_times(node.cpu, wanted.cpu)] if wanted.cpu else []
    if wanted.gpu:
        counts.append(_on_gpus(node.gpu, wanted.gpu))
    counts += [_times(_amount(node, kind), amount) for kind, amount in wanted.custom.items()]
    return min(counts)


def possible(wanted: Request, cluster: Cluster) -> bool:
    """Whether any node can ever run such a trial; an autoscaler that names no node kinds is trusted to."""
    if any(fits(wanted, node) for node in (*cluster.nodes, *cluster.growth)):
        return True
    return cluster.autoscaling and not cluster.growth


def slots(wanted: Request, cluster: Cluster, max_concurrent: int | None = None) -> int:
    """How many trials run at once: over all nodes, as many as fit; never more than ``max_concurrent``.

    Nodes an autoscaler may start are counted where it names them. Where it does not, ``max_concurrent`` says
    how far to go, and without one the present nodes (at least one trial, so there is something to grow for).

    Raises:
        PlanError: no node can ever run one such trial.
    """
    if not possible(wanted, cluster):
        raise PlanError(_impossible(wanted, cluster))
    fitting = sum(fits(wanted, node) for node in (*cluster.nodes, *cluster.growth))
    if cluster.autoscaling and not cluster.growth:
        return max_concurrent or max(fitting, 1)
    return min(fitting, max_concurrent) if max_concurrent else fitting


def left_over(wanted: Request, cluster: Cluster) -> dict[str, float]:
    """What stays idle on the present nodes when every slot is taken: CPU and GPU, zeros left out."""
    cpu = sum(node.cpu - fits(wanted, node) * wanted.cpu for node in cluster.nodes)
    gpu = sum(node.gpu - fits(wanted, node) * wanted.gpu for node in cluster.nodes)
    idle = {"CPU": round(cpu, 3), "GPU": round(gpu, 2)}
    return {kind: amount for kind, amount in idle.items() if amount >= 0.01}


def _computed(study: Study, spec: str, config: Mapping[str, Any] | None) -> Resources:
    import pydantic

    from raytune_suite.resolve import resolve
    from raytune_suite.study import Resources

    config = _example(study) if config is None else config
    function: Any = resolve(spec, study.project)
    answer = function(dict(config))
    try:
        return Resources.model_validate(answer)
    except pydantic.ValidationError as error:
        problems = [Problem(".".join(map(str, ("resources", *e["loc"]))), e["msg"], e["input"]) for e in error.errors()]
        raise StudyError(problems, source=f"resources from {spec} for {dict(config)!r}") from error


def _example(study: Study) -> dict[str, Any]:
    import numpy as np

    space = study.search_space
    point = space.complete(study.default or {}, np.random.default_rng(study.seed))
    return dict(space.config(point))


def _gpu(wanted: Resources, cluster: Cluster, forecast: int | None) -> tuple[float, str | None]:
    """The share of a GPU, and the only kind of GPU that will do, if there is one."""
    if wanted.trials_per_gpu == "auto":  # alone at first
        return (1.0 if cluster.gpus else 0.0), None
    if wanted.trials_per_gpu is not None:
        return share(wanted.trials_per_gpu), None
    among = [k for k in cluster.kinds if wanted.accelerator_type in (None, k.accelerator_type)]
    if wanted.gpu_memory is not None:
        kind, alone = landing(wanted.gpu_memory + CONTEXT, among)
        gpu = equal_share(wanted.gpu_memory + CONTEXT, kind.memory or 0)
        return gpu, kind.accelerator_type if alone else None
    if wanted.gpu != "auto":
        return float(wanted.gpu), None
    if forecast is None or not among or any(kind.memory is None for kind in among):
        return (1.0 if cluster.gpus else 0.0), None
    kind, alone = landing(forecast + CONTEXT, among)
    return fitting_share(forecast + CONTEXT, kind.memory or 0), kind.accelerator_type if alone else None


def _spread(wanted: Resources, cluster: Cluster, kind: str | None, max_concurrent: int | None) -> float:
    """The share that keeps trials from gathering on one GPU while others are free; 0 where memory decides.

    Ray fills a GPU before it takes the next. Where CPUs or ``max_concurrent`` allow few trials, each gets as much of a
    GPU as there is; those of unlike size only where it is a whole one, so that large ones still find room beside small.
    """
    name = wanted.accelerator_type or kind
    nodes = [n for n in (*cluster.nodes, *cluster.growth) if n.gpu and name in (None, n.accelerator_type)]
    gpus = math.floor(sum(node.gpu for node in nodes))
    bounds = [] if max_concurrent is None else [max_concurrent]
    if wanted.cpu:
        bounds.append(sum(_times(node.cpu, wanted.cpu) for node in nodes))
    if wanted.gpu != "auto" or not bounds or not gpus:
        return 0.0  # a fraction that was asked for is kept
    on_one = math.ceil(max(min(bounds), 1) / gpus)
    return share(on_one) if wanted.gpu_memory is not None or on_one == 1 else 0.0


def _custom(wanted: Resources) -> dict[str, float]:
    if wanted.memory is None:
        return dict(wanted.custom)
    if MEMORY in wanted.custom:
        raise PlanError("resources.memory and resources.custom.memory say the same thing twice: keep memory")
    return {**wanted.custom, MEMORY: float(wanted.memory)}


def _checked(wanted: Request) -> Request:
    if wanted.gpu > 1 and wanted.gpu != int(wanted.gpu):
        whole = f"{math.floor(wanted.gpu)} or {math.ceil(wanted.gpu)}"
        raise PlanError(f"resources.gpu above 1 must be whole, got {wanted.gpu:g}: ask for {whole}")
    for kind in set(_RESERVED).intersection(wanted.custom):
        raise PlanError(f"resources.custom cannot name {kind}: Ray owns that word; use resources.{kind.lower()}")
    if not wanted.bundle():
        raise PlanError("resources ask for nothing, so any number of trials would fit: set resources.cpu to at least 1")
    return wanted


def _times(available: float, amount: float) -> int:
    if amount <= 0:
        raise PlanError(f"a trial cannot ask for {amount:g} of a resource: leave it out of resources.custom")
    return round(available * STEP) // max(1, round(amount * STEP))


def _on_gpus(available: float, gpu: float) -> int:
    if gpu >= 1:
        return _times(available, gpu)
    return math.floor(available) * _times(1, gpu)  # a share never spans two GPUs


def _amount(node: Node, kind: str) -> float:
    return float(node.memory if kind == "memory" else node.custom.get(kind, 0))


def _impossible(wanted: Request, cluster: Cluster) -> str:
    nodes = [*cluster.nodes, *cluster.growth]
    if not nodes:
        return f"a trial asks for {wanted.describe()}, but the cluster has no node"
    missing = [kind for kind in _kinds(wanted) if not any(fits(_only(wanted, kind), node) for node in nodes)]
    largest = max(nodes, key=lambda node: (bool(wanted.gpu) * node.gpu, node.cpu))
    text = f"a trial asks for {wanted.describe()}, but no node can ever give it"
    text += f": the largest has {largest.describe()}"
    if missing:
        text += f" (too little everywhere: {', '.join(missing)})"
    return f"{text}. Ask for less under resources, or add a node that is large enough"


def _kinds(wanted: Request) -> list[str]:
    return [kind.removeprefix("accelerator_type:") for kind in wanted.bundle()]


def _only(wanted: Request, kind: str) -> Request:
    if kind == "CPU":
        return Request(cpu=wanted.cpu)
    if kind == "GPU":
        return Request(cpu=0, gpu=wanted.gpu)
    if kind == wanted.accelerator_type:
        return Request(cpu=STEP**-1, accelerator_type=kind)
    return Request(cpu=0, custom={kind: wanted.custom[kind]})
