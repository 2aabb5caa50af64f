"""Loaders, and data prepared once a machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from raytune_suite.errors import TrainableError
from raytune_suite.trainable import ArrayLoader, TorchTrainable
from raytune_suite.trainable.data import close_loader, load_loader_state, loader_state, make_loader
from raytune_suite.trainable.preparing import MARKER, prepare


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- loaders -------------------------------------------------------------------------------------------------------


def test_a_pass_holds_every_sample_once_and_the_arrays_stay_together() -> None:
    x, y = torch.arange(10), np.arange(10) * 2
    batches = list(ArrayLoader(x, y, batch_size=4, shuffle=True, generator=generator()))
    assert [len(a) for a, _ in batches] == [4, 4, 2]
    assert sorted(torch.cat([a for a, _ in batches]).tolist()) == list(range(10))
    assert all(torch.equal(a * 2, b) for a, b in batches)


def test_every_pass_has_its_own_order_and_the_seed_decides_it() -> None:
    def passes(seed: int) -> list[list[int]]:
        loader = ArrayLoader(torch.arange(20), batch_size=20, shuffle=True, generator=generator(seed))
        return [next(iter(loader)).tolist() for _ in range(2)]

    assert passes(0) == passes(0)
    assert passes(0)[0] != passes(0)[1]
    assert passes(0) != passes(1)


def test_without_shuffling_the_order_is_that_of_the_arrays() -> None:
    assert torch.cat(list(ArrayLoader(torch.arange(7), batch_size=3))).tolist() == list(range(7))


@pytest.mark.parametrize(
    ("samples", "drop_last", "sizes"),
    [(6, False, [4, 2]), (6, True, [4]), (25, False, [4] * 6 + [1]), (None, True, [4, 4])],
)
def test_an_epoch_can_be_a_number_of_samples(samples: int | None, drop_last: bool, sizes: list[int]) -> None:
    loader = ArrayLoader(torch.arange(10), batch_size=4, samples=samples, drop_last=drop_last, generator=generator())
    batches = list(loader)
    assert [len(b) for b in batches] == sizes
    assert len(loader) == len(sizes)
    if samples == 6:
        assert len(set(torch.cat(batches).tolist())) == sum(sizes), "fewer than there are: no repeats"


def test_memory_maps_are_read_without_being_written_to(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.float32))
    array = np.load(tmp_path / "x.npy", mmap_mode="r")
    batch = next(iter(ArrayLoader(array, batch_size=3)))
    batch += 100  # its own memory: neither an error nor a change of the file
    assert np.load(tmp_path / "x.npy").tolist() == list(range(6))


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(TrainableError, match=r"lengths \[3, 4\]"):
        ArrayLoader(torch.zeros(3), torch.zeros(4), batch_size=2)


def loader(*data: Any, workers: int = 0, **options: Any) -> Any:
    defaults: dict[str, Any] = {"batch_size": 4, "shuffle": True, "samples": None, "pin_memory": False}
    return make_loader(data, num_workers=workers, generator=generator(), **defaults | options)


def test_arrays_get_an_array_loader_and_datasets_a_data_loader() -> None:
    assert isinstance(loader(torch.zeros(8), np.zeros(8)), ArrayLoader)
    assert isinstance(loader(TensorDataset(torch.zeros(8))), DataLoader)


@pytest.mark.parametrize(
    ("data", "workers", "message"),
    [
        ((torch.zeros(8),), 2, "num_workers=2 with arrays"),
        (([1, 2, 3],), 0, "got list"),
        ((), 0, "got lengths"),
        ((TensorDataset(torch.zeros(8)), torch.zeros(8)), 0, "got TensorDataset, Tensor"),
    ],
)
def test_data_of_another_kind_is_refused(data: tuple[Any, ...], workers: int, message: str) -> None:
    with pytest.raises(TrainableError, match=message):
        loader(*data, workers=workers)


def test_an_epoch_of_a_dataset_can_be_a_number_of_samples() -> None:
    batches = list(loader(TensorDataset(torch.arange(10)), samples=6))
    assert len(torch.cat([b[0] for b in batches]).unique()) == 6


@pytest.mark.parametrize("samples", [0, -3, 2.5, "many"])
@pytest.mark.parametrize("data", [torch.arange(10), TensorDataset(torch.arange(10))], ids=["array", "dataset"])
def test_a_pass_without_samples_is_refused(data: Any, samples: Any) -> None:
    with pytest.raises(TrainableError, match=rf"samples=.*at least 1, got {samples!r}"):
        loader(data, samples=samples)


@pytest.mark.parametrize("kind", ["arrays", "dataset", "samples"])
def test_a_loader_goes_on_from_its_saved_state(kind: str) -> None:
    def fresh() -> Any:
        data = torch.arange(30)
        if kind == "arrays":
            return loader(data)
        return loader(TensorDataset(data), samples=20 if kind == "samples" else None)

    def orders(it: Any, passes: int) -> list[str]:
        return [str(list(it)) for _ in range(passes)]

    straight = fresh()
    orders(straight, 2)
    state = loader_state({"train": straight})
    resumed = fresh()
    load_loader_state({"train": resumed}, state)
    assert orders(resumed, 2) == orders(straight, 2)


def test_a_loader_that_saves_itself_is_asked_to() -> None:
    class Stateful:
        place = 3

        def state_dict(self) -> dict[str, int]:
            return {"place": self.place}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.place = state["place"]

        def __iter__(self) -> Any:
            return iter(())

    first, second = Stateful(), Stateful()
    first.place = 7
    load_loader_state({"train": second}, loader_state({"train": first}))
    assert second.place == 7


def test_closing_ends_the_workers_of_an_epoch_that_was_cut_short() -> None:
    cut = loader(TensorDataset(torch.arange(64)), workers=1)
    left_open = iter(cut)  # as a traceback would hold it
    next(left_open)
    workers = left_open._workers
    assert workers[0].is_alive()
    close_loader(cut)
    assert not workers[0].is_alive()


# -- prepared data -------------------------------------------------------------------------------------------------

COUNTED = """
    import os, sys, time
    from pathlib import Path
    import numpy as np
    from raytune_suite.trainable import Context, TorchTrainable

    class Counted(TorchTrainable):
        @classmethod
        def prepare_data(cls, folder):
            with open(os.environ["CALLS"], "a") as calls:
                calls.write("called\\n")
            np.save(folder / "first.npy", np.arange(3))
            if os.environ.get("STALL"):
                time.sleep(60)
            time.sleep(0.3)
            np.save(folder / "second.npy", np.arange(4))

        def build(self):
            pass

    for number in range(int(sys.argv[2])):
        if os.environ.get("LIGHT"):  # without importing torch
            assert Counted.prepare(Path(sys.argv[1]) / "data") is not None
            continue
        trial = Counted({}, Context.standalone(sys.argv[1]))
        assert trial.array("first").sum() == 3 and trial.array("second").sum() == 6
        assert not trial.array("second").flags.writeable
        trial.close()
"""


@pytest.fixture
def worker(tmp_path: Path) -> Any:
    """Starts a process that runs so many trials of a trainable whose preparations are counted."""
    script, calls = tmp_path / "counted.py", tmp_path / "calls"
    script.write_text(textwrap.dedent(COUNTED))
    started: list[subprocess.Popen[bytes]] = []

    def start(trials: int, **environ: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(script), str(tmp_path / "run"), str(trials)]
        environ = {**os.environ, "CALLS": str(calls), **environ}
        started.append(subprocess.Popen(command, env=environ))
        return started[-1]

    start.calls = lambda: calls.read_text().count("called") if calls.exists() else 0  # type: ignore[attr-defined]
    yield start
    for process in started:
        process.kill()
        process.wait()


def test_two_workers_and_five_trials_prepare_the_data_once(worker: Any) -> None:
    both = [worker(3), worker(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert worker.calls() == 1


def test_data_is_prepared_anew_after_a_worker_was_killed_in_the_middle(worker: Any, tmp_path: Path) -> None:
    killed = worker(1, STALL="yes", LIGHT="yes")
    until = time.monotonic() + 60
    while not list(tmp_path.glob("run/data/*.partial/first.npy")):
        assert time.monotonic() < until
        time.sleep(0.02)
    waiting = worker(2, LIGHT="yes")  # finds the lock taken; the death of its holder lets it go
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(60) == -signal.SIGKILL
    assert waiting.wait(60) == 0
    assert worker.calls() == 2
    assert not list(tmp_path.glob("run/data/*.partial"))


class Plain(TorchTrainable):
    @classmethod
    def prepare_data(cls, folder: Path) -> None:
        (folder / "plain.txt").write_text("plain")


class Otherwise(Plain):
    __qualname__ = "Plain"

    @classmethod
    def prepare_data(cls, folder: Path) -> None:
        (folder / "plain.txt").write_text("otherwise")


class Newer(Plain):
    __qualname__ = "Plain"
    data_key = 2


class Given(TorchTrainable):
    @classmethod
    def prepare_data(cls, folder: Path, source: str, size: int = 3) -> None:
        (folder / "given.txt").write_text(f"{source} {size}")


def test_a_trainable_without_preparation_has_no_prepared_data(tmp_path: Path) -> None:
    assert TorchTrainable.prepare(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_changed_code_or_a_changed_key_prepares_into_another_folder(tmp_path: Path) -> None:
    folders = {prepare(cls, tmp_path) for cls in (Plain, Otherwise, Newer)}
    assert len(folders) == 3
    assert prepare(Plain, tmp_path) in folders


def test_settings_come_from_the_configuration_and_decide_the_folder(tmp_path: Path) -> None:
    folder = prepare(Given, tmp_path, {"source": "here", "learning_rate": 0.1})
    assert folder is not None
    assert (folder / "given.txt").read_text() == "here 3"
    assert prepare(Given, tmp_path, {"source": "here", "learning_rate": 0.2}) == folder
    assert prepare(Given, tmp_path, {"source": "there"}) != folder
    assert prepare(Given, tmp_path, {"source": "here", "size": 4}) != folder


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainableError, match=r"takes source, which .* \(it has sauce\)"):
        prepare(Given, tmp_path, {"sauce": "here"})
    assert prepare(Given, tmp_path) is None, "without any configuration there is nothing to prepare yet"


def test_a_changed_source_file_is_prepared_anew(tmp_path: Path) -> None:
    source = tmp_path / "table.csv"
    source.write_text("a,b\n")
    first = prepare(Given, tmp_path / "cache", {"source": str(source)})
    source.write_text("a,b\n1,2\n")
    assert prepare(Given, tmp_path / "cache", {"source": str(source)}) != first
    assert prepare(Given, tmp_path / "cache", {"source": str(tmp_path)}) is not None, "folders are listed"


def test_a_folder_without_its_marker_is_not_believed(tmp_path: Path) -> None:
    folder = prepare(Plain, tmp_path)
    assert folder is not None
    (folder / MARKER).unlink()
    (folder / "plain.txt").unlink()
    assert prepare(Plain, tmp_path) == folder
    assert (folder / "plain.txt").exists()
    assert json.loads((folder / MARKER).read_text())["files"] == {"plain.txt": 5}
    assert (folder / "plain.txt").stat().st_mode & 0o222 == 0, "prepared files are read-only"


def test_a_preparation_that_fails_can_be_tried_again(tmp_path: Path) -> None:
    class Flaky(TorchTrainable):
        broken = True

        @classmethod
        def prepare_data(cls, folder: Path) -> None:
            (folder / "half").write_text("half")
            if cls.broken:
                raise OSError("no connection")

    with pytest.raises(OSError, match="no connection"):
        prepare(Flaky, tmp_path)
    Flaky.broken = False
    folder = prepare(Flaky, tmp_path)
    assert folder is not None
    assert (folder / "half").exists()


def test_asking_for_prepared_data_that_nobody_prepared_says_what_to_write() -> None:
    class Forgot(TorchTrainable):
        def build(self) -> None:
            self.array("images")

    with pytest.raises(TrainableError, match=r"Forgot needs a classmethod prepare_data\(cls, folder\)"):
        Forgot({})
