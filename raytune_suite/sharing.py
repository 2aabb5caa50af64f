"""What a worker does before a trial computes on its part of a GPU: it sees no other, and waits until it is free.

Ray's numbers of GPUs are the driver's, in the order of the bus; CUDA would count them by speed unless told otherwise.
Where the daemon of CUDA MPS runs, trials that share a GPU compute on it at the same time instead of in turns, and the
driver itself holds each to its part of the memory.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path

from raytune_suite import nvml
from raytune_suite.errors import TrainableError

WAIT = "RAYTUNE_GPU_WAIT"
"""How many seconds a trial waits until its part of a GPU is free; 0: its memory is not looked at."""
_WAIT_S = 60.0
_LOOK_AGAIN_S = 1.0
_ENOUGH = 0.9
"""So much of its part must be free: the driver keeps some of each GPU for itself."""
_MPS = Path("/tmp/nvidia-mps")


class GpuHeldError(TrainableError):
    """The memory a trial was given is held by somebody else."""


def see(gpu: float, environ: MutableMapping[str, str] = os.environ) -> None:
    """Let CUDA see what the trial was given, in Ray's order, before it starts: without a GPU none at all."""
    environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if gpu <= 0:
        environ["CUDA_VISIBLE_DEVICES"] = ""


def join_mps(gpu: float, environ: MutableMapping[str, str] = os.environ) -> bool:
    """Make the process a client of MPS if the daemon runs here and the GPU is shared; whether it was done.

    It counts only if CUDA has not started in the process. What users have set stays as it is.
    """
    if not 0 < gpu < 1 or (pipes := mps(environ)) is None:
        return False
    environ["CUDA_MPS_PIPE_DIRECTORY"] = str(pipes)
    for reading in filter(None, map(nvml.read, nvml.visible(environ)[:1])):
        limit = max(1, math.floor(gpu * reading.total / 2**20))
        environ.setdefault("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", f"0={limit}M")
    return True


def mps(environ: MutableMapping[str, str] = os.environ) -> Path | None:
    """The folder in which the daemon of CUDA MPS listens, if one runs on this machine."""
    pipes = Path(environ.get("CUDA_MPS_PIPE_DIRECTORY") or _MPS)
    try:
        pid = int((pipes / "nvidia-cuda-mps-control.pid").read_text())
        os.kill(pid, 0)
    except PermissionError:  # it runs, for another user
        return pipes
    except (OSError, ValueError):
        return None
    return pipes


def wait_for_room(
    gpu: float,
    most_s: float | None = None,
    *,
    read: Callable[[str], nvml.Reading | None] = nvml.read,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[nvml.Reading]:
    """Wait until the GPUs have room for what a trial was given of them; their last readings, none where nobody tells.

    What this process holds from an earlier trial counts as free. Raises :class:`GpuHeldError` naming the processes
    that hold the memory, after ``most_s`` seconds (by default what :data:`WAIT` says, or a minute).
    """
    patience = _patience() if most_s is None else most_s
    if gpu <= 0 or patience <= 0:
        return []
    until, found = clock() + patience, []
    for device in nvml.visible()[: max(1, int(gpu))]:
        while (reading := read(device)) is not None and room(reading) < _ENOUGH * min(gpu, 1.0) * reading.total:
            if clock() >= until:
                raise GpuHeldError(_held(gpu, device, reading, patience))
            sleep(_LOOK_AGAIN_S)
        found += [reading] if reading is not None else []
    return found


def room(reading: nvml.Reading) -> int:
    """Bytes that are free, or this process's own."""
    return reading.free + sum(holder.memory or 0 for holder in reading.holders if holder.pid == os.getpid())


def _patience() -> float:
    text = os.environ.get(WAIT) or str(_WAIT_S)
    try:
        return float(text)
    except ValueError:
        raise TrainableError(f"{WAIT} must be a number of seconds, not {text!r}") from None


def _held(gpu: float, device: str, reading: nvml.Reading, patience: float) -> str:
    others = [holder.describe() for holder in reading.holders if holder.pid != os.getpid()]
    wanted, free = min(gpu, 1.0) * reading.total / 2**30, room(reading) / 2**30
    return (
        f"GPU {device} ({reading.name}) has {free:.1f} GiB free, and the trial was given {wanted:.1f} GiB of it; "
        f"waited {patience:g} s. It is held by {', '.join(others) or 'processes that the driver does not name'}. "
        f"End them, leave that GPU out of CUDA_VISIBLE_DEVICES, or set {WAIT}=0 to try all the same"
    )
