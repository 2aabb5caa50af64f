"""The training loop around a user's model: what everybody writes anyway, done once and checked.

A supervised trainable says what it learns from, what learns, and how wrong it is::

    class Digits(TorchTrainable):
        def build_data(self): ...              # Data(train, validation, test)
        def build_model(self): ...             # an nn.Module
        def build_optimizer(self, model): ...
        def loss(self, outputs, targets): ...

Anything else overrides :meth:`TorchTrainable.train_epoch` and :meth:`TorchTrainable.evaluate`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from raytune_suite.errors import TrainableError
from raytune_suite.metrics import flatten
from raytune_suite.trainable import checkpointing, device, preparing, seeding, state, team
from raytune_suite.trainable.context import Context
from raytune_suite.trainable.data import Data, close_loader
from raytune_suite.trainable.loop import DivergedError, Loop


class TorchTrainable(Loop):
    """A trial's training code: subclass it, and name the subclass in a study as ``module:Class``.

    Write :meth:`build_data`, :meth:`build_model`, :meth:`build_optimizer` and :meth:`loss`; optionally
    :meth:`metrics`, :meth:`build_schedule`, :meth:`train_epoch`, :meth:`evaluate`, :meth:`test`, and a classmethod
    ``prepare_data(cls, folder, ...)`` that is called once per machine (:mod:`raytune_suite.trainable.preparing`).

    Args:
        config: The trial's configuration: nested dicts of plain values, constants included.
        context: Seed, resources and folders of the trial; outside a study :meth:`Context.standalone` makes one.

    Attributes:
        config, context, device: What the trial was given, and the ``torch.device`` that follows from it.
        data, model, optimizer, schedule: What the ``build_`` methods returned.
        prepared: The folder that ``prepare_data`` filled.
        iteration, epoch: Steps and epochs begun, from 1 within the first.

    Everything assigned to ``self`` that has a ``state_dict`` is part of a checkpoint, under any name.
    """

    data_key: ClassVar[str | int] = ""
    """Changes the name of the prepared data's folder: raise it when what is prepared changes."""

    def __init__(self, config: Mapping[str, Any], context: Context | None = None) -> None:
        self._start(config, context if context is not None else Context.standalone())

    # -- what the suite calls ------------------------------------------------------------------------------------

    @classmethod
    def prepare(cls, data_dir: Path, config: Mapping[str, Any] | None = None) -> Path | None:
        """The folder that ``prepare_data`` filled, by this call or an earlier one on this machine."""
        return preparing.prepare(cls, data_dir, config)

    def step(self) -> dict[str, Any]:
        """Train ``epochs_per_step`` epochs and evaluate: flat metrics, plain numbers.

        A trial whose loss is no longer finite reports ``nan: True`` and NaN as its metric, now and ever after.
        """
        with self._team.doing("step"):
            return self._step()

    def _step(self) -> dict[str, Any]:
        self.iteration += 1
        metrics: dict[str, Any] = {}
        if not self.diverged:
            try:
                metrics = {**self._train(), **self._measure("validation")}
                metrics = self._team.gather(metrics)[0]
            except DivergedError:
                self.diverged = True
            self._step_plateau(metrics)
        if self.diverged:
            metrics |= {"train/loss": math.nan, **({self.context.metric: math.nan} if self.context.metric else {})}
        value = metrics.get(self.context.metric)
        if self.diverged or (isinstance(value, float) and not math.isfinite(value)):
            metrics["nan"] = True
        if self._tensorboard is not None:
            self._tensorboard.flush()
        return {**metrics, **device.memory(self.device, self.context.gpu)}

    def evaluate_test(self) -> dict[str, Any] | None:
        """Held-out metrics as ``test/...`` with ``test/samples``, or None if there is no held-out data."""
        with self._team.doing("test"):
            return self._measure("test") or None

    def save(self, folder: Path) -> None:
        """Write a checkpoint: ``folder`` is there complete or not at all, even if the machine dies."""
        with self._team.doing("save"):
            captured = state.capture(self)
            if self._team.rank == 0:
                checkpointing.write(Path(folder), captured)

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint, bit for bit on the same kind of CPU."""
        with self._team.doing("load", folder=str(folder)):
            state.restore(self, checkpointing.read(Path(folder)))

    def reset(self, config: Mapping[str, Any], context: Context) -> bool:
        """Become another trial in the same process, with nothing left of this one."""
        self.close()
        device.settle()
        self._start(config, context)
        return True

    def close(self) -> None:
        """End loader workers, close files, drop every reference and give GPU memory back."""
        held = dict(vars(self))
        vars(self).clear()
        data, compiled, others = held.get("data"), held.get("compile"), held.get("_team")
        for loader in data.loaders().values() if isinstance(data, Data) else ():
            close_loader(loader)
        if held.get("_tensorboard") is not None:
            held["_tensorboard"].close()
        if "_switches" in held:
            held["_switches"].restore()
        where = held.get("device")
        held.clear()
        del data
        if others is not None:
            others.close()
        if compiled:
            import torch

            torch.compiler.reset()
        device.release(where)

    # -- inside --------------------------------------------------------------------------------------------------

    def _start(self, config: Mapping[str, Any], context: Context) -> None:
        self._blank(config, context)
        size = self._size()
        self.device = device.claim(context.gpu, context.cpus / size, context.rank)
        if size > 1 and context.rank == 0:
            self._team = team.lead(type(self), self.config, context, size, self.device.type == "cuda")
        try:
            with self._team.doing("start"):
                self._build()
        except BaseException:
            self.close()  # a model that did not fit must not occupy the worker
            raise

    def _build(self) -> None:
        if self.deterministic:
            seeding.be_deterministic()
        device.start_peaks(self.device)
        self._prepared = self.prepare(self.context.data_dir, self.config)
        seeding.seed_all(seeding.derive(self.context.seed, "data"))
        self.build()
        own = [self.context.rank] if self.context.rank else []  # random numbers of training differ between processes
        seeding.seed_all(seeding.derive(self.context.seed, "training", *own))

    def _size(self) -> int:
        """In how many processes the trial trains."""
        gpus = int(self.context.gpu)
        if self.processes is None:
            return max(1, gpus)
        if gpus and self.processes not in (1, gpus):
            raise TrainableError(
                f"processes: {self.processes} with {gpus} GPU: each process has one GPU. Leave it out, or set it "
                "to 1 if the training code uses all GPUs of the trial itself"
            )
        return self.processes

    def _blank(self, config: Mapping[str, Any], context: Context) -> None:
        self.config = dict(config)
        self.context = context
        self.apply(self.config)
        context.trial_dir.mkdir(parents=True, exist_ok=True)
        self._switches = seeding.Switches()
        self._tensorboard = None
        self._loaders = self._samples = self._batch = self._largest = 0
        self._accumulating = False
        self.iteration = self.epoch = 0
        self.diverged = False
        self.data, self.schedule = None, None  # type: ignore[assignment]  # build() may leave them out
        self._team = team.current() if context.rank else team.Alone()

    def _train(self) -> dict[str, Any]:
        import torch
        from torch import nn

        self._set_training(True)
        self._accumulating = False  # an epoch may have been cut short
        self._samples, started = 0, time.perf_counter()
        for _ in range(self.epochs_per_step):
            self.epoch += 1
            rate = self._rate()
            found = _named(self.train_epoch(), "train")
            self._team.agree([value for value in vars(self).values() if isinstance(value, nn.Module)])
            self._check_finite(found.get("train/loss", 0.0))
            if self.schedule is not None and self.schedule_every == "epoch" and not self._plateau():
                self.schedule.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds = max(time.perf_counter() - started, 1e-9)
        found["time/epoch_s"] = seconds / self.epochs_per_step
        if samples := sum(self._team.gather(self._samples)):
            found["throughput/samples_per_s"] = samples / seconds
        if self.schedule is not None:
            found["train/learning_rate"] = rate
        return found | device.utilisation(self.device)

    def _rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"]) if self.schedule is not None else math.nan

    def _measure(self, split: str) -> dict[str, Any]:
        import torch

        self._set_training(False)
        self._samples = 0
        with torch.no_grad():
            if split == "test":
                found = self.test()
            else:
                found = self.evaluate(self.data.validation if self.data is not None else None)
        named = _named(found, split)
        samples = sum(self._team.gather(self._samples)) if split == "test" else 0
        return named | {"test/samples": samples} if named and samples else named

    def _step_plateau(self, metrics: Mapping[str, Any]) -> None:
        if not self._plateau() or self.diverged:
            return
        name = self.context.metric or "validation/loss"
        if name not in metrics:
            raise TrainableError(f"ReduceLROnPlateau needs {name}, the trial reports {', '.join(sorted(metrics))}")
        self.schedule.step(metrics[name])  # type: ignore[union-attr]

    def _plateau(self) -> bool:
        return type(self.schedule).__name__ == "ReduceLROnPlateau"

    def _set_training(self, mode: bool) -> None:
        from torch import nn

        for value in vars(self).values():
            if isinstance(value, nn.Module):
                value.train(mode)


def _named(metrics: Any, prefix: str) -> dict[str, Any]:
    """Flat metrics with ``prefix/`` before every name that has no level of its own."""
    if metrics is not None and not isinstance(metrics, Mapping):
        method = {"train": "train_epoch", "validation": "evaluate"}.get(prefix, "test or evaluate")
        raise TrainableError(
            f"{method} must return a dict of names and numbers, got {type(metrics).__name__}. "
            'As in {"loss": value}, or None for no metrics.'
        )
    found = flatten(metrics or {})
    return {name if "/" in name else f"{prefix}/{name}": value for name, value in found.items()}
