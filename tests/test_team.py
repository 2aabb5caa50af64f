"""One model trained by several processes: on the CPU, over gloo, for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from team_toys import Unshared, Waves
from torch.utils.data import IterableDataset, RandomSampler, TensorDataset

from raytune_suite.errors import TrainableError
from raytune_suite.trainable import ArrayLoader, Context, is_out_of_memory
from raytune_suite.trainable.crew import RankError
from raytune_suite.trainable.data import make_even, share_out
from raytune_suite.trainable.parts import PartSampler


class Endless(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(10))


def start(folder: Path, kind: type[Waves] = Waves, split: int = 1, **config: Any) -> Waves:
    return kind(config, Context.standalone(folder, cpus=2, split=split))


def others() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "raytune_suite.trainable.rank" in p.cmdline()]


@pytest.mark.parametrize("config", [{}, {"dataset": True, "split": 2}])
def test_two_processes_with_half_the_batch_each_train_as_one_with_all_of_it(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    alone, together = start(tmp_path / "1", **config), start(tmp_path / "2", processes=2, **config)
    for _ in range(2):
        one, two = alone.step(), together.step()
        for name in ("train/loss", "validation/loss"):  # means over the samples of all processes
            assert two[name] == pytest.approx(one[name], rel=1e-9)
    assert together.evaluate_test() == pytest.approx(alone.evaluate_test(), rel=1e-9)
    weights = zip(alone.model.state_dict().items(), together.model.state_dict().items(), strict=True)
    for (name, mine), (same, theirs) in weights:
        assert name == same
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
    together.close()
    assert others() == []


def test_a_checkpoint_is_written_once_and_all_processes_go_on_from_it(tmp_path: Path) -> None:
    trial = start(tmp_path, processes=2, dropout=0.5)
    trial.step()
    trial.save(tmp_path / "saved")
    assert [file.name for file in (tmp_path / "saved").iterdir()] == ["checkpoint.pt"]
    rest = [trial.step() for _ in range(2)]
    first = {name: value.clone() for name, value in trial.model.state_dict().items()}
    assert trial.reset({"processes": 2, "dropout": 0.5}, Context.standalone(tmp_path, cpus=2))
    trial.load(tmp_path / "saved")
    again = [trial.step() for _ in range(2)]
    assert [one["train/loss"] for one in again] == [one["train/loss"] for one in rest]
    assert all(torch.equal(first[name], value) for name, value in trial.model.state_dict().items())
    trial.close()
    alone = start(tmp_path, dropout=0.5)
    alone.load(tmp_path / "saved")  # written by two, it goes on in one
    assert alone.step()["validation/loss"] > 0


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("oom", "OutOfMemoryError", "in process 1 of 0 to 1: CUDA out of memory"),
        ("kill", "ProcessDied", "the process died (exit code -9)"),
    ],
)
def test_a_failure_of_another_process_is_told_as_it_happened_there(
    tmp_path: Path, how: str, kind: str, message: str
) -> None:
    trial = start(tmp_path, processes=2, fail=how)
    trial.step()
    with pytest.raises(RankError) as caught:
        trial.step()
    assert (caught.value.kind, caught.value.rank) == (kind, 1)
    assert message in str(caught.value)
    assert ("team_toys.py" in caught.value.trace) == (how != "kill")
    assert is_out_of_memory(caught.value) == (how == "oom")
    trial.close()
    assert others() == []


def test_the_other_processes_die_with_the_first(tmp_path: Path) -> None:
    script = (
        "import json, sys, psutil; from pathlib import Path; from team_toys import Waves\n"
        "from raytune_suite.trainable import Context\n"
        f"trial = Waves({{'processes': 2}}, Context.standalone(Path({str(tmp_path)!r}), cpus=2))\n"
        "print(json.dumps([p.pid for p in psutil.Process().children()]), flush=True)\n"
        "while True: trial.step()\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environ) as first:
        assert first.stdout is not None
        pids = json.loads(first.stdout.readline())
        assert len(pids) == 1
        os.kill(first.pid, signal.SIGKILL)
    until = time.monotonic() + 30
    while psutil.pid_exists(pids[0]) and psutil.Process(pids[0]).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_models_that_are_not_shared_are_noticed_after_an_epoch(tmp_path: Path) -> None:
    trial = start(tmp_path, Unshared, processes=2)
    with pytest.raises((TrainableError, RankError), match="have trained different models: give each"):
        trial.step()
    trial.close()
    assert others() == []


def test_data_that_nothing_shares_out_is_refused() -> None:
    with pytest.raises(TrainableError, match=r"would all train on the same data: Data\(train=...\) is a list"):
        make_even([(torch.zeros(4, 1), torch.zeros(4, 1))])
    with pytest.raises(TrainableError, match="2 processes cannot share out an IterableDataset"):
        share_out(Endless(), {}, False, torch.Generator(), (0, 2))


def test_a_class_that_no_other_process_can_import_is_refused(tmp_path: Path) -> None:
    class Local(Waves):
        pass

    with pytest.raises(TrainableError, match="2 processes cannot train this class: something defined inside"):
        start(tmp_path, Local, processes=2)


@pytest.mark.parametrize(
    ("gpu", "processes", "message"),
    [(2, 3, "processes: 3 with 2 GPU"), (0, 0, "processes: must be a whole number from 1, got 0")],
)
def test_a_wrong_number_of_processes_is_named(tmp_path: Path, gpu: int, processes: int, message: str) -> None:
    with pytest.raises(TrainableError, match=message):
        Waves({"processes": processes}, Context.standalone(tmp_path, gpu=gpu))


@pytest.mark.parametrize("samples", [1, 2, 7, 16, 17])
def test_parts_cover_everything_and_are_even_where_they_must_be(samples: int) -> None:
    numbers = torch.arange(samples)
    parts = [PartSampler(range(samples), (rank, 3)) for rank in range(3)]
    assert sorted(n for part in parts for n in part) == list(range(samples))
    loaders = [ArrayLoader(numbers, batch_size=5, part=(rank, 3)) for rank in range(3)]
    assert sorted(int(n) for loader in loaders for batch in loader for n in batch) == list(range(samples))
    for part, loader in zip(parts, loaders, strict=True):
        part.even = loader.even = True
    assert {len(list(part)) for part in parts} == {len(parts[0])} == {-(-samples // 3)}
    sizes = [tuple(len(batch) for batch in loader) for loader in loaders]
    assert len(set(sizes)) == 1
    assert {n for part in parts for n in part} == set(range(samples))


def test_a_shared_sampler_draws_from_the_generator_of_the_loader() -> None:
    generator = torch.Generator().manual_seed(3)
    inner = RandomSampler(TensorDataset(torch.zeros(10)), generator=generator)
    assert PartSampler(inner, (0, 2)).generator is generator
    state = generator.get_state()
    drawn = []
    for rank in range(2):
        generator.set_state(state)
        drawn += list(PartSampler(inner, (rank, 2)))
    assert sorted(drawn) == list(range(10))
