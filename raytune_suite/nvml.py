"""What NVIDIA's driver tells of a GPU: its memory, who holds it, how busy it is.

Asked through ``nvidia-ml-py`` (the ``gpu`` extra). Without it, without a driver, or where the driver does not tell,
the answer is None: nothing here is needed for training.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Holder:
    """A process that holds memory of a GPU: its id, its command line, bytes (None where the driver does not say)."""

    pid: int
    command: str
    memory: int | None

    def describe(self) -> str:
        """As in ``process 4711 (python train.py, 18.2 GiB)``."""
        size = f"{self.memory / 2**30:.1f} GiB" if self.memory is not None else "memory not told"
        return f"process {self.pid} ({self.command}, {size})"


@dataclass(frozen=True)
class Reading:
    """A GPU at one moment: its name, bytes free and in all, percent of the last moment it was busy, who holds it."""

    name: str
    free: int
    total: int
    busy: float | None
    holders: tuple[Holder, ...]


def visible(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs this process sees, in CUDA's order: numbers or UUIDs; GPU 0 if nothing is said."""
    return [entry.strip() for entry in environ.get("CUDA_VISIBLE_DEVICES", "0").split(",") if entry.strip()]


def read(device: str) -> Reading | None:
    """Read a GPU, given by its number or UUID; None where nobody tells."""
    with _opened() as nvml:
        handle = _handle(nvml, device) if nvml is not None else None
        memory = _ask(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle)) if handle is not None else None
        if memory is None:
            return None
        name = _ask(nvml, lambda: nvml.nvmlDeviceGetName(handle)) or "GPU"
        rates = _ask(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        running = _ask(nvml, lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle)) or ()
        holders = tuple(Holder(int(p.pid), _command(int(p.pid)), _bytes(p.usedGpuMemory)) for p in running)
        busy = float(rates.gpu) if rates is not None else None
        return Reading(_text(name), int(memory.free), int(memory.total), busy, holders)


@contextmanager
def _opened() -> Iterator[Any]:
    """The library, started; None where it is not there or finds no driver."""
    try:
        import pynvml
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _handle(nvml: Any, device: str) -> Any:
    if device.isdigit():
        return _ask(nvml, lambda: nvml.nvmlDeviceGetHandleByIndex(int(device)))
    return _ask(nvml, lambda: nvml.nvmlDeviceGetHandleByUUID(device)) if device else None


def _ask(nvml: Any, question: Callable[[], Any]) -> Any:
    """The answer, or None if the driver does not support the question (on slices of a GPU, in containers)."""
    try:
        return question()
    except nvml.NVMLError:
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _bytes(value: Any) -> int | None:
    return int(value) if isinstance(value, int) else None


def _command(pid: int) -> str:
    """The command line of a process, shortened; it may be in another container or belong to somebody else."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "not of this container"
    line = " ".join(word for word in words if word)
    return line if len(line) <= 60 else f"{line[:57]}..."
