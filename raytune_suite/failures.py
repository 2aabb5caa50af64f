"""Why a trial failed: turns what Ray raised into a state, a name, a message and a short traceback."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from raytune_suite.states import State
from raytune_suite.watchdog import hang

HOST_MEMORY = "HostMemoryError"
"""The kind of a failure of a worker that was ended because main memory ran out."""
_TRACE_LINES = 40
_ANSWER_S = 1.0


@dataclass(frozen=True)
class Failure:
    """What ended a trial against its will. ``divisible``: samples in the pieces it computes, if they can be smaller."""

    state: State
    kind: str
    message: str
    trace: str = ""
    divisible: int = 0

    def as_dict(self) -> dict[str, str]:
        """The ``error`` field of a journal event."""
        return {"type": self.kind, "message": self.message, "traceback": self.trace}


def classify(error: BaseException | None, trial_dir: Path, killed: bool = False) -> Failure:
    """The failure behind an exception that Ray raised for a trial whose files lie in ``trial_dir``.

    ``killed``: the kernel has just killed a process for memory on the machine where the worker was.
    """
    import ray.exceptions as ray_errors

    from raytune_suite.trialerror import TrialError

    cause = getattr(error, "cause", None)
    cause = cause if isinstance(cause, TrialError) else error
    if isinstance(cause, TrialError):
        return Failure(State(cause.state), cause.kind, cause.message, _shorten(cause.trace), cause.divisible)
    if isinstance(error, ray_errors.RayActorError):
        return _lost_worker(error, trial_dir, killed)
    if isinstance(error, ray_errors.OutOfMemoryError):
        return Failure(State.OOM, HOST_MEMORY, "Ray ended the worker to protect the node's memory")
    return Failure(State.FAILED, type(error).__name__, _first_line(str(error)), _shorten(str(error)))


def _lost_worker(error: BaseException, trial_dir: Path, killed: bool) -> Failure:
    if (hung := hang(trial_dir)) is not None:
        return Failure(State.TIMED_OUT, "Timeout", hung.message, _shorten(hung.trace, head=20))
    text = str(error)
    if getattr(error, "preempted", False) or "node has died" in text.lower():
        return Failure(State.PREEMPTED, type(error).__name__, "the trial's node was lost")
    if isinstance(error, _unavailable()) and _a_node_is_lost():
        return Failure(State.PREEMPTED, type(error).__name__, "the trial's node cannot be reached")
    if "running low on memory" in text:  # the words of Ray's memory monitor
        return Failure(State.OOM, HOST_MEMORY, "Ray killed the worker because its node ran low on memory")
    if killed:
        return Failure(State.OOM, HOST_MEMORY, "the kernel killed the worker because memory ran out")
    return Failure(State.FAILED, type(error).__name__, "the worker process died", _shorten(text))


def _unavailable() -> type[BaseException]:
    """What Ray raises for a worker that is silent, and of whose death its node has not told."""
    from ray.exceptions import ActorUnavailableError

    return cast("type[BaseException]", ActorUnavailableError)


def _a_node_is_lost() -> bool:
    """Whether a node that Ray still counts on does not answer: Ray itself knows only after many seconds."""
    import ray

    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
    except Exception:  # whatever Ray raises where nobody can be asked any more
        return False
    return any(not _answers(str(node["NodeManagerAddress"]), int(node["NodeManagerPort"])) for node in nodes)


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=_ANSWER_S):
            return True
    except OSError:
        return False


def _shorten(trace: str, head: int = 5) -> str:
    """The first ``head`` lines and the last, where most tracebacks say what happened."""
    lines = trace.strip().splitlines()
    if len(lines) <= _TRACE_LINES:
        return "\n".join(lines)
    left_out = f"... {len(lines) - _TRACE_LINES + 1} lines ..."
    return "\n".join([*lines[:head], left_out, *lines[-(_TRACE_LINES - head - 1) :]])


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
