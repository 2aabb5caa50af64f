"""What a worker holds after many trials: no more than after a few.

The trials run in a process of their own, as a worker's do: that of the tests has a Ray, whose threads, files and
children come and go.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from raytune_suite.trainable import Context, Data, TorchTrainable

RESETS = 200


class Heavy(TorchTrainable):
    """A model of 4 MB; pictures, loader workers, compiled hooks and failures as the configuration says."""

    def build_data(self) -> Data:
        x = torch.randn(64, 1000)
        workers = {"num_workers": 1, "persistent_workers": True} if self.config["workers"] else {}
        data = (TensorDataset(x, x[:, :10]),) if workers else (x, x[:, :10])
        return Data(
            self.loader(*data, batch_size=32, shuffle=True, **workers), self.loader(x, x[:, :10], batch_size=64)
        )

    def build_model(self) -> nn.Module:
        model = nn.Sequential(nn.Linear(1000, 1000), nn.Tanh(), nn.Linear(1000, 10))
        model.register_forward_hook(lambda module, inputs, outputs: self.config.get("nothing"))  # a cycle
        return model

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(model.parameters(), lr=1e-3)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if self.config["fail"] and not torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return nn.functional.mse_loss(outputs, targets)

    def evaluate(self, loader: Any) -> Any:
        if self.config["picture"]:
            self.tensorboard.add_scalar("picture", 1.0, self.iteration)
        return super().evaluate(loader)


def held() -> dict[str, int]:
    """What this process holds: live tensors, open files, threads, child processes."""
    gc.collect()
    tensors = sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())
    files = sum(1 for _ in Path("/proc/self/fd").iterdir())
    children = len(psutil.Process().children(recursive=True))
    return {"tensors": tensors, "files": files, "threads": threading.active_count(), "children": children}


def resets(folder: Path, gpu: float = 0) -> Any:
    """Trials of every kind in one process; yields after each, when it has been closed and the next one built."""
    kinds = {"workers": 25, "fail": 10, "picture": 7}  # each so many trials one of this kind
    trial: Heavy | None = None
    for number in range(RESETS + 1):
        config = {kind: number % every == 1 for kind, every in kinds.items()}
        context = Context.standalone(folder / str(number % 3), seed=number, gpu=gpu)
        if trial is None:
            trial = Heavy(config, context)
        else:
            assert trial.reset(config, context)
        try:
            trial.step()
        except torch.OutOfMemoryError:
            trial.close()  # as a worker does with a trial that failed
            trial = None
        yield number
    assert trial is not None
    trial.close()
    yield RESETS


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux")
def test_200_trials_in_one_process_leave_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, *later = seen = json.loads(done.stdout)
    memory = [held.pop("memory") for held in seen]
    assert len(seen) == 4
    assert all(held == first for held in later), seen
    assert first["children"] == 0
    grown = memory[3] - memory[1]
    assert grown < 12 * 2**20, f"{grown / 2**20:.1f} MiB more after 200 trials than after 100, of 16 MB each"


def test_a_trial_that_failed_and_was_closed_holds_no_tensor(tmp_path: Path) -> None:
    before = held()["tensors"]
    trial = Heavy({"workers": False, "fail": True, "picture": True}, Context.standalone(tmp_path))
    with pytest.raises(torch.OutOfMemoryError) as caught:
        trial.step()
    del caught
    trial.close()
    assert held()["tensors"] == before


@pytest.mark.gpu
@pytest.mark.slow
def test_200_trials_on_a_gpu_give_its_memory_back(tmp_path: Path) -> None:
    used: dict[int, tuple[int, int]] = {}
    for number in resets(tmp_path, gpu=0.5):
        if number in (49, 98, 149, 199):
            free, total = torch.cuda.mem_get_info()
            used[number] = total - free, torch.cuda.memory_allocated()
    assert len({allocated for _, allocated in used.values()}) == 1
    assert used[199][0] <= used[49][0]
    assert torch.cuda.memory_reserved() == 0  # the last one is closed


def main(folder: Path) -> None:
    """Print what is held after 50, 99, 150 and 200 trials, and the process's bytes of memory."""
    torch.set_num_threads(1)
    looked_at = (49, 98, 149, 199)  # of the plainest kind, with its 4 tensors and what Adam keeps
    seen = [
        {**held(), "memory": psutil.Process().memory_info().rss} for number in resets(folder) if number in looked_at
    ]
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
