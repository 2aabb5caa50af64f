"""What this machine and a Ray session have: CPUs within their limits, memory, GPUs."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

AUTOSCALING = "RAYTUNE_AUTOSCALING"
BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")
"""Where ``ray up`` leaves the whole cluster configuration on a head node."""
_CGROUP = Path("/sys/fs/cgroup")
_BUILT_IN = ("CPU", "GPU", "memory", "object_store_memory")
_MODEL = re.compile(r"\w+\s+((?:[A-Z]+\s+)*[A-Z0-9]*\d[A-Z0-9]*)")


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
            parts.append(
                f"{self.gpu:g} GPU" + (f" ({self.accelerator_type})" if self.accelerator_type else "")
            )
        return ", ".join([*parts, *(f"{count:g} {kind}" for kind, count in self.custom.items())])


@dataclass(frozen=True)
class Gpu:
    """One visible GPU: its place in the driver's order, product name, bytes of memory, driver version."""

    index: int
    name: str
    memory: int
    driver: str
    uuid: str = ""

    @property
    def accelerator_type(self) -> str:
        """Ray's name for the model: ``NVIDIA A100-SXM4-40GB`` is ``A100``."""
        match = _MODEL.match(self.name)
        return (match.group(1) if match else self.name.removeprefix("NVIDIA ")).replace(" ", "-")


def local_node() -> Node:
    """This machine as a node, without Ray."""
    gpus = visible_gpus()
    return Node(
        cpu=usable_cpus(),
        gpu=len(gpus),
        memory=usable_memory(),
        accelerator_type=gpus[0].accelerator_type if gpus else None,
        gpu_memory=min((gpu.memory for gpu in gpus), default=None),
        name="this machine",
    )


def usable_cpus(cgroup: Path = _CGROUP) -> int:
    """CPUs this process may use: its affinity, cut by a container's quota; at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    quota = _quota(cgroup)
    return max(1, min(count, int(quota)) if quota else count)


def usable_memory(cgroup: Path = _CGROUP) -> int:
    """Bytes of memory this process may use: the machine's, cut by a container's limit."""
    import psutil

    total = int(psutil.virtual_memory().total)
    limits = [_number(cgroup / "memory.max"), _number(cgroup / "memory" / "memory.limit_in_bytes")]
    return min([total, *(int(limit) for limit in limits if limit)])


def visible_gpus(environ: Mapping[str, str] = os.environ) -> list[Gpu]:
    """The NVIDIA GPUs this process may use, ``CUDA_VISIBLE_DEVICES`` applied; empty without a driver."""
    gpus = _from_nvml()
    return _visible(gpus if gpus is not None else _from_smi(), environ.get("CUDA_VISIBLE_DEVICES"))


def ray_nodes() -> tuple[Node, ...]:
    """The living nodes of the Ray session of this process."""
    import ray

    return tuple(node_of(n["Resources"], n.get("NodeManagerAddress", "")) for n in ray.nodes() if n["Alive"])


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


def _quota(cgroup: Path) -> float | None:
    """CPUs a container may use (cgroup version 2, else 1); None without a limit."""
    if (cgroup / "cpu.max").is_file():
        quota, period = (cgroup / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    old_quota, old_period = (
        _number(cgroup / "cpu/cpu.cfs_quota_us"),
        _number(cgroup / "cpu/cpu.cfs_period_us"),
    )
    return old_quota / old_period if old_quota and old_period else None


def _number(path: Path) -> float | None:
    try:
        value = int(path.read_text())
    except (OSError, ValueError):
        return None
    return value if value > 0 else None


def _from_nvml() -> list[Gpu] | None:
    """GPUs by NVML; None when its Python package or the driver is not there."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        return [_nvml_gpu(pynvml, index, driver) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _nvml_gpu(pynvml: Any, index: int, driver: str) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    name, uuid = _text(pynvml.nvmlDeviceGetName(handle)), _text(pynvml.nvmlDeviceGetUUID(handle))
    return Gpu(index, name, memory, driver, uuid)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _from_smi() -> list[Gpu]:
    """GPUs by the nvidia-smi program; empty when it is not there or finds none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = "--query-gpu=index,name,memory.total,driver_version,uuid"
    command = [program, query, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = csv.reader(done.stdout.splitlines(), skipinitialspace=True)
    return [
        Gpu(int(r[0]), r[1], _mebibytes(r[2]), r[3], r[4]) for r in rows if len(r) == 5 and r[0].isdigit()
    ]


def _mebibytes(text: str) -> int:
    return int(text) * 2**20 if text.isdigit() else 0


def _visible(gpus: list[Gpu], setting: str | None) -> list[Gpu]:
    """What CUDA would show: entries in order up to the first that names no GPU."""
    if setting is None:
        return gpus
    chosen: list[Gpu] = []
    for entry in (part.strip() for part in setting.split(",")):
        match = [
            g
            for g in gpus
            if entry == str(g.index) or (entry.startswith("GPU-") and g.uuid.startswith(entry))
        ]
        if not match:
            break
        chosen.append(match[0])
    return chosen
