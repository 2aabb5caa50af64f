"""What is made of an exception that Ray raised for a trial."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from ray import exceptions

from raytune_suite.failures import HOST_MEMORY, classify
from raytune_suite.states import State
from raytune_suite.trialerror import TrialError

VANISHED = "Worker unexpectedly exits. Potential root causes: (1) The process is killed by SIGKILL by OOM killer"


def test_a_worker_that_ray_ended_for_memory_ran_out_of_memory(tmp_path: Path) -> None:
    died = exceptions.ActorDiedError()
    died.error_msg = "Task was killed due to the node running low on memory."
    for error in (exceptions.OutOfMemoryError("the node"), died):
        found = classify(error, tmp_path)
        assert (found.state, found.kind) == (State.OOM, HOST_MEMORY)


@pytest.mark.parametrize(("killed", "state"), [(True, State.OOM), (False, State.FAILED)])
def test_a_worker_that_vanished_ran_out_of_memory_if_the_kernel_says_so(
    tmp_path: Path, killed: bool, state: State
) -> None:
    died = exceptions.ActorDiedError()
    died.error_msg = VANISHED  # what Ray always says
    assert classify(died, tmp_path, killed).state is state


def test_what_the_worker_knows_of_its_batches_comes_through(tmp_path: Path) -> None:
    error = TrialError("oom", "OutOfMemoryError", "CUDA out of memory", "trace", 32)
    assert classify(error, tmp_path).divisible == 32


@pytest.mark.parametrize(("listening", "state"), [(True, State.FAILED), (False, State.PREEMPTED)])
def test_a_worker_whose_node_does_not_answer_was_on_a_lost_one(
    listening: bool, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = exceptions.ActorUnavailableError("RPC error: Socket closed", b"0" * 16)
    with socket.create_server(("127.0.0.1", 0)) as raylet:
        node = {"Alive": True, "NodeManagerAddress": "127.0.0.1", "NodeManagerPort": raylet.getsockname()[1]}
        monkeypatch.setattr("ray.nodes", lambda: [node, {**node, "Alive": False, "NodeManagerPort": 1}])
        if not listening:
            raylet.close()
        assert classify(silent, tmp_path).state is state
