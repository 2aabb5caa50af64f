"""What every trainable must do, as tests to inherit.

    from raytune_suite.testing import TrainableContract

    class TestMine(TrainableContract):
        trainable = MyTrainable
        config = {"learning_rate": 1e-3, "epochs": 1}
        metric = "validation/loss"

Reusing workers, resuming after a crash and reproducing a trial all rest on these. They run on the CPU, where the same
seed gives the same bits, or with ``gpu = 1`` on a GPU with torch's deterministic algorithms; keep the configuration
small.
"""

from __future__ import annotations

import gc
import io
import math
import multiprocessing
import pickletools
import random
import weakref
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from raytune_suite.trainable import Context, TorchTrainable
from raytune_suite.trainable.checkpointing import FILE
from raytune_suite.trainable.state import capture

__all__ = ["TrainableContract", "differences", "pickled_names"]

MEASURED = ("time/", "throughput/", "memory/", "gpu/")
"""Metrics that say how the machine fared, not what was learned; they differ between equal trials."""

_TENSORS = frozenset({"OrderedDict", "Counter", "device", "dtype", "_rebuild_tensor_v2", "_rebuild_parameter"})


class TrainableContract:
    """Inherit, name it ``Test...``, and set what is declared below."""

    trainable: ClassVar[type[TorchTrainable]]
    config: ClassVar[Mapping[str, Any]]
    """A configuration that trains in about a second an epoch or less."""
    other_config: ClassVar[Mapping[str, Any] | None] = None
    """Another one, for the second trial on a worker; by default the same."""
    metric: ClassVar[str] = "validation/loss"
    steps: ClassVar[int] = 4
    """Iterations of a trial; it is interrupted after each of them but the last."""
    gpu: ClassVar[float] = 0
    """What a trial is given of a GPU; above 0, ``deterministic`` is set unless the configuration has it."""

    def test_the_metric_is_reported_as_a_finite_number(self, tmp_path: Path) -> None:
        """And so is every other metric: plain Python scalars under flat names."""
        with self.started(tmp_path) as trial:
            for metrics in run(trial, self.steps):
                require(self.metric in metrics, f"{self.metric} is not among {sorted(metrics)}")
                for name, value in metrics.items():
                    require(type(value) in (bool, int, float, str), f"{name} is {value!r}, a {type(value)}")
                    require(not isinstance(value, float) or math.isfinite(value), f"{name} is {value}")

    def test_the_same_seed_gives_the_same_curve(self, tmp_path: Path) -> None:
        """Whatever the global random generators were left at by someone else."""
        first = self.curve(tmp_path)
        random.seed(99)
        np.random.seed(99)
        torch.manual_seed(99)
        require_equal(first, self.curve(tmp_path), "two trials with one seed")

    def test_another_seed_gives_another_curve(self, tmp_path: Path) -> None:
        """A seed that changes nothing is not used."""
        same = self.curve(tmp_path, seed=1) == self.curve(tmp_path, seed=2)
        require(not same, "seeds 1 and 2 give the same curve: something fixes its own seed")

    def test_a_trial_goes_on_from_a_checkpoint_bit_for_bit(self, tmp_path: Path) -> None:
        """Steps after save and load equal the same steps without, wherever the cut is, weights included."""
        with self.started(tmp_path) as trial:
            straight = run(trial, self.steps, save_to=tmp_path / "checkpoints")
            final = capture(trial)
        for cut in range(1, self.steps):
            with self.started(tmp_path) as trial:
                trial.load(tmp_path / "checkpoints" / str(cut))
                require(trial.iteration == cut, f"iteration {trial.iteration} after loading that of {cut}")
                require_equal(learned(straight[cut:]), learned(run(trial, self.steps - cut)), f"a cut after {cut}")
                require_equal(final, capture(trial), f"the state at the end, cut after {cut}")

    def test_a_used_worker_can_go_on_from_a_checkpoint(self, tmp_path: Path) -> None:
        """Restored into a worker that trained something else before, the trial is the same."""
        with self.started(tmp_path) as trial:
            straight = run(trial, self.steps, save_to=tmp_path / "checkpoints")
        with self.started(tmp_path, config=self._other(), seed=5) as trial:
            run(trial, 2)
            require(trial.reset(self._settings(self.config), self.context(tmp_path)), "reset() refuses")
            trial.load(tmp_path / "checkpoints" / "1")
            require_equal(learned(straight[1:]), learned(run(trial, self.steps - 1)), "a restore after a reset")

    def test_two_trials_on_one_worker_equal_two_on_fresh_ones(self, tmp_path: Path) -> None:
        """Nothing of the first trial is left in the second."""
        fresh = [self.curve(tmp_path, seed=1), self.curve(tmp_path, config=self._other(), seed=2)]
        with self.started(tmp_path, seed=1) as trial:
            first = learned(run(trial, self.steps))
            require(trial.reset(self._other(), self.context(tmp_path, seed=2)), "reset() refuses")
            require(trial.iteration == 0, f"iteration {trial.iteration} after reset()")
            second = learned(run(trial, self.steps))
        require_equal(fresh, [first, second], "fresh workers and a reused one")

    def test_a_checkpoint_holds_numbers_and_no_pickled_classes(self, tmp_path: Path) -> None:
        """It loads with ``weights_only=True`` on a machine that does not have the code."""
        with self.started(tmp_path) as trial:
            run(trial, 1)
            trial.save(tmp_path / "saved")
        file = tmp_path / "saved" / FILE
        torch.load(file, weights_only=True)
        strange = [name for name in pickled_names(file) if not _harmless(name)]
        require(not strange, f"the checkpoint refers to {', '.join(strange)}")
        require([p.name for p in tmp_path.glob(".*")] == [], "the writer left a draft behind")

    def test_closing_ends_loader_workers_and_drops_the_model(self, tmp_path: Path) -> None:
        """No process and no parameter outlives the trial; closing twice is harmless."""
        before = {child.pid for child in multiprocessing.active_children()}
        with self.started(tmp_path) as trial:
            run(trial, 1)
            tensors = [weakref.ref(t) for t in _parameters(trial)]
        trial.close()
        gc.collect()
        left = [child for child in multiprocessing.active_children() if child.pid not in before]
        require(not left, f"{len(left)} processes outlive close(): {left}")
        alive = sum(ref() is not None for ref in tensors)
        require(not alive, f"{alive} of {len(tensors)} parameters outlive close(): a global refers to them")

    def test_held_out_metrics_are_finite_numbers(self, tmp_path: Path) -> None:
        """Measured twice they are the same: the held-out data is not shuffled or changed."""
        with self.started(tmp_path) as trial:
            run(trial, 1)
            first, second = trial.evaluate_test(), trial.evaluate_test()
        for name, value in (first or {}).items():
            require(math.isfinite(value) and name.startswith("test/"), f"{name} is {value}")
        require_equal(first, second, "two looks at the held-out data")

    # -- what the tests are made of ------------------------------------------------------------------------------

    def context(self, folder: Path, seed: int = 0) -> Context:
        """The trial's context, everything below ``folder``."""
        base = Context.standalone(folder, seed=seed, max_iterations=self.steps, metric=self.metric, gpu=self.gpu)
        return replace(base, number=seed, trial_id=f"{seed:05d}")

    @contextmanager
    def started(
        self, folder: Path, *, config: Mapping[str, Any] | None = None, seed: int = 0
    ) -> Iterator[TorchTrainable]:
        """A new instance, closed at the end."""
        trial = self.trainable(self._settings(config or self.config), self.context(folder, seed))
        try:
            yield trial
        finally:
            trial.close()

    def curve(self, folder: Path, *, config: Mapping[str, Any] | None = None, seed: int = 0) -> list[dict[str, Any]]:
        """The metrics of a whole trial on a fresh instance."""
        with self.started(folder, config=config, seed=seed) as trial:
            return learned(run(trial, self.steps))

    def _other(self) -> dict[str, Any]:
        return self._settings(self.other_config or self.config)

    def _settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {"deterministic": True, **config} if self.gpu else dict(config)


def run(trial: TorchTrainable, steps: int, save_to: Path | None = None) -> list[dict[str, Any]]:
    """Step ``steps`` times; with ``save_to``, each iteration's checkpoint goes into a folder of its number."""
    curve = []
    for _ in range(steps):
        curve.append(trial.step())
        if save_to is not None:
            trial.save(save_to / str(trial.iteration))
    return curve


def learned(curve: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The metrics without those that only say how the machine fared."""
    return [{k: v for k, v in metrics.items() if not k.startswith(MEASURED)} for metrics in curve]


def require(condition: object, message: str) -> None:
    """Fail the test with ``message`` unless ``condition`` holds."""
    if not condition:
        raise AssertionError(message)


def require_equal(expected: Any, found: Any, what: str) -> None:
    """Fail unless both are equal to the last bit, naming the first differences."""
    unequal = differences(expected, found)
    require(not unequal, f"{what} differ in {len(unequal)} places: {'; '.join(unequal[:5])}")


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Where two nested values of dicts, lists, tensors and scalars differ; NaN equals NaN."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
        return [] if same else [f"{where}: tensors differ"]
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if list(a) != list(b):
            return [f"{where}: keys {sorted(map(str, a))} and {sorted(map(str, b))}"]
        return [d for key in a for d in differences(a[key], b[key], f"{where}.{key}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return [d for i, (x, y) in pairs for d in differences(x, y, f"{where}[{i}]")]
    both_nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    return [] if both_nan or (type(a) is type(b) and a == b) else [f"{where}: {a!r} and {b!r}"]


def pickled_names(file: Path) -> list[str]:
    """Every class or function that a file written by ``torch.save`` refers to, as ``module name``."""
    with zipfile.ZipFile(file) as archive:
        inner = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        stream = io.BytesIO(archive.read(inner))
    names, strings = [], ["", ""]
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name == "GLOBAL":
            names.append(str(argument))
        elif operation.name == "STACK_GLOBAL":
            names.append(" ".join(strings[-2:]))
        elif isinstance(argument, str):
            strings.append(argument)
    return sorted(set(names))


def _harmless(name: str) -> bool:
    module, _, attribute = name.partition(" ")
    if module.split(".")[0] not in ("torch", "collections"):
        return False
    return attribute in _TENSORS or attribute.endswith(("Storage", "Tensor"))


def _parameters(trial: TorchTrainable) -> list[torch.nn.Parameter]:
    modules = [value for value in vars(trial).values() if isinstance(value, torch.nn.Module)]
    return [parameter for module in modules for parameter in module.parameters()]
