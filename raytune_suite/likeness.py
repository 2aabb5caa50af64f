"""Comparing what a training reports with what is on record, value by value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from raytune_suite.metrics import MEASURED
from raytune_suite.record import Report

_TINY = 1e-9
_ABSENT = object()


@dataclass(frozen=True)
class Difference:
    """Two values of a metric that are not the same: as logged by trial ``number``, and now (None: not reported)."""

    number: int
    iteration: int
    metric: str
    logged: Any
    now: Any
    relative: float

    def __str__(self) -> str:
        logged, now = (_shown(value) for value in (self.logged, self.now))
        return f"{self.metric} at iteration {self.iteration}: {logged} logged, {now} now"


@dataclass
class Comparison:
    """Compares reports as they come; stops caring after the first difference."""

    expected: list[tuple[int, Report]]
    ignore: Sequence[str]
    tolerance: float = 0.0
    done: int = 0
    difference: Difference | None = None
    largest: Difference | None = None
    metrics: dict[str, None] = field(default_factory=dict)

    def take(self, iteration: int, metrics: Mapping[str, Any]) -> None:
        """Compare the next report."""
        number, logged = self.expected[self.done]
        self.done += 1
        if self.difference is not None:
            return
        for name in sorted(logged.metrics.keys() | metrics.keys()):
            if not name.startswith(MEASURED) and not any(fnmatchcase(name, pattern) for pattern in self.ignore):
                self.metrics[name] = None
                self._compare(number, iteration, name, logged.metrics, metrics)

    def _compare(
        self, number: int, iteration: int, name: str, logged: Mapping[str, Any], now: Mapping[str, Any]
    ) -> None:
        relative = distance(logged.get(name, _ABSENT), now.get(name, _ABSENT))
        if relative and self.difference is None:
            self._note(Difference(number, iteration, name, logged.get(name), now.get(name), relative))

    def _note(self, found: Difference) -> None:
        if found.relative > self.tolerance:
            self.difference = found
        elif self.largest is None or found.relative > self.largest.relative:
            self.largest = found


def distance(one: Any, other: Any) -> float:
    """How far two values of a metric are apart: 0 for the same, relative for numbers, infinite for anything else."""
    numbers = [value for value in (one, other) if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)):
        alike = type(one) is type(other) and (one == other or (one != one and other != other))
        return 0.0 if alike else math.inf
    if one == other:
        return 0.0
    return float(abs(one - other) / max(abs(one), abs(other), _TINY))


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)
