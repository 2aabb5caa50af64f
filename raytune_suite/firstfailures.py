"""Ends a study whose first trials all fail: what is wrong with them is most likely wrong with every other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raytune_suite import formats
from raytune_suite.errors import TrainableError
from raytune_suite.tally import alike


@dataclass
class FirstFailures:
    """Counts the trials that ended without a usable value while none has had one; ``limit`` 0 lets all of them fail."""

    limit: int
    _failed: dict[int, tuple[str, str]] = field(default_factory=dict)
    _furthest: int = 0
    _over: bool = False
    _postponed: bool = False

    def ended(
        self, number: int, error: Mapping[str, Any] | None, *, failed: bool, iteration: int, alive: Mapping[int, int]
    ) -> None:
        """Note how a trial ended, and after which iteration.

        ``alive``: the iterations of those that still train and have a usable value. One that has come further than any
        that failed gives hope for good; an older one than the last that failed only postpones the verdict.
        """
        if not failed or self._over:
            self._over = True
            return
        kind = str((error or {}).get("type") or "no usable value")
        message = str((error or {}).get("message") or "the metric was never a finite number")
        self._failed[number] = (kind, message.strip().splitlines()[0] if message.strip() else "")
        self._furthest = max(self._furthest, iteration)
        self._over = any(reached > self._furthest for reached in alive.values())
        self._postponed = any(other < max(self._failed) for other in alive)

    def again(self) -> None:
        """Begin to count anew: something has changed, or the study would not be gone on with."""
        self._failed.clear()
        self._furthest, self._over, self._postponed = 0, False, False

    def verdict(self) -> TrainableError | None:
        """The error that ends the study, None while there is hope."""
        if self._over or self._postponed or not self.limit or len(self._failed) < self.limit:
            return None
        head = (
            "The first trial failed" if len(self._failed) == 1 else f"The first {len(self._failed)} trials all failed"
        )
        return TrainableError(
            f"{head}, so the study was stopped: {'; '.join(self._reasons())}. "
            f"Once the cause is mended go on with raytune retry; stop: {{first_failures: 0}} lets all of them fail."
        )

    def _reasons(self) -> list[str]:
        """The errors, those of most trials first, equal ones once."""
        groups: dict[tuple[str, str], list[int]] = {}
        for number, (kind, message) in self._failed.items():
            groups.setdefault((kind, alike(message)), []).append(number)
        ordered = sorted(groups.values(), key=lambda numbers: -len(numbers))
        return [self._said(numbers) for numbers in ordered]

    def _said(self, numbers: list[int]) -> str:
        kind, message = self._failed[numbers[0]]
        who = f"trial{'s' if len(numbers) > 1 else ''} {formats.numbers(numbers)}"
        return f"{kind}: {message.rstrip('.')} ({who})"
