"""Slots and GPUs taken over time, as TensorBoard shows them for the study as a whole."""

from __future__ import annotations

from raytune_suite.usage import Event, Usage

_AT_MOST_EVERY_S = 1.0
_CHANGES = frozenset({"session", "start", "retry", "decision", "end", "close"})


class Occupation:
    """Follows the events of a journal; a point whenever it has changed, at most one a second."""

    def __init__(self) -> None:
        self._usage = Usage()
        self._zero: float | None = None
        self._shown: float | None = None
        self._next = 0.0

    def apply(self, event: Event) -> tuple[int, dict[str, float]] | None:
        """The seconds since the study began and the curves' values then; None if there is nothing new to show."""
        self._usage.apply(event)
        now = float(event.get("time") or 0.0)
        if self._zero is None:
            self._zero = now
        if event["event"] not in _CHANGES or not self._usage.capacity:
            return None
        taken = self._usage.taken
        due = now >= self._next or event["event"] == "close"
        if not due or taken == self._shown:
            return None
        self._shown, self._next = taken, now + _AT_MOST_EVERY_S
        shares = self._usage.shares()
        unit = f"{self._usage.unit.lower()}s"
        found = {f"study/{unit}_taken": taken, f"study/{unit}": self._usage.capacity}
        if shares:
            found["study/training"] = shares["training"]
        return int(now - self._zero), found
