"""Random number generators: seeded, saved and restored together, and torch's global switches put back.

States are kept as tensors and plain ints: numpy's own tuples are refused by ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import hashlib
import os
import random
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, *path: str | int) -> int:
    """A seed of 63 bits that depends on ``seed`` and the names in ``path`` and on nothing else."""
    digest = hashlib.sha256("/".join(map(str, (seed, *path))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_all(seed: int) -> None:
    """Seed python, numpy's global generator, and torch on every device."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # also seeds every CUDA device, now or when CUDA starts


def generator(seed: int) -> torch.Generator:
    """A CPU generator of its own, for a data loader."""
    import torch

    return torch.Generator().manual_seed(seed)


def rng_state(device: torch.device) -> dict[str, Any]:
    """The state of every global generator, in types that load with ``weights_only=True``."""
    import torch

    version, numbers, gauss = random.getstate()
    bits: Any = np.random.get_state(legacy=False)
    state: dict[str, Any] = {
        "python": {"version": version, "numbers": torch.tensor(numbers, dtype=torch.int64), "gauss": gauss},
        "numpy": {
            "key": torch.from_numpy(bits["state"]["key"].astype(np.int64)),
            "pos": int(bits["state"]["pos"]),
            "has_gauss": int(bits["has_gauss"]),
            "gauss": float(bits["gauss"]),
        },
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_rng_state(state: dict[str, Any], device: torch.device) -> None:
    """Put back what :func:`rng_state` returned; a GPU's state is skipped on a machine without one."""
    import torch

    python, bits = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["numbers"].tolist()), python["gauss"]))
    np.random.set_state(
        {
            "bit_generator": "MT19937",
            "state": {"key": bits["key"].numpy().astype(np.uint32), "pos": bits["pos"]},
            "has_gauss": bits["has_gauss"],
            "gauss": bits["gauss"],
        }
    )
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


def be_deterministic() -> None:
    """Choose deterministic algorithms wherever torch has them; it warns where it has none."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when CUDA starts
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


class Switches:
    """torch's process-wide switches as they were, so that one trial's choice does not leak into the next."""

    def __init__(self) -> None:
        import torch

        self.dtype = torch.get_default_dtype()
        self.grad = torch.is_grad_enabled()
        self.deterministic = torch.are_deterministic_algorithms_enabled()
        self.warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        self.matmul = torch.get_float32_matmul_precision()
        self.benchmark = torch.backends.cudnn.benchmark
        self.cudnn_deterministic = torch.backends.cudnn.deterministic

    def restore(self) -> None:
        """Put them back."""
        import torch

        torch.set_default_dtype(self.dtype)
        torch.set_grad_enabled(self.grad)
        torch.use_deterministic_algorithms(self.deterministic, warn_only=self.warn_only)
        torch.set_float32_matmul_precision(self.matmul)
        torch.backends.cudnn.benchmark = self.benchmark
        torch.backends.cudnn.deterministic = self.cudnn_deterministic
