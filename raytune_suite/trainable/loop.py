"""The supervised loop, and the pieces that a loop of one's own is made of.

:class:`Loop` holds the methods a user overrides or calls; what surrounds them is in
:class:`raytune_suite.trainable.base.TorchTrainable`, the class to subclass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from raytune_suite.errors import TrainableError
from raytune_suite.trainable import device, seeding, splitting
from raytune_suite.trainable.averaging import Mean
from raytune_suite.trainable.context import Context
from raytune_suite.trainable.data import Data, make_even, make_loader
from raytune_suite.trainable.settings import Settings
from raytune_suite.trainable.team import Alone

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import numpy as np
    import torch
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.utils.tensorboard import SummaryWriter

_CHECK_EVERY = 20  # batches between two looks at the loss on a GPU, where each look waits for the device


class DivergedError(Exception):
    """The training loss is no longer finite; never leaves a trainable's ``step()``."""


class Loop(Settings):
    """What a user writes, and calls while training."""

    splits_batches: ClassVar[bool | None] = None
    """Whether batches may be cut when memory runs out; None: if it changes nothing else (:attr:`divisible`)."""

    config: dict[str, Any]
    context: Context
    device: torch.device
    data: Data
    model: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler | None
    scaler: torch.amp.GradScaler
    _prepared: Path | None
    iteration: int
    epoch: int
    diverged: bool
    _tensorboard: SummaryWriter | None
    _loaders: int
    _samples: int
    _batch: int
    _largest: int
    _team: Alone
    _accumulating: bool

    # -- what a user writes --------------------------------------------------------------------------------------

    def build_data(self) -> Data:
        """The loaders of the trial; :meth:`loader` makes seeded ones."""
        raise self._missing("build_data(self)", "the loaders, as Data(train, validation, test)")

    def build_model(self) -> nn.Module:
        """The model; the base moves it to the device."""
        raise self._missing("build_model(self)", "the model")

    def build_optimizer(self, model: nn.Module) -> Optimizer:
        """The optimiser of the model's parameters."""
        raise self._missing("build_optimizer(self, model)", "its optimiser")

    def build_schedule(self, optimizer: Optimizer) -> LRScheduler | None:
        """A learning-rate schedule, stepped as ``schedule_every`` says; none by default."""
        return None

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """The loss to minimise: the mean over the batch, a tensor with one element."""
        raise self._missing("loss(self, outputs, targets)", "the loss of a batch")

    def metrics(self, outputs: Any, targets: Any) -> Mapping[str, Any]:
        """More numbers about a batch, each a mean over its samples: ``{"accuracy": ...}``."""
        return {}

    def forward(self, batch: Any) -> tuple[Any, Any]:
        """Outputs and targets of a batch; by default the batch is ``(inputs, targets)``."""
        inputs, targets = batch
        return self.model(inputs), targets

    def build(self) -> None:
        """Make everything the trial needs; override it if there is more than one model or no loader."""
        import torch

        self.data = self.build_data()
        if self._team.size > 1:
            make_even(self.data.train)
        seeding.seed_all(seeding.derive(self.context.seed, "model"))
        model = self.build_model().to(self.device)
        if self.compile:
            model.compile()  # in place, so that names in checkpoints stay the same
        self.optimizer = self.build_optimizer(model)
        self.model = self.distribute(model)
        self.schedule = self.build_schedule(self.optimizer)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self._amp_type() is torch.float16)

    def train_epoch(self) -> Mapping[str, Any]:
        """Train once through ``self.data.train``; the returned names are reported as ``train/...``."""
        mean = Mean()
        for batch in self.batches(self.data.train):
            for piece, weight in self.pieces(batch):
                with self.autocast():
                    outputs, targets = self.forward(piece)
                    loss = self.loss(outputs, targets)
                self.backward(loss, weight)
                mean.add(device.samples_in(piece), {"loss": loss})
            self.update()
        return mean.compute()

    def evaluate(self, loader: Any) -> Mapping[str, Any]:
        """Measure on ``loader``, without gradients; names are reported as ``validation/...`` or ``test/...``."""
        mean = Mean()
        for batch in self.batches(loader):
            for piece, _ in self.pieces(batch):
                with self.autocast():
                    outputs, targets = self.forward(piece)
                    values = {"loss": self.loss(outputs, targets), **self.metrics(outputs, targets)}
                mean.add(device.samples_in(piece), values)
        return mean.compute()

    def test(self) -> Mapping[str, Any] | None:
        """Measure on held-out data; called after the study for the winner and the default. None: there is none."""
        loader = self.data.test if self.data is not None else None
        return None if loader is None else self.evaluate(loader)

    def extra_state(self) -> dict[str, Any]:
        """What a checkpoint needs beyond attributes with a ``state_dict``: tensors and plain values."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`extra_state` returned."""

    # -- what a user calls ---------------------------------------------------------------------------------------

    def loader(
        self,
        *data: Any,
        batch_size: int,
        shuffle: bool = False,
        samples: int | None = None,
        num_workers: int = 0,
        **options: Any,
    ) -> Any:
        """A seeded loader over arrays of one length (tensors, numpy, memory maps) or over one torch ``Dataset``.

        ``samples`` makes an epoch of that many draws. ``options`` go to :class:`ArrayLoader` or ``DataLoader``.
        """
        self._loaders += 1
        return make_loader(
            data,
            batch_size=batch_size,
            shuffle=shuffle,
            samples=samples,
            num_workers=num_workers,
            generator=seeding.generator(seeding.derive(self.context.seed, "loader", self._loaders)),
            pin_memory=self.device.type == "cuda",
            part=(self._team.rank, self._team.size),
            **options,
        )

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """``name.npy`` of the prepared data as a read-only memory map."""
        import numpy as np

        array: np.ndarray[Any, Any] = np.load(self.prepared / f"{name}.npy", mmap_mode="r")
        return array

    @property
    def prepared(self) -> Path:
        """The folder that ``prepare_data`` filled; its files are shared by all trials of the machine."""
        if self._prepared is None:
            raise self._missing("a classmethod prepare_data(cls, folder)", "nothing but filling the folder")
        return self._prepared

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """The batches of ``loader`` on the trial's device, counted for the throughput."""
        for batch in loader:
            self._samples += device.samples_in(batch)
            yield device.move(batch, self.device)

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision as ``amp`` asks for; does nothing otherwise."""
        import torch

        dtype = self._amp_type()
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def pieces(self, batch: Any) -> Iterator[tuple[Any, float]]:
        """The batch in pieces that fit into memory, each with its share of the batch's samples; mostly one piece.

        How many: as ``micro_batch`` has it, or more after the trial has run out of memory.
        """
        samples = device.samples_in(batch)
        self._largest = max(self._largest, samples)
        sizes = splitting.sizes(samples, self.micro_batch, self.context.split)
        if len(sizes) < 2:
            yield batch, 1.0
            return
        for start, size in sizes:
            self._team.sync(self.model, start + size == samples)
            yield splitting.cut(batch, samples, start, size), size / samples

    def optimize(self, loss: Tensor) -> None:
        """One step of the optimiser: gradients, clipping to ``max_grad_norm``, schedule if it is per batch.

        A loss that is not finite ends the epoch: the trial is reported as diverged.
        """
        self.backward(loss)
        self.update()

    def backward(self, loss: Tensor, weight: float = 1.0) -> None:
        """Add the gradients of a piece of a batch, ``weight`` being its share of it; :meth:`update` follows the last.

        A loss that is not finite ends the epoch: the trial is reported as diverged.
        """
        if not self._accumulating:
            self._batch += 1
            self.optimizer.zero_grad(set_to_none=True)
        look = self.device.type == "cpu" or (not self._accumulating and self._batch % _CHECK_EVERY == 0)
        if look and self._team.size == 1:  # several processes must agree, which they do after the epoch
            self._check_finite(float(loss.detach()))
        self._accumulating = True
        self.scaler.scale(loss if weight == 1.0 else loss * weight).backward()  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """One step of the optimiser with the gradients that have gathered."""
        import torch

        self._accumulating = False
        if self.max_grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.schedule is not None and self.schedule_every == "batch":
            self.schedule.step()

    def distribute(self, model: nn.Module) -> nn.Module:
        """The model as all processes of the trial train it together; the model itself if there is one process."""
        return self._team.wrap(model)

    @property
    def tensorboard(self) -> SummaryWriter:
        """A writer for pictures, histograms and texts of this trial, made when first used."""
        if self._tensorboard is None:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(str(self.context.tensorboard_dir / "media"), purge_step=self.iteration)
        return self._tensorboard

    @property
    def divisible(self) -> int:
        """Samples in the largest piece computed so far, if cutting it would change nothing but the memory it takes.

        That is so in the loop of this class, unless the model normalises over the batch; a loop of one's own that
        uses :meth:`pieces` sets ``splits_batches``.
        """
        allowed = self.splits_batches
        if allowed is None:
            own = type(self).train_epoch is not Loop.train_epoch
            allowed = not own and not splitting.normalises_batches(vars(self).values())
        sizes = splitting.sizes(self._largest, self.micro_batch, self.context.split)
        return max((size for _, size in sizes), default=0) if allowed else 0

    # -- inside --------------------------------------------------------------------------------------------------

    def _check_finite(self, loss: Any) -> None:
        if isinstance(loss, float) and not math.isfinite(loss):
            raise DivergedError

    def _amp_type(self) -> torch.dtype | None:
        import torch

        if not self.amp:
            return None
        if self.amp is not True:
            return torch.float16 if self.amp == "float16" else torch.bfloat16
        half = self.device.type == "cuda" and not torch.cuda.is_bf16_supported()
        return torch.float16 if half else torch.bfloat16

    def _missing(self, method: str, returns: str) -> TrainableError:
        return TrainableError(
            f"{type(self).__qualname__} needs {method} returning {returns} "
            "(or its own build(), train_epoch() and evaluate())"
        )
