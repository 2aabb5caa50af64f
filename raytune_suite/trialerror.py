"""What a trial's code did wrong, on its way from the worker to the driver."""

from __future__ import annotations

import traceback

from raytune_suite.errors import is_all_said
from raytune_suite.trainable import is_out_of_memory
from raytune_suite.trainable.crew import RankError

_OWN_FRAMES = ("ray/util/tracing/tracing_helper.py", "raytune_suite/worker.py", "raytune_suite/hosts.py")


class TrialError(Exception):
    """What a trial's code did wrong, in words that survive the way to the driver whatever the user raised."""

    def __init__(self, state: str, kind: str, message: str, trace: str, divisible: int = 0) -> None:
        super().__init__(state, kind, message, trace, divisible)
        self.state, self.kind, self.message, self.trace, self.divisible = state, kind, message, trace, divisible

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


def failure_of(error: BaseException, divisible: int = 0) -> TrialError:
    """What the driver is told of an error; ``divisible``: samples in the pieces of a batch, if they can be smaller."""
    if isinstance(error, TrialError):
        return error
    trace = "" if is_all_said(error) else _user_trace(error)
    if is_out_of_memory(error):
        return TrialError("oom", _kind(error), str(error), trace, divisible)
    return TrialError("failed", _kind(error), str(error), trace)


def _kind(error: BaseException) -> str:
    return error.kind if isinstance(error, RankError) else type(error).__name__


def _user_trace(error: BaseException) -> str:
    """The traceback without the frames between Ray and the user's code; that of another process as it told it."""
    if isinstance(error, RankError):
        return error.trace
    described = traceback.TracebackException.from_exception(error)
    frames = [frame for frame in described.stack if not frame.filename.endswith(_OWN_FRAMES)]
    if frames:
        described.stack = traceback.StackSummary.from_list(frames)
    return "".join(described.format())
