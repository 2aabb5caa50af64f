"""One training step of a configuration without its numbers: what it would allocate. Runs in the child process.

The trainable itself runs, on tensors that have shapes and no contents: it builds its model and optimiser, trains two
batches (the second with the optimiser's state in place) and measures one. It runs for the device ``cpu``, so that no
GPU is touched and none need be there; where a GPU would behave otherwise, :func:`as_on_a_gpu` says so to torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map_only

from raytune_suite.memory.allocator import CachingAllocator
from raytune_suite.memory.tracker import Event, Tracker, without_contents
from raytune_suite.trainable import Context, Data, TorchTrainable, seeding
from raytune_suite.trainable.data import close_loader

TRAINED, MEASURED = 2, 1
"""Batches: the second is trained with the optimiser's state in place."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of one configuration: at most at a time (``allocated``), and as the CUDA allocator lays it out.

    ``parameters``, ``optimizer``: what of it stays from step to step; gradients are as large as the parameters.
    ``read``: how many whole numbers the code read back, each taken to be 1.
    """

    allocated: int
    reserved: int
    parameters: int = 0
    optimizer: int = 0
    read: int = 0

    def as_dict(self) -> dict[str, int]:
        """For a message."""
        return asdict(self)


class Cut:
    """The first batches of a loader, without contents; it has the length of the whole."""

    def __init__(self, loader: Iterable[Any], batches: int) -> None:
        self._loader, self._batches = loader, batches
        self._read: list[Any] | None = None

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __iter__(self) -> Iterator[Any]:
        if self._read is None:
            with _disable_current_modes():
                self._read = list(islice(self._loader, self._batches))
                close_loader(self._loader)
        for batch in self._read:
            # one copy each, as when a batch is moved to a GPU
            yield tree_map_only(torch.Tensor, torch.clone, batch)


class Rehearsal(TorchTrainable):
    """Put before a user's class: the same code, cut short and without contents."""

    def _start(self, config: Mapping[str, Any], context: Context) -> None:
        self._blank(config, context)
        self.device = torch.device("cpu")
        self.compile = False
        self._prepared = self.prepare(context.data_dir, self.config)
        seeding.seed_all(seeding.derive(context.seed, "data"))

    def build_data(self) -> Data:
        """The user's loaders, made and read for real."""
        with _disable_current_modes():
            data = super().build_data()
        if not isinstance(data, Data):
            return data
        held = None if data.test is None else _cut(data.test, MEASURED)
        return Data(_cut(data.train, TRAINED), _cut(data.validation, MEASURED), held)

    def loader(self, *data: Any, **options: Any) -> Any:
        """The user's loader, without processes of its own."""
        with _disable_current_modes():
            return _cut(super().loader(*data, **{**options, "num_workers": 0}), TRAINED)

    def rehearse(self) -> None:
        """Build, train and measure."""
        self.build()
        self.scaler = torch.amp.GradScaler("cpu", enabled=False)  # it would read its scale back to decide
        self.iteration = self.epoch = 1
        self._set_training(True)
        self.train_epoch()
        self._set_training(False)
        with torch.no_grad():
            self.evaluate(self.data.validation if self.data is not None else None)

    def kept(self) -> tuple[int, int]:
        """Bytes of parameters and buffers, and of the states of optimisers."""
        modules = [value for value in vars(self).values() if isinstance(value, nn.Module)]
        optimizers = [value for value in vars(self).values() if isinstance(value, torch.optim.Optimizer)]
        tensors = [t for module in modules for t in (*module.parameters(), *module.buffers())]
        states = [s for one in optimizers for state in one.state.values() for s in state.values()]
        return _bytes(tensors), _bytes([s for s in states if isinstance(s, torch.Tensor)])


def rehearse(
    cls: type[TorchTrainable], config: Mapping[str, Any], context: Context, *, repeats: int = 1, on_gpu: bool = True
) -> Footprint:
    """What one training step of a configuration allocates; ``repeats`` of it side by side.

    ``on_gpu`` False: as it would on a CPU, which is what can be compared with a real step anywhere.
    Raises whatever the code raises that cannot run without contents.
    """
    rehearsed = type(f"{cls.__name__}Rehearsed", (Rehearsal, cls), {})(config, context)
    with as_on_a_gpu(on_gpu), without_contents() as (_, tracker):
        rehearsed.rehearse()
        parameters, optimizer = rehearsed.kept()
        peak, events, read = tracker.peak, list(tracker.events), tracker.read
    reserved = laid_out(events, repeats).peak_reserved
    return Footprint(peak * repeats, reserved, parameters * repeats, optimizer * repeats, read)


def laid_out(events: Iterable[Event], repeats: int = 1) -> CachingAllocator:
    """What the CUDA allocator makes of these events, ``repeats`` times at once in one process."""
    allocator = CachingAllocator()
    for number, size in events:
        for turn in range(repeats):
            key = number * repeats + turn
            if size:
                allocator.allocate(key, size)
            else:
                allocator.release(key)
    return allocator


@contextmanager
def as_on_a_gpu(on_gpu: bool) -> Iterator[None]:
    """Let modules be moved without contents and, ``on_gpu``, let torch choose what it chooses on a GPU.

    Optimisers then work on lists of tensors (``foreach``), which takes copies, and dropout keeps a mask of bytes.
    """
    from torch.optim import optimizer

    changes: list[tuple[Any, str, Any]] = [(nn.Module, "_apply", _apply)]
    if on_gpu:
        kinds = [*optimizer._foreach_supported_types, FakeTensor]
        changes += [
            (optimizer, "_foreach_supported_types", kinds),
            (optimizer, "_get_foreach_kernels_supported_devices", lambda: ["cuda", "cpu"]),
            (nn.functional, "dropout", _dropout),
        ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    try:
        for owner, name, value in changes:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _apply(self: nn.Module, function: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> nn.Module:
    """``Module.to`` and its like; torch's own swaps tensors, which those without contents do not allow."""
    for child in self.children() if recurse else ():
        child._apply(function)  # type: ignore[no-untyped-call]
    for name, parameter in self._parameters.items():
        if parameter is not None:
            with torch.no_grad():
                moved = function(parameter)
            if moved is not parameter:
                self._parameters[name] = nn.Parameter(moved, parameter.requires_grad)
    for name, buffer in self._buffers.items():
        if buffer is not None:
            self._buffers[name] = function(buffer)
    return self


def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """Not ``inplace``, which on a GPU saves no memory: the mask is what is kept."""
    del inplace
    if not training or p == 0:
        return input
    dropped: torch.Tensor = torch.native_dropout(input, p, training)[0]
    return dropped


def _cut(loader: Iterable[Any], batches: int) -> Cut:
    return Cut(loader._loader if isinstance(loader, Cut) else loader, batches)


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}.values())


__all__ = ["FakeTensorMode", "Footprint", "Rehearsal", "Tracker", "as_on_a_gpu", "laid_out", "rehearse"]
