"""What a worker hosts: the user's training code behind one small interface, whatever it was written for.

Three kinds are accepted, told apart by what the ``module:name`` in the study resolves to:

* a class with ``step``, ``save``, ``load``, ``reset`` and ``close`` (:class:`raytune_suite.trainable.TorchTrainable`);
* a ``ray.tune.Trainable`` class, as it is;
* a plain ``def train(config)`` that reports with ``ray.tune.report``.

Limits of the last two: a dict returned by ``save_checkpoint`` must hold what ``torch.load(weights_only=True)`` can
read back, since no pickle goes into an experiment folder; a function that reports no checkpoint starts over when it
is resumed.
"""

from __future__ import annotations

import inspect
import random
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from raytune_suite.errors import TrainableError
from raytune_suite.metrics import flatten
from raytune_suite.resolve import resolve
from raytune_suite.trainable import Context

DICT_CHECKPOINT = "checkpoint.pt"


class Host(Protocol):
    """One trial's training code inside a worker."""

    finished: bool

    @property
    def divisible(self) -> int:
        """Samples in the largest piece of a batch, if the code can compute smaller ones; else 0."""
        ...

    def step(self) -> dict[str, Any]:
        """Train one iteration; the flat metrics of it, empty when the code ended without a new result."""
        ...

    @property
    def saveable(self) -> bool:
        """Whether :meth:`save` has something to save now."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything needed to go on into ``folder``, which does not exist yet."""
        ...

    def load(self, folder: Path) -> None:
        """Go on from what :meth:`save` wrote."""
        ...

    def reset(self, config: dict[str, Any], context: Context) -> bool:
        """Become another trial; False if only a new instance can."""
        ...

    def test(self) -> dict[str, Any] | None:
        """Metrics on held-out data, or None if the code has no test."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class TorchHost:
    """A trainable written for the suite."""

    finished = False
    saveable = True

    def __init__(self, cls: type, config: dict[str, Any], context: Context) -> None:
        self.inner = cls(config, context)

    @property
    def divisible(self) -> int:
        """See :class:`Host`."""
        return int(getattr(self.inner, "divisible", 0))

    def step(self) -> dict[str, Any]:
        """See :class:`Host`."""
        return flatten(self.inner.step())

    def save(self, folder: Path) -> None:
        """See :class:`Host`."""
        self.inner.save(folder)

    def load(self, folder: Path) -> None:
        """See :class:`Host`."""
        self.inner.load(folder)

    def reset(self, config: dict[str, Any], context: Context) -> bool:
        """See :class:`Host`."""
        return bool(self.inner.reset(config, context))

    def test(self) -> dict[str, Any] | None:
        """See :class:`Host`."""
        found = self.inner.evaluate_test()
        return None if found is None else flatten(found)

    def close(self) -> None:
        """See :class:`Host`."""
        self.inner.close()


class TuneHost:
    """A ``ray.tune.Trainable`` class; a new instance for every trial, in the same process."""

    def __init__(self, cls: type, config: dict[str, Any], storage: Any, trial_info: Any) -> None:
        from ray.tune.result import TRIAL_INFO

        self.finished = False
        self.divisible = 0
        self.inner = cls(config={**config, TRIAL_INFO: trial_info}, storage=storage)

    def step(self) -> dict[str, Any]:
        """See :class:`Host`."""
        from ray.tune.result import DONE, RESULT_DUPLICATE

        result = self.inner.train()
        if RESULT_DUPLICATE in result:
            self.finished = True
            return {}
        self.finished = bool(result.get(DONE))
        return flatten(result)

    @property
    def saveable(self) -> bool:
        """Whether the class brings its own ``save_checkpoint``."""
        from ray.tune import Trainable

        return type(self.inner).save_checkpoint is not Trainable.save_checkpoint

    def save(self, folder: Path) -> None:
        """See :class:`Host`."""
        folder.mkdir(parents=True, exist_ok=True)
        state = self.inner.save_checkpoint(str(folder))
        if isinstance(state, dict):
            import torch

            torch.save(state, folder / DICT_CHECKPOINT)

    def load(self, folder: Path) -> None:
        """See :class:`Host`."""
        file = folder / DICT_CHECKPOINT
        if not file.exists():
            self.inner.load_checkpoint(str(folder))
            return
        import torch

        self.inner.load_checkpoint(torch.load(file, weights_only=True))

    def reset(self, config: dict[str, Any], context: Context) -> bool:
        """Always False: nothing guarantees that a foreign class can be reset."""
        return False

    def test(self) -> dict[str, Any] | None:
        """Ray's trainables have no held-out test."""
        return None

    def close(self) -> None:
        """See :class:`Host`."""
        self.inner.stop()


class FunctionHost(TuneHost):
    """A ``def train(config)`` that reports metrics, and optionally checkpoints, through ``ray.tune``."""

    def __init__(self, function: Any, config: dict[str, Any], storage: Any, trial_info: Any) -> None:
        from ray.tune.trainable.function_trainable import wrap_function

        super().__init__(wrap_function(function), config, storage, trial_info)

    @property
    def saveable(self) -> bool:
        """Whether the last report came with a checkpoint."""
        last = self.inner._last_training_result
        return last is not None and last.checkpoint is not None

    def save(self, folder: Path) -> None:
        """Copy the checkpoint that the function reported last."""
        checkpoint = self.inner._last_training_result.checkpoint
        with checkpoint.as_directory() as source:
            shutil.copytree(source, folder)

    def load(self, folder: Path) -> None:
        """Hand the function its checkpoint: ``ray.tune.get_checkpoint()`` returns it."""
        from ray.train._internal.checkpoint_manager import _TrainingResult
        from ray.tune import Checkpoint

        self.inner.load_checkpoint(_TrainingResult(checkpoint=Checkpoint.from_directory(str(folder)), metrics={}))


def open_host(
    spec: str,
    project: Path,
    config: Mapping[str, Any],
    context: Context,
    *,
    storage: Any = None,
    trial_info: Any = None,
) -> Host:
    """Import what ``spec`` (``module:name``) names in ``project`` and host it with ``config``.

    ``storage`` is Tune's, or a function that makes it: only trainables written for Tune need it.
    Raises :class:`TrainableError` if it cannot be imported or is none of the accepted kinds.
    """
    target = resolve(spec, project)
    kind = kind_of(target)
    if kind == "suite":
        return TorchHost(target, dict(config), context)
    seed_globals(context.seed)  # ours seed themselves
    host = TuneHost if kind == "tune" else FunctionHost
    return cast(Host, host(target, dict(config), storage() if callable(storage) else storage, trial_info))


def seed_globals(seed: int) -> None:
    """Seed the global generators of this process, of numpy and torch as far as the user's code has imported them."""
    random.seed(seed)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(seed)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)


def kind_of(target: Any) -> str:
    """``suite``, ``tune`` or ``function``; raises :class:`TrainableError` for anything else."""
    if inspect.isclass(target):
        if all(callable(getattr(target, name, None)) for name in ("step", "save", "load", "reset", "close")):
            return "suite"
        if callable(getattr(target, "train", None)) and callable(getattr(target, "save_checkpoint", None)):
            return "tune"
    elif callable(target):
        return "function"
    raise TrainableError(
        f"{target!r} is not a trainable: give a TorchTrainable class, a ray.tune.Trainable class "
        "or a function train(config)"
    )
