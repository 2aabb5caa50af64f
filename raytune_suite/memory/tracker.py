"""Every tensor that comes and goes while a step is rehearsed, without its contents. Runs in the child process."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Event = tuple[int, int]
"""A storage, by number, and its bytes; 0 bytes when it goes."""


class Tracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every storage that an operator makes, and its end, in their order: ``events``.

    A tensor without contents has no numbers: where the code asks for one (``.item()``, ``float(loss)``) it is taken to
    be 1, and every yes or no to be no. ``read`` counts the whole numbers among them: sizes may depend on those.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.events: list[Event] = []
        self.bytes = self.peak = 0
        self.read = 0
        self._living: dict[int, int] = {}
        self._count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and look at what it made."""
        if func is torch.ops.aten._local_scalar_dense.default:
            made_up = _made_up(args[0])
            self.read += type(made_up) is int
            return made_up
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.note(leaf)
        return result

    def note(self, tensor: torch.Tensor) -> None:
        """Count the storage of a tensor, once."""
        storage = tensor.untyped_storage()
        handle = storage._cdata
        if handle in self._living:
            return
        self._count += 1
        size = storage.nbytes()
        self._living[handle] = self._count
        self.events.append((self._count, size))
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._gone, handle, self._count, size)

    def _gone(self, handle: int, number: int, size: int) -> None:
        self._living.pop(handle, None)
        self.events.append((number, 0))
        self.bytes -= size


def _made_up(tensor: torch.Tensor) -> Any:
    if tensor.dtype == torch.bool:
        return False
    return 1.0 if tensor.is_floating_point() else 1


@contextmanager
def without_contents() -> Iterator[tuple[FakeTensorMode, Tracker]]:
    """While this lasts, tensors have shapes and no contents, and all of them are written down."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, Tracker() as tracker:
        yield mode, tracker
