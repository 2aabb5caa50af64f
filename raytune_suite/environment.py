"""The software a process runs with: captured on driver and workers, compared, shown as one table.

Only facts that may change numbers or break imports are taken, and only from an explicit list of environment
variables; values of any other variable, and so secrets, never enter the record.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_LAUNCH_BLOCKING",
    "KMP_AFFINITY",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "NCCL_ALGO",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "PYTORCH_CUDA_ALLOC_CONF",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
"""The environment variables whose values are recorded: they change numbers or which software runs."""

_HERE = ("host", "pid", "gpus", "driver", "cpu", "cpus", "threads", "packages_sha256", "executable", "uv_run")
"""Facts that may differ from machine to machine, or follow from a trial's own resources."""
_FLAGS = (
    *("deterministic_algorithms", "matmul_precision", "default_dtype"),
    *("cudnn_benchmark", "cudnn_deterministic", "cudnn_tf32"),
)
_BOTH = ("torch.loaded", "torch.cu", "flags.", "project.")
"""Facts only some processes have (torch loaded, a git checkout): compared where both sides do."""
_PER_TRIAL = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that Ray and the worker set from a trial's CPUs: recorded, not compared with the driver's."""


@dataclass(frozen=True)
class Difference:
    """One fact that is not the same; ``None`` where a side does not have it."""

    key: str
    driver: str | None
    worker: str | None


def capture(project: Path) -> dict[str, Any]:
    """The facts of this process, JSON able: nested by topic, about 10 KB.

    Torch is never imported for it: what only torch can tell (threads, flags) is taken where the process has
    it loaded, as a worker does.
    """
    packages = _packages()
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": f"{platform.system()} {platform.machine()}",
        "executable": sys.executable,
        "environment": _kind(),
        "uv_run": "UV_RUN_RECURSION_DEPTH" in os.environ,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "cpu": {"model": _cpu_model(), **_cpu_capability()},
        "cpus": _cpus(),
        "packages": packages,
        "packages_sha256": _sha256(packages),
        "project": _project(str(project)),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        **_gpus(),
        **_torch(packages),
    }


def fingerprint(facts: Mapping[str, Any]) -> str:
    """Twelve hex digits: equal for processes that run the same software on the same kind of hardware."""
    lasting = {key: value for key, value in facts.items() if key not in ("host", "pid")}
    return _sha256(lasting)[:12]


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    """What differs between the driver ``a`` and a worker ``b`` and should not; host, pid and GPUs may."""
    left, right = _flat(a), _flat(b)
    keys = left.keys() | {key for key in right if not key.startswith(_BOTH)}
    keys = {key for key in keys if key in right or not key.startswith(_BOTH)}
    unequal = [key for key in sorted(keys) if left.get(key) != right.get(key)]
    return [Difference(key, left.get(key), right.get(key)) for key in unequal]


def numerics(recorded: Mapping[str, Any], here: Mapping[str, Any], gpu: bool = False) -> list[Difference]:
    """What differs between two processes and may change the last bits of a computation.

    Kind of CPU, build of torch, threads, torch's switches, the listed variables; with ``gpu`` also what concerns GPUs.
    What one side does not know is no difference.
    """
    left, right = _leaves(_numeric(recorded, gpu)), dict(_leaves(_numeric(here, gpu)))
    known = [(key, str(value), str(right[key])) for key, value in left if value is not None]
    return [Difference(key, value, other) for key, value, other in known if right[key] is not None and value != other]


def table(differences: list[Difference], left: str = "driver", right: str = "worker") -> str:
    """The differences as aligned text: a line each, under a heading."""
    rows = [("what", left, right)]
    rows += [(d.key, d.driver or "(absent)", d.worker or "(absent)") for d in differences]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows)


def describe(facts: Mapping[str, Any]) -> list[str]:
    """The facts as lines for people; packages counted, not listed."""
    packages = f"{len(facts.get('packages', {}))} ({str(facts.get('packages_sha256'))[:12]})"
    rest = {key: value for key, value in facts.items() if key not in ("packages", "packages_sha256")}
    rows = [("packages", packages), *_leaves(rest)]
    width = max(len(key) for key, _ in rows)
    return [f"{key:<{width}}  {value}" for key, value in rows]


def _flat(facts: Mapping[str, Any]) -> dict[str, str]:
    """The facts that must agree, with dotted keys."""
    kept = {key: value for key, value in facts.items() if key not in _HERE}
    skipped = {f"variables.{name}" for name in _PER_TRIAL}
    return {key: str(value) for key, value in _leaves(kept) if key not in skipped and value is not None}


def _numeric(facts: Mapping[str, Any], gpu: bool) -> dict[str, Any]:
    """The facts that a computation depends on."""
    torch, threads = facts.get("torch") or {}, facts.get("threads") or {}
    flags = facts.get("flags") or {}
    found = {
        "platform": facts.get("platform"),
        "cpu": {name: (facts.get("cpu") or {}).get(name) for name in ("model", "torch_capability")},
        "torch": {name: torch.get(name) for name in ("version", "loaded", "built_for")},
        "numpy": (facts.get("packages") or {}).get("numpy"),
        "threads": threads.get("torch"),
        "flags": {name: flags.get(name) for name in _FLAGS if gpu or not name.startswith("cudnn")},
        "variables": {name: (facts.get("variables") or {}).get(name) or "(absent)" for name in VARIABLES},
    }
    if gpu:
        gpus = facts.get("gpus") or ["none"]
        found |= {"gpu": gpus[0], "driver": facts.get("driver"), "cuda": {n: torch.get(n) for n in ("cuda", "cudnn")}}
    return found


def _leaves(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        return [(prefix, value)]
    inner = [_leaves(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items()]
    return [leaf for leaves in inner for leaf in leaves]


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


@cache
def _packages() -> dict[str, str]:
    """Every installed distribution's version by normalised name; the one found first on the path counts.

    Read from the names of the ``.dist-info`` folders: every worker does this when it starts, and parsing each
    package's metadata as importlib does takes fifty times as long.
    """
    found: dict[str, str] = {}
    for entry in sys.path:
        folder = Path(entry or ".")
        for item in folder.glob("*.dist-info") if folder.is_dir() else ():
            name, _, version = item.stem.partition("-")
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return dict(sorted(found.items()))


def _kind() -> str:
    """What made this Python environment: uv, conda, venv or the system."""
    if (Path(sys.prefix) / "conda-meta").is_dir():
        return "conda"
    if sys.prefix == sys.base_prefix:
        return "system"
    marker = Path(sys.prefix) / "pyvenv.cfg"
    made_by_uv = marker.is_file() and re.search(r"^uv\s*=", marker.read_text(encoding="utf-8"), re.M)
    return "uv" if made_by_uv else "venv"


def _cpus() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else (os.cpu_count() or 1)


@cache
def _cpu_model() -> str | None:
    """The kind of CPU, as the kernel calls it."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.is_file() else ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return match[1].strip() if match else platform.processor() or None


def _cpu_capability() -> dict[str, str]:
    """The instructions torch has chosen its kernels for, where it is loaded."""
    torch = sys.modules.get("torch")
    cpu = getattr(getattr(torch, "backends", None), "cpu", None)
    return {} if cpu is None else {"torch_capability": str(cpu.get_cpu_capability())}


@cache
def _project(folder: str) -> dict[str, Any]:
    """The git commit of the project and whether its files differ from it."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def _git(folder: str, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", folder, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


@cache
def _gpus() -> dict[str, Any]:
    from raytune_suite.hardware import visible_gpus

    gpus = visible_gpus()
    return {"gpus": [gpu.name for gpu in gpus], "driver": gpus[0].driver if gpus else None}


def _torch(packages: Mapping[str, str]) -> dict[str, Any]:
    """Torch's version and CUDA from what is installed; from the loaded module what only it knows."""
    installed = {"version": packages.get("torch"), "built_for": _torch_build()}
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_num_threads"):
        return {"torch": installed}
    loaded = {"loaded": str(torch.__version__), "cuda": torch.version.cuda, "cudnn": _cudnn(torch)}
    return {
        "torch": {**installed, **loaded},
        "threads": {"torch": torch.get_num_threads(), "interop": torch.get_num_interop_threads()},
        "flags": _flags(torch),
    }


@cache
def _torch_build() -> str | None:
    """What the installed torch was built for, read from its source: ``cpu``, or ``cuda 13.0``."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return None
    source = Path(found.origin).with_name("version.py")
    text = source.read_text(encoding="utf-8") if source.is_file() else ""
    match = re.search(r"^(cuda|hip|xpu)\b[^=\n]*=\s*['\"]([^'\"]+)", text, re.M)
    return f"{match[1]} {match[2]}" if match else "cpu"


def _cudnn(torch: Any) -> int | None:
    version: int | None = torch.backends.cudnn.version() if torch.version.cuda else None
    return version


def _flags(torch: Any) -> dict[str, Any]:
    """The switches of torch that change numbers, at the time of asking."""
    cudnn = torch.backends.cudnn
    return {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_benchmark": cudnn.benchmark,
        "cudnn_deterministic": cudnn.deterministic,
        "cudnn_tf32": cudnn.allow_tf32,
        "default_dtype": str(torch.get_default_dtype()),
    }


def recorded(experiment: Path) -> dict[str, dict[str, Any]]:
    """The environments of an experiment's workers by their fingerprints, in the order they were seen."""
    from raytune_suite.journal import read

    return {event["id"]: event["facts"] for event in read(experiment) if event["event"] == "environment"}
