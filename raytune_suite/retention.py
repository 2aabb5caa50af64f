"""Which checkpoints of a study stay on disk beyond what each trial keeps for itself.

A trial that a scheduler or a stopper ended will not go on, so its checkpoints go, unless it is the best one so far or
the default configuration. A quota for all of them together is kept by deleting those of ended trials: first the
worst that have a value, then those that failed. What a running or waiting trial goes on from, the best trial and the
default stay, whatever the quota says. Deleting takes long on some disks: a thread does it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from raytune_suite.checkpoints import delete
from raytune_suite.record import Record, TrialRecord
from raytune_suite.states import State
from raytune_suite.stoppers import OWN_RULES
from raytune_suite.study import Study

logger = logging.getLogger("raytune_suite")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Retention:
    """Listens to the journal of a running study and deletes what is not needed any more.

    ``record`` has seen each event first. With a ``population`` any checkpoint may still be taken over by another trial,
    so none is deleted for its trial's end.
    """

    def __init__(self, study: Study, folder: Path, record: Record, *, population: bool = False) -> None:
        self._record, self._folder = record, folder / "checkpoints"
        self._quota = study.checkpoint.quota
        self._ends = frozenset({study.scheduler.name, *OWN_RULES})
        self._removes = not population and "all" not in study.checkpoint.keep
        self._sign = 1.0 if study.mode == "min" else -1.0
        self._default = 0 if study.default is not None else None
        self._best: int | None = None
        self._sizes: dict[int, int] = {}
        #: What a user should know in the end.
        self.notices: list[str] = []
        self._deleted = 0
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._thread.start()

    def take_over(self) -> None:
        """Look at the trials of earlier sessions: some may have ended a moment before the driver did."""
        for trial in self._record.trials.values():
            self._ended(trial)
            self._measure_later(trial.number)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take an event of the journal into account; returns at once."""
        number = event.get("number")
        if number is None:
            return
        if event["event"] == "end":
            self._ended(self._record.trials[number])
        if event["event"] in ("end", "checkpoint"):
            self._measure_later(number)

    def close(self) -> list[str]:
        """Finish what is under way; returns what a user should know."""
        self._work.put(None)
        self._thread.join()
        if self._deleted:
            what = f"checkpoints of {self._deleted} ended trial{'s' if self._deleted > 1 else ''}"
            self.notices.insert(0, f"{what} were deleted to keep within checkpoint.quota ({size(self._quota or 0)})")
        return self.notices

    # -- ended trials ------------------------------------------------------------------------------------------------

    def _ended(self, trial: TrialRecord) -> None:
        if not trial.state.succeeded:
            return
        beaten = trial.number
        if self._beats_best(trial):
            beaten, self._best = self._best if self._best is not None else -1, trial.number
        if beaten >= 0 and self._is_over(self._record.trials[beaten]):
            self._work.put(lambda: self._remove(beaten))

    def _beats_best(self, trial: TrialRecord) -> bool:
        if trial.best() is None:
            return False
        return self._best is None or self._rank(trial) < self._rank(self._record.trials[self._best])

    def _rank(self, trial: TrialRecord) -> tuple[float, int]:
        best = trial.best()
        return (self._sign * best.value if best else float("inf")), trial.number

    def _is_over(self, trial: TrialRecord) -> bool:
        stopped = trial.state is State.STOPPED and trial.by in self._ends
        return self._removes and stopped and trial.number not in (self._best, self._default)

    def _remove(self, number: int) -> None:
        folder = self._folder / self._record.trials[number].trial_id
        if folder.is_dir():
            delete(folder)
        self._sizes.pop(number, None)

    # -- the quota ---------------------------------------------------------------------------------------------------

    def _measure_later(self, number: int) -> None:
        if self._quota is not None:
            self._work.put(lambda: self._measure(number))

    def _measure(self, number: int) -> None:
        quota = self._quota or 0
        self._sizes[number] = _size_of(self._folder / self._record.trials[number].trial_id)
        if sum(self._sizes.values()) <= quota:
            return
        for trial in self._expendable():
            self._give_up(trial)
            if sum(self._sizes.values()) <= quota:
                return
        self._say_exceeded(sum(self._sizes.values()), quota)

    def _expendable(self) -> list[TrialRecord]:
        """The ended trials that have checkpoints, in the order in which these are given up."""
        known = [self._record.trials[number] for number in list(self._sizes) if self._sizes[number]]
        kept = (self._best, self._default)
        ended = [trial for trial in known if trial.state.ended and trial.number not in kept]
        return sorted(ended, key=lambda t: (t.state.failure, *(-part for part in self._rank(t))))

    def _give_up(self, trial: TrialRecord) -> None:
        logger.info("checkpoint.quota %s: trial %d loses its checkpoints", size(self._quota or 0), trial.number)
        self._remove(trial.number)
        self._deleted += 1

    def _say_exceeded(self, used: int, quota: int) -> None:
        if any("exceeded" in notice for notice in self.notices):
            return
        text = (
            f"checkpoint.quota ({size(quota)}) is exceeded: {size(used)} are needed by unfinished trials, the best one "
            "and the default, which keep theirs; raise it, or lower max_concurrent"
        )
        self.notices.append(text)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception:
                logger.exception("checkpoints could not be tidied")


def size(count: float) -> str:
    """Bytes as a person would say them: ``1.5 GiB``."""
    power = 0
    while count >= 1024 and power < len(_UNITS) - 1:
        count, power = count / 1024, power + 1
    return f"{count:.3g} {_UNITS[power]}"


def _size_of(folder: Path) -> int:
    """What its files take; those that are deleted at this moment count nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(parent, name).lstat().st_size
    return total
