"""A model whose gradients are averaged over several processes, and which otherwise looks like the model."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel


class Replica(DistributedDataParallel):
    """DDP with the attributes and the names of the model itself.

    Buffers are not sent at every pass: in evaluation the processes have different numbers of batches. They are made
    alike after every epoch.
    """

    def __init__(self, model: nn.Module) -> None:
        where = next(model.parameters()).device
        known = inspect.signature(DistributedDataParallel.__init__).parameters
        option: Any = {"forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False}
        super().__init__(model, device_ids=[where] if where.type == "cuda" else None, **option)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)

    def state_dict(self, *arguments: Any, **options: Any) -> Any:
        """That of the model."""
        return self.module.state_dict(*arguments, **options)

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        """That of the model."""
        return self.module.load_state_dict(*arguments, **options)
