"""What a trainable learns from: loaders that are seeded, can be resumed, and are closed with the trial."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from raytune_suite.errors import TrainableError

if TYPE_CHECKING:
    import numpy as np
    import torch

    Array = torch.Tensor | np.ndarray[Any, Any]


@dataclass(frozen=True)
class Data:
    """The loaders of a trial: anything that yields batches when iterated, a new pass each time.

    ``test`` is held out: it is looked at once, after the study, for the winner and the default.
    """

    train: Iterable[Any]
    validation: Iterable[Any]
    test: Iterable[Any] | None = None

    def loaders(self) -> dict[str, Iterable[Any]]:
        """The loaders that are there, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: loader for name, loader in found.items() if loader is not None}


class ArrayLoader:
    """Batches of arrays that lie whole in memory or in a memory map: one indexing operation a batch.

    Much quicker than a ``torch.utils.data.DataLoader`` for data that needs no work per sample. Yields a tuple
    with a tensor per array, or the tensor itself if there is only one array.

    Args:
        arrays: Tensors or numpy arrays of the same length, ``[samples, ...]``.
        batch_size: Samples per batch; the last batch may be smaller unless ``drop_last``.
        shuffle: Draw a new order for every pass.
        samples: Draw this many in a pass: an epoch of this length, however many there are. More than there are
            are drawn with replacement.
        generator: Where the order comes from; its state is part of a checkpoint.
        part: Rank and number of the processes that share each batch; this one yields its own samples of it.
    """

    even = False
    """Whether each process gets as many samples of a batch, some of them twice if need be: for training."""

    def __init__(
        self,
        *arrays: Array,
        batch_size: int,
        shuffle: bool = False,
        samples: int | None = None,
        drop_last: bool = False,
        generator: torch.Generator | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        lengths = {len(array) for array in arrays}
        if len(lengths) != 1 or not batch_size >= 1:
            raise TrainableError(
                f"a loader needs arrays of one length and a batch_size of at least 1, "
                f"got lengths {sorted(lengths)} and batch_size {batch_size!r}"
            )
        self.arrays = arrays
        self.length = lengths.pop()
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.samples = self.length if samples is None else int(samples)
        self.drop_last = drop_last
        self.generator = generator
        self.part = part

    def __len__(self) -> int:
        """Batches in a pass."""
        rounded = self.samples if self.drop_last else self.samples + self.batch_size - 1
        return rounded // self.batch_size

    def __iter__(self) -> Iterator[Any]:
        order = self._order()
        for number in range(len(self)):
            part = own_part(order[number * self.batch_size : (number + 1) * self.batch_size], self.part, self.even)
            if not len(part):
                continue  # a last batch of fewer samples than processes
            batch = tuple(take(array, part) for array in self.arrays)
            yield batch if len(batch) > 1 else batch[0]

    def _order(self) -> torch.Tensor:
        import torch

        from raytune_suite.trainable.draws import drawn

        if self.shuffle or self.samples != self.length:
            return drawn(self.length, self.samples, self.generator)
        return torch.arange(self.length)


def own_part(indices: torch.Tensor, part: tuple[int, int], even: bool) -> torch.Tensor:
    """Those of ``indices`` that belong to rank ``part[0]`` of ``part[1]`` processes: every ``part[1]``-th.

    ``even``: all get as many, the first ones being repeated where they do not come out even.
    """
    import torch

    rank, size = part
    if even and (missing := -len(indices) % size):
        repeated = indices.repeat(-(-missing // len(indices)))[:missing]
        indices = torch.cat([indices, repeated])
    return indices[rank::size] if size > 1 else indices


def take(array: Array, index: torch.Tensor) -> torch.Tensor:
    """The rows ``index`` of a tensor, a numpy array or a memory map, as a new tensor."""
    import numpy as np
    import torch

    if isinstance(array, torch.Tensor):
        return array[index.to(array.device)]
    rows = np.asarray(array[index.numpy()])
    if not rows.flags.writeable:  # numpy scalars; indexing with an array copies everything else
        rows = rows.copy()
    return torch.from_numpy(rows)


def make_loader(
    data: tuple[Any, ...],
    *,
    batch_size: int,
    shuffle: bool,
    samples: int | None,
    num_workers: int,
    generator: torch.Generator,
    pin_memory: bool,
    part: tuple[int, int] = (0, 1),
    **options: Any,
) -> Iterable[Any]:
    """An :class:`ArrayLoader` for arrays, a ``DataLoader`` for a dataset; both draw from ``generator``."""
    import numpy as np
    import torch
    from torch.utils.data import DataLoader, Dataset, IterableDataset

    from raytune_suite.trainable.draws import DrawnSampler

    if samples is not None and (not isinstance(samples, (int, np.integer)) or samples < 1):
        raise TrainableError(f"loader(samples=...) must be a whole number of at least 1, got {samples!r}")
    if all(isinstance(item, (torch.Tensor, np.ndarray)) for item in data):
        if num_workers:
            raise TrainableError(
                f"num_workers={num_workers} with arrays: they are batched by one indexing operation. "
                "Give a torch.utils.data.Dataset if the samples need work, or leave num_workers out"
            )
        return ArrayLoader(
            *data, batch_size=batch_size, shuffle=shuffle, samples=samples, generator=generator, part=part, **options
        )
    if len(data) != 1 or not isinstance(data[0], Dataset):
        kinds = ", ".join(type(item).__name__ for item in data)
        raise TrainableError(f"loader() takes arrays of one length, or one torch Dataset; got {kinds or 'nothing'}")
    dataset = data[0]
    if samples is not None and not isinstance(dataset, IterableDataset):
        options["sampler"] = DrawnSampler(len(dataset), samples, generator)  # type: ignore[arg-type]
        shuffle = False
    if part[1] > 1:
        options["sampler"], shuffle = share_out(dataset, options, shuffle, generator, part), False
    return DataLoader(
        dataset,
        batch_size=-(-batch_size // part[1]),
        shuffle=shuffle or None,
        num_workers=num_workers,
        generator=generator,
        pin_memory=pin_memory,
        **options,
    )


def share_out(
    dataset: Any, options: dict[str, Any], shuffle: bool, generator: torch.Generator, part: tuple[int, int]
) -> Any:
    """A sampler that gives this process its part of what all would draw together."""
    from torch.utils.data import IterableDataset, RandomSampler, SequentialSampler

    from raytune_suite.trainable.parts import PartSampler

    if isinstance(dataset, IterableDataset) or "batch_sampler" in options:
        what = "a batch_sampler" if "batch_sampler" in options else "an IterableDataset"
        raise TrainableError(f"{part[1]} processes cannot share out {what}: give a Dataset with a length and a sampler")
    inner = options.get("sampler") or (
        RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
    )
    return PartSampler(inner, part)


def make_even(loader: Any) -> None:
    """Let each process train on as many samples. Raises TrainableError for data that nothing shares out."""
    from torch.utils.data import DistributedSampler

    shared: Any
    for shared in (loader, getattr(loader, "sampler", None)):
        if hasattr(type(shared), "even"):
            shared.even = True
            return
        if isinstance(shared, DistributedSampler):
            return
    raise TrainableError(
        f"several processes would all train on the same data: Data(train=...) is a {type(loader).__name__}. "
        "Make it with self.loader(...), or give it a DistributedSampler"
    )


def generators(loader: Any) -> dict[str, torch.Generator]:
    """The generators a loader draws from, by where they hang; the same one is listed once."""
    import torch

    found: dict[str, torch.Generator] = {}
    for path in ("generator", "sampler.generator", "batch_sampler.generator", "batch_sampler.sampler.generator"):
        value = loader
        for name in path.split("."):
            value = getattr(value, name, None)
        if isinstance(value, torch.Generator) and not any(value is known for known in found.values()):
            found[path] = value
    return found


def loader_state(loaders: dict[str, Iterable[Any]]) -> dict[str, Any]:
    """The state of every generator and of every loader that has a ``state_dict`` of its own."""
    state: dict[str, Any] = {}
    for name, loader in loaders.items():
        states = {path: generator.get_state() for path, generator in generators(loader).items()}
        own = getattr(loader, "state_dict", None)
        state[name] = {"generators": states, "own": own() if callable(own) else None}
    return state


def load_loader_state(loaders: dict[str, Iterable[Any]], state: dict[str, Any]) -> None:
    """Put back what :func:`loader_state` returned."""
    for name, loader in loaders.items():
        saved = state.get(name, {"generators": {}, "own": None})
        for path, generator in generators(loader).items():
            if path in saved["generators"]:
                generator.set_state(saved["generators"][path])
        if saved["own"] is not None:
            loader.load_state_dict(saved["own"])  # type: ignore[attr-defined]


def close_loader(loader: Any) -> None:
    """End the worker processes of a ``DataLoader``: those kept between passes, and those of a pass cut short.

    An epoch that ended with an exception leaves its iterator in the traceback, out of reach; it is found by the
    dataset that it reads.
    """
    if not getattr(loader, "num_workers", 0):
        return
    from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

    dataset = getattr(loader, "dataset", None)
    for item in gc.get_objects():
        if type(item) is _MultiProcessingDataLoaderIter and item._dataset is dataset:
            item._shutdown_workers()
    loader._iterator = None
