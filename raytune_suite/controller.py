"""What Tune's controller does while a slot waits for its suggestion: keep the slot's worker, and look often.

By itself it keeps one idle worker and ends the others; it gives an idle worker to a trial whose own is still starting,
and ends that one; and it looks every 0.1 s whether a trial has come. A worker costs seconds to start. All three are
changed in attributes private to Ray. Where a version lacks them nothing breaks: workers are then started anew, and a
suggestion may wait for 0.1 s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

LOOK_S = 0.02
"""How often the controller looks whether a suggestion has come: each look costs it about 0.5 ms."""


class Waiting:
    """The controller of one run, as far as waiting for suggestions goes."""

    def __init__(self) -> None:
        self._controller: Any = None
        self._kept: Counter[Hashable] = Counter()
        self._spared: list[Any] = []
        self._is_on = False

    def attach(self, controller: Any) -> None:
        """Take the controller, or the wrapper in which schedulers get it; the first one counts."""
        if self._controller is not None:
            return
        self._controller = getattr(controller, "_tune_controller", controller)
        manager = getattr(self._controller, "_actor_manager", None)
        if manager is None or not hasattr(manager, "next"):
            return
        wait = manager.next

        def look_often(timeout: float | None = None) -> Any:
            return wait(timeout=min(timeout, LOOK_S) if self._is_on and timeout is not None else timeout)

        manager.next = look_often

    def on(self, trials: Sequence[Any], slots: int) -> None:
        """At least one of ``slots`` waits. ``trials``: those that have not ended; their workers may be idle soon."""
        self._is_on = True
        wanted = self._kept.copy()
        for trial in trials:
            wanted[trial.placement_group_factory] = slots
        self._keep(wanted)
        self._spare([trial for trial in trials if trial.status == trial.PENDING])

    def off(self) -> None:
        """No slot waits any more."""
        self._is_on = False
        self._keep(Counter())
        self._spare([])

    def _keep(self, wanted: Counter[Hashable]) -> None:
        cache = getattr(self._controller, "_actor_cache", None)
        if cache is None or not hasattr(cache, "increase_max") or wanted == self._kept:
            return
        for request in wanted | self._kept:
            cache.increase_max(request, wanted[request] - self._kept[request])
        self._kept = wanted

    def _spare(self, starting: list[Any]) -> None:
        """Let ``starting`` trials wait for their own workers, and no others."""
        takers = getattr(self._controller, "_resources_to_pending_trials", None)
        if takers is None:
            return
        for trial in self._spared:
            if trial.status == trial.PENDING:
                takers[trial.placement_group_factory].add(trial)
        for trial in starting:
            takers[trial.placement_group_factory].discard(trial)
        self._spared = starting
