"""Where a trial stands. The table of states is in docs/states.md."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The state of a trial; members compare equal to their lower-case names."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    STOPPED = "stopped"
    INFEASIBLE = "infeasible"
    FAILED = "failed"
    OOM = "oom"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    PREEMPTED = "preempted"

    @property
    def ended(self) -> bool:
        """No more results will come from this trial unless someone asks for a retry or an extension."""
        return self in _ENDED

    @property
    def succeeded(self) -> bool:
        """The trial's value counts as a result: it completed, or was stopped on purpose."""
        return self in (State.COMPLETED, State.STOPPED)

    @property
    def failure(self) -> bool:
        """The configuration, or the code, is to blame; the searcher is told so."""
        return self in (State.INFEASIBLE, State.FAILED, State.OOM, State.TIMED_OUT)


_ENDED = frozenset({State.COMPLETED, State.STOPPED, State.INFEASIBLE, State.FAILED, State.OOM, State.TIMED_OUT})
