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

from raytune_suite.errors import PlanError

_CGROUP = Path("/sys/fs/cgroup")
_MODEL = re.compile(r"\w+\s+((?:[A-Z]+\s+)*[A-Z0-9]*\d[A-Z0-9]*)")
_DECLARED = re.compile(r"(\d+)\s*x\s*(\d+(?:\.\d+)?)\s*([KMGT])iB(?:\s+(\S.*))?")

DECLARED = "RAYTUNE_GPUS"
"""Says which GPUs this machine is to be taken to have: ``4x24GiB``, or ``2x40GiB A100, 1x80GiB H100``."""


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
        if self.driver == DECLARED:
            return self.name
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
    """The NVIDIA GPUs this process may use, ``CUDA_VISIBLE_DEVICES`` applied; empty without a driver.

    A slice of a GPU (MIG) counts as a GPU where ``CUDA_VISIBLE_DEVICES`` names it. What :data:`DECLARED` says is
    taken instead of all this. Raises PlanError if that cannot be read.
    """
    if declared := environ.get(DECLARED):
        return _declared(declared)
    gpus = _from_nvml()
    return _visible(gpus if gpus is not None else _from_smi(), environ.get("CUDA_VISIBLE_DEVICES"))


def slices(environ: Mapping[str, str] = os.environ) -> int | None:
    """How many MIG slices ``CUDA_VISIBLE_DEVICES`` names, which Ray would not count by itself; None without any."""
    named = [entry for entry in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip().startswith("MIG-")]
    return len(named) or None


def _declared(text: str) -> list[Gpu]:
    found: list[Gpu] = []
    for entry in text.split(","):
        match = _DECLARED.fullmatch(entry.strip())
        if match is None:
            raise PlanError(f"{DECLARED} must be as in 4x24GiB or 2x40GiB A100, 1x80GiB H100, not {text!r}")
        memory = int(float(match[2]) * 1024 ** ("KMGT".index(match[3]) + 1))
        found += [Gpu(len(found) + n, match[4] or "", memory, DECLARED) for n in range(int(match[1]))]
    return found


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
        count = pynvml.nvmlDeviceGetCount()
        return [gpu for index in range(count) for gpu in _with_slices(pynvml, index, driver)]
    finally:
        pynvml.nvmlShutdown()


def _with_slices(pynvml: Any, index: int, driver: str) -> list[Gpu]:
    """A GPU, and the slices it is divided into."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    found = [_nvml_gpu(pynvml, handle, index, driver)]
    try:
        most = pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except pynvml.NVMLError:
        return found
    for number in range(most):
        try:
            part = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
        except pynvml.NVMLError:
            continue  # slices need not be numbered without gaps
        found.append(_nvml_gpu(pynvml, part, index, driver))
    return found


def _nvml_gpu(pynvml: Any, handle: Any, index: int, driver: str) -> Gpu:
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
        return _first_each(gpus)
    chosen: list[Gpu] = []
    for entry in (part.strip() for part in setting.split(",")):
        by_name = entry.startswith(("GPU-", "MIG-"))
        match = [g for g in gpus if (g.uuid.startswith(entry) if by_name else entry == str(g.index))]
        if not match:
            break
        chosen.append(match[0])
    return chosen


def _first_each(gpus: list[Gpu]) -> list[Gpu]:
    """Of a GPU that is divided CUDA shows the first slice, unless others are named."""
    shown: dict[int, Gpu] = {}
    for gpu in gpus:
        if gpu.index not in shown or (gpu.uuid.startswith("MIG-") and not shown[gpu.index].uuid.startswith("MIG-")):
            shown[gpu.index] = gpu
    return list(shown.values())
