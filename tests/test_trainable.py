"""What TorchTrainable does around a user's model; the promises about resuming are in contracts/."""

from __future__ import annotations

import math
import random
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from raytune_suite.errors import TrainableError
from raytune_suite.testing.trainables import differences, pickled_names
from raytune_suite.trainable import Context, Data, TorchTrainable, checkpointing, device, is_out_of_memory
from raytune_suite.trainable.averaging import Mean
from raytune_suite.trainable.seeding import Switches, derive, rng_state, set_rng_state


class Line(TorchTrainable):
    """A linear model on 10 points in batches of 4, which notes what happens to it."""

    def build_data(self) -> Data:
        x = torch.linspace(-1, 1, 10)[:, None]
        y = 3 * x + 1
        train = self.loader(x, y, batch_size=4, shuffle=True)
        return Data(train, self.loader(x, y, batch_size=4), self.loader(x[:5], y[:5], batch_size=4))

    def build_model(self) -> nn.Module:
        self.modes: list[bool] = []
        model = nn.Linear(1, self.config.get("width", 1))
        model.register_forward_hook(lambda module, inputs, output: self.modes.append(module.training))
        return model

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        kind = torch.optim.AdamW if self.config.get("optimizer") == "adamw" else torch.optim.SGD
        return kind(model.parameters(), self.config.get("learning_rate", 0.1))

    def build_schedule(self, optimizer: torch.optim.Optimizer) -> Any:
        kind = self.config.get("schedule")
        if kind == "plateau":
            return lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=10.0)
        return lr_scheduler.StepLR(optimizer, 1, gamma=0.5) if kind == "halve" else None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.mse_loss(outputs, targets) + self.config.get("spoil", 0.0)

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        return {"bias": float((outputs - targets).mean()), "grad": torch.is_grad_enabled()}


@pytest.fixture
def start(tmp_path: Path) -> Any:
    """Starts a trial of ``cls`` with ``config``, and closes it after the test."""
    started: list[TorchTrainable] = []

    def start(config: dict[str, Any] | None = None, cls: Any = Line, **context: Any) -> Any:
        given = Context.standalone(tmp_path, metric="validation/loss")
        started.append(cls(config or {}, replace(given, **context)))
        return started[-1]

    yield start
    for trial in started:
        trial.close()


# -- a step --------------------------------------------------------------------------------------------------------


def test_a_step_trains_evaluates_and_measures(start: Any) -> None:
    trial = start()
    first, second = trial.step(), trial.step()
    assert set(first) == {
        "train/loss", "validation/loss", "validation/bias", "validation/grad",
        "time/epoch_s", "throughput/samples_per_s", "memory/host_mb",
    }  # fmt: skip
    assert second["validation/loss"] < first["validation/loss"]
    assert trial.iteration == trial.epoch == 2
    assert first["throughput/samples_per_s"] == pytest.approx(10 / first["time/epoch_s"])
    assert 10 < first["memory/host_mb"] < 100_000


def test_means_count_samples_not_batches(start: Any) -> None:
    trial = start()
    x, y = torch.linspace(-1, 1, 10)[:, None], 3 * torch.linspace(-1, 1, 10)[:, None] + 1
    metrics = trial.step()
    with torch.no_grad():
        whole = nn.functional.mse_loss(trial.model(x), y)
    assert metrics["validation/loss"] == pytest.approx(float(whole), rel=1e-6), "batches of 4, 4 and 2"


def test_training_and_evaluation_have_their_modes_and_only_training_has_gradients(start: Any) -> None:
    trial = start()
    metrics = trial.step()
    assert trial.modes == [True] * 3 + [False] * 3
    assert metrics["validation/grad"] == 0.0


def test_names_with_a_level_of_their_own_are_kept(start: Any) -> None:
    class Wrapped(TorchTrainable):
        def build(self) -> None:
            self.reward = 0.0

        def train_epoch(self) -> dict[str, Any]:
            self.reward += 1
            return {"reward": torch.tensor(self.reward), "game": {"length": np.int64(7)}}

        def evaluate(self, loader: Any) -> dict[str, Any]:
            assert loader is None
            return {"reward": np.float32(self.reward), "score/mean": 0.5}

    metrics = start(cls=Wrapped).step()
    metrics.pop("time/epoch_s"), metrics.pop("memory/host_mb")
    assert metrics == {"train/reward": 1.0, "game/length": 7, "validation/reward": 1.0, "score/mean": 0.5}
    assert {type(v) for v in metrics.values()} == {int, float}


@pytest.mark.parametrize("method", ["train_epoch", "evaluate"])
@pytest.mark.parametrize("value", [torch.ones(()), torch.ones(2), 0.5])
def test_a_method_that_returns_no_dict_is_told_so(start: Any, method: str, value: Any) -> None:
    trial = start(cls=type("Odd", (Line,), {method: lambda self, *_: value}))
    with pytest.raises(TrainableError, match=rf'^{method} must return a dict .*, got \w+\. As in {{"loss": value}}'):
        trial.step()


def test_held_out_data_is_measured_apart(start: Any) -> None:
    trial = start()
    trial.step()
    assert set(trial.evaluate_test()) == {"test/loss", "test/bias", "test/grad", "test/samples"}
    assert trial.evaluate_test()["test/samples"] == 5

    class Untested(Line):
        def build_data(self) -> Data:
            return replace(super().build_data(), test=None)

    assert start(cls=Untested).evaluate_test() is None


def test_several_epochs_a_step_are_one_report(start: Any) -> None:
    trial = start({"epochs_per_step": 3})
    trial.step()
    assert (trial.iteration, trial.epoch, len(trial.modes)) == (1, 3, 3 * 3 + 3)


@pytest.mark.parametrize("missing", ["build_data", "build_model", "build_optimizer", "loss"])
def test_a_missing_method_is_named_with_what_it_returns(start: Any, missing: str) -> None:
    class Incomplete(Line):
        pass

    setattr(Incomplete, missing, getattr(TorchTrainable, missing))
    with pytest.raises(TrainableError, match=rf"Incomplete needs {missing}\(self.*\) returning"):
        start(cls=Incomplete).step()


def test_two_models_without_loaders_are_trained_and_saved(start: Any, tmp_path: Path) -> None:
    class Duel(TorchTrainable):
        def build(self) -> None:
            self.left, self.right = nn.Linear(2, 2), nn.Linear(2, 2)
            self.optimizers = torch.optim.SGD([*self.left.parameters(), *self.right.parameters()], 0.1)
            self.noise = torch.Generator().manual_seed(3)

        def train_epoch(self) -> dict[str, Any]:
            x = torch.randn(4, 2, generator=self.noise)
            loss = (self.left(x) - self.right(x)).square().mean()
            loss.backward()
            self.optimizers.step()
            return {"loss": loss}

        def evaluate(self, loader: Any) -> dict[str, Any]:
            return {"loss": (self.left.weight - self.right.weight).square().mean()}

    first, second = start(cls=Duel), start(cls=Duel, seed=9)
    first.step()
    first.save(tmp_path / "saved")
    second.load(tmp_path / "saved")
    assert first.step()["train/loss"] == second.step()["train/loss"]


# -- settings ------------------------------------------------------------------------------------------------------


def test_gradients_are_clipped_when_asked(start: Any) -> None:
    loose, clipped = start(), start({"max_grad_norm": 0.01})
    loose.step(), clipped.step()

    def norm(trial: Any) -> float:
        return math.sqrt(sum(float(p.grad.square().sum()) for p in trial.model.parameters()))

    assert norm(loose) > 0.1
    assert norm(clipped) <= 0.0101


def test_mixed_precision_computes_in_half_and_keeps_weights_whole(start: Any) -> None:
    trial = start({"amp": True})
    types: list[torch.dtype] = []
    trial.model.register_forward_hook(lambda module, inputs, output: types.append(output.dtype))
    trial.step()
    assert set(types) == {torch.bfloat16}
    assert trial.model.weight.dtype == torch.float32


def test_the_model_is_compiled_when_asked_under_its_own_names(start: Any, monkeypatch: Any) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    assert (start().compile, compiled) == (False, [])
    trial = start({"compile": True})
    assert compiled == [trial.model]
    assert list(trial.model.state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"max_grad_norm": -1}, "max_grad_norm: must be a positive number or null, got -1"),
        ({"amp": "float8"}, "amp: must be true, false, float16 or bfloat16, got 'float8'"),
        ({"epochs_per_step": 0}, "epochs_per_step: must be a whole number from 1, got 0"),
        ({"schedule_every": "step"}, "schedule_every: must be epoch or batch, got 'step'"),
        ({"compile": "yes"}, "compile: must be true or false, got 'yes'"),
    ],
)
def test_a_wrong_setting_is_named(start: Any, config: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainableError, match=message):
        start(config)


def test_torch_uses_as_many_threads_as_the_trial_has_cpus(start: Any) -> None:
    before = torch.get_num_threads()
    start(cpus=2)
    assert torch.get_num_threads() == 2
    start(cpus=0.5)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


# -- schedules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("every", "rates"), [("epoch", [0.1, 0.05, 0.025]), ("batch", [0.1, 0.1 / 8, 0.1 / 64])])
def test_the_schedule_is_stepped_as_asked_and_the_rate_used_is_reported(
    start: Any, every: str, rates: list[float]
) -> None:
    trial = start({"schedule": "halve", "schedule_every": every})
    assert [trial.step()["train/learning_rate"] for _ in rates] == pytest.approx(rates)


def test_a_plateau_schedule_sees_the_studys_metric(start: Any) -> None:
    trial = start({"schedule": "plateau"})  # its threshold calls everything a plateau
    assert [trial.step()["train/learning_rate"] for _ in range(3)] == pytest.approx([0.1, 0.05, 0.025])
    with pytest.raises(TrainableError, match=r"needs validation/los, the trial reports .*validation/loss"):
        start({"schedule": "plateau"}, metric="validation/los").step()


# -- divergence ----------------------------------------------------------------------------------------------------


def test_a_trial_that_diverges_says_so_and_keeps_saying_it(start: Any, tmp_path: Path) -> None:
    trial = start({"spoil": math.inf})
    for _ in range(2):
        metrics = trial.step()
        assert metrics["nan"] is True
        assert math.isnan(metrics["train/loss"])
        assert math.isnan(metrics["validation/loss"])
    assert len(trial.modes) == 1, "no batch after the first that is not finite"
    assert all(torch.isfinite(p).all() for p in trial.model.parameters())
    trial.save(tmp_path / "saved")
    resumed = start({"spoil": math.inf})
    resumed.load(tmp_path / "saved")
    assert resumed.step()["nan"] is True


def test_a_loss_of_ones_own_loop_that_is_not_finite_is_noticed(start: Any) -> None:
    class Own(Line):
        def train_epoch(self) -> dict[str, Any]:
            return {"loss": torch.tensor(math.nan)}

    assert start(cls=Own).step()["nan"] is True


def test_a_metric_that_is_not_finite_is_flagged_without_ending_the_training(start: Any) -> None:
    class Once(Line):
        def evaluate(self, loader: Any) -> dict[str, Any]:
            return {"loss": math.inf if self.iteration == 1 else 1.0}

    trial = start(cls=Once)
    first, second = trial.step(), trial.step()
    assert (first["validation/loss"], first["nan"]) == (math.inf, True)
    assert "nan" not in second


# -- checkpoints ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_refers_to_no_class_of_the_user(start: Any, tmp_path: Path) -> None:
    trial = start({"schedule": "halve"})
    trial.step()
    trial.save(tmp_path / "saved")
    assert all(
        name.startswith(("torch", "collections")) for name in pickled_names(tmp_path / "saved" / checkpointing.FILE)
    )


def test_saving_twice_replaces_and_leaves_nothing_behind(start: Any, tmp_path: Path) -> None:
    trial = start()
    for _ in range(2):
        trial.step()
        trial.save(tmp_path / "saved")
    assert checkpointing.read(tmp_path / "saved")["iteration"] == 2
    assert [p.name for p in (tmp_path / "saved").iterdir()] == [checkpointing.FILE]
    assert not list(tmp_path.glob(".saved*"))


def test_a_writer_that_is_killed_leaves_no_checkpoint_and_the_next_one_succeeds(tmp_path: Path) -> None:
    script = """
        import os, signal, sys
        from pathlib import Path
        from raytune_suite.trainable import checkpointing
        Path.replace = lambda draft, target: os.kill(os.getpid(), signal.SIGKILL)
        checkpointing.write(Path(sys.argv[1]), {"iteration": 1})
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "saved")]
    assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
    assert not (tmp_path / "saved").exists()
    checkpointing.write(tmp_path / "saved", {"iteration": 2})
    assert checkpointing.read(tmp_path / "saved")["iteration"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["saved"]


def test_a_failing_write_over_a_checkpoint_keeps_the_old_one(tmp_path: Path, monkeypatch: Any) -> None:
    checkpointing.write(tmp_path / "saved", {"iteration": 1})

    def full(state: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="disk full"):
        checkpointing.write(tmp_path / "saved", {"iteration": 2})
    assert checkpointing.read(tmp_path / "saved")["iteration"] == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_a_full_disk_is_called_by_its_name() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        checkpointing._save({"weights": torch.ones(10_000)}, full)


def test_extra_state_travels_with_the_checkpoint(start: Any, tmp_path: Path) -> None:
    class Extra(Line):
        seen: Any = None

        def extra_state(self) -> dict[str, Any]:
            return {"best": np.float64(0.5), "history": [1, 2], "table": np.eye(2), "name": "x"}

        def load_extra_state(self, state: dict[str, Any]) -> None:
            self.seen = state

    trial = start(cls=Extra)
    trial.save(tmp_path / "saved")
    trial.load(tmp_path / "saved")
    assert differences(trial.seen, {"best": 0.5, "history": [1, 2], "table": torch.eye(2).double(), "name": "x"}) == []


def test_what_a_checkpoint_cannot_hold_is_named_when_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(TrainableError, match=r"checkpoint\.extra\.best\[0\] is a PosixPath"):
        checkpointing.write(tmp_path / "saved", {"extra": {"best": [Path()]}})
    assert not (tmp_path / "saved").exists()


def test_a_folder_without_a_checkpoint_or_with_a_newer_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainableError, match="holds no checkpoint"):
        checkpointing.read(tmp_path)
    checkpointing.write(tmp_path, {"format": 99})
    with pytest.raises(TrainableError, match="checkpoint format 99, this version reads 1"):
        checkpointing.read(tmp_path)


@pytest.mark.parametrize("build", [
    lambda o: lr_scheduler.MultiStepLR(o, [2, 4]),
    lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.LinearLR(o), lr_scheduler.ExponentialLR(o, 0.5)], [2]),
    lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 1 / (epoch + 1)),
    lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 2),
])  # fmt: skip
def test_every_schedule_goes_on_from_a_checkpoint(start: Any, tmp_path: Path, build: Any) -> None:
    class Scheduled(Line):
        def build_schedule(self, optimizer: torch.optim.Optimizer) -> Any:
            return build(optimizer)

    straight = start(cls=Scheduled)
    straight.step(), straight.step()
    straight.save(tmp_path / "saved")
    resumed = start(cls=Scheduled)
    resumed.load(tmp_path / "saved")

    def rates(trial: Any) -> list[float]:
        return [trial.step()["train/learning_rate"] for _ in range(4)]

    assert rates(resumed) == rates(straight)


# -- another configuration: population based training --------------------------------------------------------------


def exploited(start: Any, tmp_path: Path, before: dict[str, Any], after: dict[str, Any]) -> Any:
    donor = start(before)
    donor.step(), donor.step()
    donor.save(tmp_path / "saved")
    heir = start(after)
    heir.load(tmp_path / "saved")
    return donor, heir


def test_weights_are_taken_over_but_the_new_learning_rate_is_kept(start: Any, tmp_path: Path) -> None:
    donor, heir = exploited(start, tmp_path, {"learning_rate": 0.1}, {"learning_rate": 0.02})
    assert torch.equal(donor.model.weight, heir.model.weight)
    assert heir.optimizer.param_groups[0]["lr"] == 0.02


def test_a_schedule_goes_on_at_its_place_from_the_new_learning_rate(start: Any, tmp_path: Path) -> None:
    halve = {"schedule": "halve"}
    _, heir = exploited(start, tmp_path, halve | {"learning_rate": 0.1}, halve | {"learning_rate": 0.4})
    rates = [heir.step()["train/learning_rate"] for _ in range(2)]
    assert rates == pytest.approx([0.1, 0.05]), "0.4 after two halvings"


def test_another_optimiser_starts_without_the_old_ones_state(start: Any, tmp_path: Path) -> None:
    donor, heir = exploited(start, tmp_path, {"optimizer": "sgd"}, {"optimizer": "adamw"})
    assert torch.equal(donor.model.weight, heir.model.weight)
    assert math.isfinite(heir.step()["train/loss"])


def test_a_checkpoint_of_another_model_is_refused_with_the_reason(start: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainableError, match=r"model does not fit .*size mismatch.* within a trial$"):
        exploited(start, tmp_path, {"width": 1}, {"width": 2})


# -- resources and what is left behind -----------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_torch_cannot_see_is_an_error(start: Any) -> None:
    with pytest.raises(TrainableError, match=r"given 0.5 GPU but torch .* (built without CUDA|sees no CUDA)"):
        start(gpu=0.5)


@pytest.mark.parametrize(("gpu", "share"), [(0.25, 0.25 - 0.75 / 16), (0.05, 0.025), (1, 1.0), (2, 1.0)])
def test_torch_is_held_to_its_share_of_the_gpu(gpu: float, share: float, monkeypatch: Any) -> None:
    shares: list[tuple[float, Any]] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda where: None)
    memory = SimpleNamespace(total_memory=16 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda where: memory)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: shares.append(given))
    assert device.claim(gpu, 1) == torch.device("cuda", 0)
    assert shares == [(share, torch.device("cuda", 0))]


@pytest.mark.gpu
def test_a_share_of_a_real_gpu_is_a_limit_and_is_given_back(start: Any) -> None:
    _, total = torch.cuda.mem_get_info()
    trial = start(gpu=0.1)
    assert trial.step()["memory/gpu_mb"] > 0
    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(int(total * 0.2), dtype=torch.uint8, device="cuda")
    assert is_out_of_memory(caught.value)
    del caught
    trial.close()
    assert torch.cuda.memory_reserved() == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("the word is out of memory"), False),
        (None, False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: BaseException | None, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
    wrapped = ValueError("while building")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped) is expected


def test_a_trial_cannot_leave_torchs_switches_to_the_next(start: Any) -> None:
    class Rude(Line):
        def build(self) -> None:
            torch.set_default_dtype(torch.float64)
            torch.set_grad_enabled(False)
            torch.set_float32_matmul_precision("medium")
            super().build()

    before = vars(Switches())
    trial = start({"deterministic": True}, cls=Rude)
    assert torch.are_deterministic_algorithms_enabled()
    trial.reset({}, trial.context)
    trial.close()
    assert vars(Switches()) == before


def test_a_trial_that_cannot_be_built_is_closed(start: Any) -> None:
    class Huge(Line):
        def build_model(self) -> nn.Module:
            torch.set_default_dtype(torch.float64)
            raise MemoryError

    with pytest.raises(MemoryError):
        start(cls=Huge)
    assert torch.get_default_dtype() == torch.float32


def test_attributes_of_one_trial_are_gone_in_the_next(start: Any) -> None:
    trial = start()
    trial.step()
    trial.leftover = 1
    assert trial.reset({"learning_rate": 0.2}, replace(trial.context, number=1))
    assert not hasattr(trial, "leftover")
    assert (trial.iteration, trial.config, trial.context.number) == (0, {"learning_rate": 0.2}, 1)


# -- TensorBoard ---------------------------------------------------------------------------------------------------


def test_pictures_are_on_disk_after_the_step_that_made_them(start: Any, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Drawing(Line):
        def evaluate(self, loader: Any) -> dict[str, Any]:
            self.tensorboard.add_histogram("weights", self.model.weight, self.iteration)
            return dict(super().evaluate(loader))

    trial = start(cls=Drawing)
    trial.step(), trial.step()
    events = EventAccumulator(str(trial.context.tensorboard_dir / "media"), size_guidance={"histograms": 0})
    events.Reload()
    assert [event.step for event in events.Histograms("weights")] == [1, 2]


def test_without_pictures_there_are_no_event_files(start: Any, tmp_path: Path) -> None:
    start().step()
    assert not list(tmp_path.rglob("*tfevents*"))


# -- seeds ---------------------------------------------------------------------------------------------------------


def test_derived_seeds_depend_on_every_part() -> None:
    seeds = {derive(0), derive(1), derive(0, "data"), derive(0, "loader", 1), derive(0, "loader", 2)}
    assert len(seeds) == 5
    assert derive(0, "loader", 1) == derive(0, "loader", 1)


def test_all_generators_are_saved_and_restored() -> None:
    def draws() -> list[float]:
        return [random.random(), random.gauss(0, 1), np.random.normal(), float(np.random.rand()), float(torch.rand(()))]

    cpu = torch.device("cpu")
    draws()
    state = checkpointing.plain(rng_state(cpu), "rng")
    first = draws()
    set_rng_state(state, cpu)
    assert draws() == first


def test_the_order_of_the_data_does_not_depend_on_the_model(start: Any) -> None:
    def order(width: int) -> list[float]:
        return next(iter(start({"width": width}).data.train))[0].tolist()

    assert order(1) == order(7)


# -- pieces --------------------------------------------------------------------------------------------------------


def test_a_mean_weighs_by_samples_and_sums_in_double_precision() -> None:
    mean = Mean()
    for _ in range(1000):
        mean.add(1, {"loss": torch.tensor(0.1)})
    mean.add(1000, {"loss": 0.3, "other": True})
    assert mean.compute() == pytest.approx({"loss": 0.2, "other": 1.0}, rel=1e-7)


def test_batches_of_any_shape_are_moved_and_counted() -> None:
    batch = {"x": (torch.zeros(3, 2), [torch.ones(3)]), "name": "a", "n": 5}
    moved = device.move(batch, torch.device("cpu"))
    assert differences(batch, moved) == []
    assert type(moved["x"]) is tuple
    assert device.samples_in(batch) == 3
    assert device.samples_in(("a", 5)) == 0


def test_neither_ray_nor_torch_is_imported_with_the_class() -> None:
    code = "import sys, raytune_suite.trainable; print({'ray', 'torch', 'sklearn', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "set()"


def test_ray_is_not_imported_by_training(tmp_path: Path) -> None:
    code = """
        import sys
        from raytune_suite.trainable import Context
        from trainables.digits import DigitsCNN
        DigitsCNN({"learning_rate": 1e-3, "channels": 2}, Context.standalone(sys.argv[1])).step()
        print("ray" in sys.modules, "torch" in sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["False", "True"]
