"""What this machine has, seen without Ray: CPUs and memory within a container's limits, visible GPUs."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CGROUP = Path("/sys/fs/cgroup")
_MODEL = re.compile(r"\w+\s+((?:[A-Z]+\s+)*[A-Z0-9]*\d[A-Z0-9]*)")


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
    return [Gpu(int(r[0]), r[1], _mebibytes(r[2]), r[3], r[4]) for r in rows if len(r) == 5 and r[0].isdigit()]


def _mebibytes(text: str) -> int:
    return int(text) * 2**20 if text.isdigit() else 0


def _visible(gpus: list[Gpu], setting: str | None) -> list[Gpu]:
    """What CUDA would show: entries in order up to the first that names no GPU."""
    if setting is None:
        return gpus
    chosen: list[Gpu] = []
    for entry in (part.strip() for part in setting.split(",")):
        match = [g for g in gpus if entry == str(g.index) or (entry.startswith("GPU-") and g.uuid.startswith(entry))]
        if not match:
            break
        chosen.append(match[0])
    return chosen
