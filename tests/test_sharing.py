"""What is done before a trial computes on its part of a GPU, on a fake driver."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_nvml import fake_pynvml

from raytune_suite import nvml, sharing
from raytune_suite.errors import TrainableError

GIB = 2**30


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Two idle GPUs, of which the process sees both."""
    found: list[dict[str, Any]] = [
        {"uuid": "GPU-aaaa", "total": 40 * GIB, "used": 0, "busy": 30, "running": {}},
        {"uuid": "GPU-bbbb", "total": 80 * GIB, "used": 0, "running": {}},
    ]
    module = fake_pynvml(found)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    yield found
    assert module.started == []  # whoever starts it ends it


class Clock:
    """Time that passes while somebody sleeps; what happens at which second."""

    def __init__(self, **at: Any) -> None:
        self.now, self.at = 0.0, {float(name[1:]): what for name, what in at.items()}

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for when in [when for when in self.at if when <= self.now]:
            self.at.pop(when)()


def wait(gpu: float, most_s: float = 10.0, clock: Clock | None = None) -> list[nvml.Reading]:
    clock = clock or Clock()
    return sharing.wait_for_room(gpu, most_s, sleep=clock.sleep, clock=clock)


def hold(gpu: dict[str, Any], amount: int, pid: int) -> None:
    gpu["used"] += amount
    gpu["running"][pid] = amount


def test_a_gpu_is_read_by_number_and_by_uuid(gpus: Any) -> None:
    one, other = nvml.read("0"), nvml.read("GPU-bbbb")
    assert one == nvml.Reading("NVIDIA A100-SXM4-40GB", 40 * GIB, 40 * GIB, 30.0, ())
    assert other is not None
    assert (other.total, other.busy) == (80 * GIB, None)


@pytest.mark.parametrize("device", ["7", "GPU-cccc", ""])
def test_a_gpu_that_is_not_there_tells_nothing(gpus: Any, device: str) -> None:
    assert nvml.read(device) is None


def test_without_a_driver_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml([], driver=False))
    assert wait(1.0) == []
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert wait(1.0) == []


def test_a_free_gpu_is_taken_at_once_and_a_trial_without_one_looks_at_none(gpus: Any) -> None:
    assert [reading.total for reading in wait(0.5)] == [40 * GIB]
    assert [reading.total for reading in wait(2)] == [40 * GIB, 80 * GIB]
    assert wait(0) == []


def test_neighbours_within_their_shares_are_not_in_the_way(gpus: Any) -> None:
    hold(gpus[0], 30 * GIB, pid=1)
    assert wait(0.25)


def test_a_trial_waits_until_another_process_is_gone(gpus: Any) -> None:
    hold(gpus[0], 35 * GIB, pid=1)
    clock = Clock(t3=lambda: gpus[0].update(used=0, running={}))
    assert wait(0.5, clock=clock)[0].free == 40 * GIB
    assert clock.now == 3.0


def test_what_the_process_holds_itself_is_free_to_it(gpus: Any) -> None:
    hold(gpus[0], 39 * GIB, pid=os.getpid())
    assert wait(1.0)


def test_memory_that_stays_held_is_an_error_that_names_the_holders(gpus: Any) -> None:
    hold(gpus[0], 30 * GIB, pid=1)
    gpus[0]["running"][999_999_999] = None
    clock = Clock()
    with pytest.raises(sharing.GpuHeldError) as caught:
        wait(0.5, clock=clock)
    text = str(caught.value)
    assert (
        "GPU 0 (NVIDIA A100-SXM4-40GB) has 10.0 GiB free, and the trial was given 20.0 GiB of it; waited 10 s" in text
    )
    assert "process 1 (" in text
    assert "30.0 GiB), process 999999999 (not of this container, memory not told)" in text
    assert clock.now == 10.0


def test_the_second_gpu_of_a_trial_is_looked_at_too(gpus: Any) -> None:
    hold(gpus[1], 70 * GIB, pid=1)
    with pytest.raises(sharing.GpuHeldError, match=r"GPU 1 .* has 10\.0 GiB free"):
        wait(2)


def test_the_wait_can_be_set_and_switched_off(gpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(gpus[0], 40 * GIB, pid=1)
    monkeypatch.setenv(sharing.WAIT, "0")
    assert sharing.wait_for_room(1.0) == []
    monkeypatch.setenv(sharing.WAIT, "soon")
    with pytest.raises(TrainableError, match="RAYTUNE_GPU_WAIT must be a number of seconds, not 'soon'"):
        sharing.wait_for_room(1.0)


def test_cuda_counts_gpus_as_ray_does_and_sees_none_that_was_not_given() -> None:
    given, none, own = {"CUDA_VISIBLE_DEVICES": "3"}, {}, {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}
    sharing.see(0.5, given)
    sharing.see(0, none)
    sharing.see(1, own)
    assert given == {"CUDA_VISIBLE_DEVICES": "3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert none["CUDA_VISIBLE_DEVICES"] == ""
    assert own == {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}


def daemon(folder: Path, pid: int | None) -> dict[str, str]:
    if pid is not None:
        (folder / "nvidia-cuda-mps-control.pid").write_text(f"{pid}\n")
    return {"CUDA_MPS_PIPE_DIRECTORY": str(folder), "CUDA_VISIBLE_DEVICES": "0"}


def test_a_shared_gpu_is_shared_through_mps_where_its_daemon_runs(tmp_path: Path, gpus: Any) -> None:
    environ = daemon(tmp_path, os.getpid())
    assert sharing.join_mps(0.25, environ)
    assert environ["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == f"0={10 * 1024}M"


@pytest.mark.parametrize(("gpu", "pid"), [(1, "alive"), (0, "alive"), (0.5, None), (0.5, "dead")])
def test_mps_is_left_alone_where_nothing_is_shared_or_no_daemon_runs(
    tmp_path: Path, gpus: Any, gpu: float, pid: str | None
) -> None:
    environ = daemon(tmp_path, {"alive": os.getpid(), "dead": 2**22 + 1}.get(pid or ""))
    before = dict(environ)
    assert not sharing.join_mps(gpu, environ)
    assert environ == before


def test_a_limit_of_the_users_own_stays(tmp_path: Path, gpus: Any) -> None:
    environ = {**daemon(tmp_path, os.getpid()), "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=1G"}
    assert sharing.join_mps(0.5, environ)
    assert environ["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=1G"
