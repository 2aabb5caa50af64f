"""A driver of NVIDIA's in a few lines: a module that answers as ``pynvml`` does, with its errors and its types."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """As pynvml's, by its text."""


def fake_pynvml(gpus: list[dict[str, Any]], *, driver: bool = True) -> ModuleType:
    """A module for ``sys.modules["pynvml"]``; each GPU has ``uuid``, ``total``, ``used``, ``busy`` and ``running``.

    ``running`` maps process ids to bytes (None: the driver does not say, as on slices and in containers). A GPU without
    ``busy`` does not support the question. Without a ``driver`` nothing can be started, as on a machine without one.
    """
    module: Any = ModuleType("pynvml")
    started: list[bool] = []

    def start() -> None:
        if not driver:
            raise NVMLError("NVML Shared Library Not Found")
        started.append(True)

    def by_index(index: int) -> dict[str, Any]:
        if not started:
            raise NVMLError("Uninitialized")
        if not 0 <= index < len(gpus):
            raise NVMLError("Invalid Argument")
        return gpus[index]

    def by_uuid(uuid: str) -> dict[str, Any]:
        for gpu in gpus:
            if gpu["uuid"] == uuid:
                return gpu
        raise NVMLError("Not Found")

    def rates(gpu: dict[str, Any]) -> Any:
        if gpu.get("busy") is None:
            raise NVMLError("Not Supported")
        return SimpleNamespace(gpu=gpu["busy"], memory=0)

    def memory(gpu: dict[str, Any]) -> Any:
        return SimpleNamespace(total=gpu["total"], used=gpu["used"], free=gpu["total"] - gpu["used"])

    module.NVMLError, module.nvmlInit, module.nvmlShutdown = NVMLError, start, started.pop
    module.nvmlDeviceGetHandleByIndex, module.nvmlDeviceGetHandleByUUID = by_index, by_uuid
    module.nvmlDeviceGetMemoryInfo, module.nvmlDeviceGetUtilizationRates = memory, rates
    module.nvmlDeviceGetName = lambda gpu: gpu.get("name", b"NVIDIA A100-SXM4-40GB")
    module.nvmlDeviceGetComputeRunningProcesses = lambda gpu: [
        SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in gpu.get("running", {}).items()
    ]
    module.started = started
    return module
