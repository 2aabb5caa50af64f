"""A trial that has not ended, and what passes between the driver, the engine and the journal about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from raytune_suite.states import State
from raytune_suite.stoppers import Stopped

CONTINUE, PAUSE, STOP = "CONTINUE", "PAUSE", "STOP"
RETURNED = "the trainable returned"
Report = tuple[int, dict[str, Any], float, dict[str, Any]]
"""Iteration, flat metrics (empty: the code ended), training seconds so far, facts from the worker."""


Decide = Callable[[float], str]
"""Asks Ray's scheduler about the report at hand, given the metric's value: CONTINUE, PAUSE or STOP."""


@dataclass(frozen=True)
class Given:
    """What a trial has been given beyond what its study asks for, since it ran out of memory.

    ``gpu`` and ``memory`` (bytes) replace the study's amounts, ``split`` is into how many pieces its batches are cut,
    ``again`` how often it was started again as it was.
    """

    gpu: float | None = None
    memory: int | None = None
    split: int = 1
    again: int = 0

    def as_dict(self) -> dict[str, float]:
        """The ``given`` field of a journal event: what differs from the study."""
        return {name: value for name, value in asdict(self).items() if value != getattr(Given, name)}


@dataclass(frozen=True)
class NewTrial:
    """What the engine needs to start a trial."""

    number: int
    trial_id: str
    config: dict[str, Any]
    given: Given = Given()


class Log(Protocol):
    """Where the driver writes: the journal, or what stands in for it while a journal is lived through again."""

    def append(self, kind: str, **fields: Any) -> int:
        """Write one event and return its number."""
        ...


@dataclass
class Live:
    """A trial that has not ended: what is known of it besides its record."""

    point: dict[str, Any]
    config: dict[str, Any]
    iteration: int = 0
    value: float | None = None
    error: float | None = None
    best: float | None = None
    attempt: int = 0
    ending: Stopped | None = None
    spent: dict[State, int] = field(default_factory=dict)
    seconds: float = 0.0
    given: Given = Given()


def trial_id(number: int) -> str:
    """The name of a trial everywhere: in folders, TensorBoard and Ray."""
    return f"{number:05d}"
