"""The processor a trial computes on: chosen, limited to its share, measured, and given back."""

from __future__ import annotations

import contextlib
import functools
import gc
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytune_suite.errors import TrainableError
from raytune_suite.shares import allocatable

if TYPE_CHECKING:
    import torch

MB = 2**20

# What torch and the CUDA libraries say when memory runs out but the exception is a bare RuntimeError.
_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory: you tried to allocate",
    "can't allocate memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "is killed by signal: killed",  # a loader's worker, of which Linux says no more
    "out of shared memory",
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether ``error``, or what caused it, means that GPU or host memory ran out."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        kind = getattr(error, "kind", None) or type(error).__name__  # of an error in another process
        if isinstance(error, MemoryError) or kind in ("OutOfMemoryError", "MemoryError"):
            return True
        text = str(error).lower()
        if isinstance(error, RuntimeError) and any(sign in text for sign in _OUT_OF_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


def claim(gpu: float, cpus: float, rank: int = 0) -> torch.device:
    """The device of a trial that was given ``gpu`` GPUs and ``cpus`` CPUs, with torch held to that share.

    torch uses as many threads as the trial has CPUs (at least one). A ``gpu`` below 1 limits what torch can
    allocate to that fraction of the device's memory, less what the CUDA context of the process takes. Raises
    :class:`TrainableError` if the trial was given a GPU that torch cannot see.
    """
    import torch

    torch.set_num_threads(max(1, int(cpus)))
    if gpu <= 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = "was built without CUDA" if torch.version.cuda is None else "sees no CUDA device"
        raise TrainableError(
            f"the trial was given {gpu:g} GPU but torch {torch.__version__} {built}. "
            "Install a CUDA build of torch, or set resources: {gpu: 0}"
        )
    device = torch.device("cuda", rank)  # the worker sees only its own GPUs
    torch.cuda.set_device(device)
    torch.cuda.set_per_process_memory_fraction(_fraction(float(gpu), device), device)
    return device


def _fraction(gpu: float, device: torch.device) -> float:
    """The part of the device's memory for tensors: the share less the context, at least half of the share."""
    if gpu >= 1:
        return 1.0
    import torch

    total = int(torch.cuda.get_device_properties(device).total_memory)
    return max(allocatable(gpu, total) / total, gpu / 2)


def start_peaks(device: torch.device) -> None:
    """Start measuring peak memory from here, so that a reused worker does not report an earlier trial's."""
    import torch

    with contextlib.suppress(OSError):  # not Linux, or not allowed: the peak is then the process's own
        Path("/proc/self/clear_refs").write_text("5")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def memory(device: torch.device, gpu: float = 1.0) -> dict[str, float]:
    """Peak memory in MiB since :func:`start_peaks`: ``memory/host_mb``, and ``memory/gpu_mb`` on a GPU.

    ``memory/gpu_of_share`` is the same as a part of what a share of ``gpu`` allows.

    Host memory is this process's resident set without loader workers; GPU memory is what torch's allocator
    reserved, which is what a share of a GPU has to hold (the CUDA context comes on top).
    """
    import torch

    found = {"memory/host_mb": round(_host_peak_mb(), 1)}
    if device.type == "cuda":
        peak, total = torch.cuda.max_memory_reserved(device), torch.cuda.get_device_properties(device).total_memory
        found["memory/gpu_mb"] = round(peak / MB, 1)
        found["memory/gpu_of_share"] = round(peak / (_fraction(gpu, device) * total), 4)
    return found


def _host_peak_mb() -> float:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MB if sys.platform == "darwin" else peak / 1024


def utilisation(device: torch.device) -> dict[str, float]:
    """``gpu/utilisation`` in percent of the last moment, for the whole GPU; nothing without pynvml."""
    if device.type != "cuda":
        return {}
    import torch

    try:
        return {"gpu/utilisation": float(torch.cuda.utilization(device))}
    except Exception as error:  # pynvml raises its own types; a metric that cannot be read is left out
        if type(error).__module__.split(".")[0] not in ("pynvml", "torch", "builtins"):
            raise
        return {}


def release(device: torch.device | None) -> None:
    """Collect what is no longer referred to and hand cached GPU memory back to the driver."""
    gc.collect()
    if device is None or device.type != "cuda":
        return
    import torch

    torch.cuda.synchronize(device)
    # cuBLAS's workspaces live in torch's allocator: 64 MiB on an H200 that would stay taken between trials
    if clear := getattr(torch._C, "_cuda_clearCublasWorkspaces", None):
        clear()
    torch.cuda.empty_cache()


@functools.cache
def settle() -> None:
    """Once a process, between two trials: exempt what lives now, imported modules, from garbage collection.

    With torch and Ray loaded a full collection walks over a million objects, 0.15 s, more than a short trial
    trains; afterwards it only sees what trials leave behind.
    """
    gc.collect()
    gc.freeze()


def move(batch: Any, device: torch.device) -> Any:
    """``batch`` on ``device``: tensors moved inside tuples, lists and dicts, everything else as it is."""
    import torch

    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: move(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(move(value, device) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(move(value, device) for value in batch)
    return batch


def samples_in(batch: Any) -> int:
    """How many samples a batch holds: the length of the first tensor found in it, 0 if there is none."""
    import torch

    if isinstance(batch, torch.Tensor):
        return int(batch.shape[0]) if batch.ndim else 1
    values = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, (list, tuple)) else ()
    return next((n for n in map(samples_in, values) if n), 0)
