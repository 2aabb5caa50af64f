"""How many trials a GPU takes best: measured on the first trials of a study (``resources: {trials_per_gpu: auto}``).

A small model leaves most of a GPU idle, and several of them beside each other get more done, up to where they are in
each other's way. So trials begin alone on a GPU; once enough steps have been measured with all GPUs so filled, twice as
many share one, and so on, as long as the sum of their steps per second grows. Where it does not, or where one runs out
of memory, it is back to half as many, for good. Counted from the journal, which holds each decision, so that a resumed
study goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Any

from raytune_suite.live import Log
from raytune_suite.resources import Cluster, Request, fits
from raytune_suite.shares import STEP, share

if TYPE_CHECKING:
    from raytune_suite.study import Study

Event = Mapping[str, Any]
GAIN = 1.05
"""Twice as many trials must get at least so much more done."""
MOST = 32
_TRAINING = 2 / 3
"""So many of the trials must be past their first step: where trials are short, some are always starting."""


class Density:
    """How many trials share a GPU now. ``gpus``: of the cluster; ``possible`` says whether so many have room."""

    def __init__(self, gpus: int, possible: Callable[[int], bool]) -> None:
        self.level = 1
        self.final = not possible(2)
        self.speeds: dict[int, float] = {}
        """The sum of steps per second on one GPU, by the number of trials on it."""
        self._gpus, self._possible = gpus, possible
        self._running: dict[int, float | None] = {}  # the share of each trial, once its worker has told
        self._elapsed: dict[int, float] = {}
        self._rates: dict[int, list[float]] = {}
        self._failed = False

    @property
    def share(self) -> float:
        """What a trial that is made now asks for of a GPU."""
        return share(self.level)

    def apply(self, event: Event) -> None:
        """Take one event of the journal into account."""
        kind, number = event["event"], event.get("number")
        if kind == "session":
            self._running.clear()
            self._again()
        elif kind == "density":
            self.speeds[event["level"]] = event["steps_per_s"]
            self.level, self.final = event["next"], event["final"]
            self._again()
        elif number is not None and not self.final:
            self._of_trial(kind, number, event)

    def settle(self, log: Log) -> None:
        """Decide, if enough is known, and write the decision down; applying what was written is what counts."""
        if self.final:
            return
        if self._failed:
            self._write(log, max(1, self.level // 2), True, "one ran out of memory")
        elif sum(map(len, self._rates.values())) >= self._needed():
            self._judge(log)

    def _judge(self, log: Log) -> None:
        self.speeds[self.level] = speed = self._speed()
        before = self.speeds.get(self.level // 2)
        if before is not None and speed < GAIN * before:
            self._write(log, self.level // 2, True, f"{self.level // 2} did {before:.3g}")
        elif not self._possible(2 * self.level):
            self._write(log, self.level, True, "there is no room for more")
        else:
            self._write(log, 2 * self.level, False, "more are tried")

    def _write(self, log: Log, following: int, final: bool, why: str) -> None:
        speed = self._speed()
        keep = f": {following} a GPU from now on" if final else ""
        text = f"{self.level} a GPU did {speed:.3g} steps/s together, {why}{keep}"
        facts = {"level": self.level, "steps_per_s": speed, "next": following, "final": final}
        log.append("density", **facts, text=text)
        self.level, self.final = following, final
        self._again()

    # -- measuring -----------------------------------------------------------------------------------------------

    def _of_trial(self, kind: str, number: int, event: Event) -> None:
        if kind == "start":
            self._running[number] = None
            self._elapsed.pop(number, None)
        elif kind == "worker":
            self._running[number] = float(event.get("gpu") or 0)
        elif kind == "report":
            self._report(number, event.get("elapsed"))
        elif kind in ("end", "retry") or (kind == "decision" and event.get("action") == "pause"):
            given = self._running.pop(number, None)
            crowded = self.level > 1 and given is not None and self._is_current(given)
            self._failed = self._failed or (event.get("state") == "oom" and crowded)

    def _report(self, number: int, elapsed: float | None) -> None:
        """A step is measured from the report before it: the first one of a worker holds what is done only once."""
        if elapsed is None:
            return
        before, self._elapsed[number] = self._elapsed.get(number), elapsed
        if before is not None and elapsed > before and self._full():
            self._rates.setdefault(number, []).append(1.0 / (elapsed - before))

    def _full(self) -> bool:
        """Whether the GPUs have as many trials as are to be measured, none of another share, and most of them train."""
        training = [given for given in self._running.values() if given is not None]
        wanted = self.level * self._gpus
        alike = all(map(self._is_current, training))
        return alike and len(self._running) >= wanted and len(training) >= _TRAINING * wanted

    def _is_current(self, given: float) -> bool:
        return round(given * STEP) == round(self.share * STEP)

    def _needed(self) -> int:
        return max(4, 2 * self.level * self._gpus)

    def _speed(self) -> float:
        return self.level * fmean(map(fmean, self._rates.values())) if self._rates else 0.0

    def _again(self) -> None:
        self._rates, self._failed = {}, False


def of_study(study: Study, needs: Request, cluster: Cluster, past: Iterable[Event] = ()) -> Density | None:
    """What measures for a study, with what it has found before; None if it does not ask for that, or has no GPU."""
    asked = study.resources
    wanted = not isinstance(asked, str) and asked.trials_per_gpu == "auto"
    made = density(needs, cluster) if wanted else None
    if made is not None:
        for event in past:
            made.apply(event)
    return made


def density(needs: Request, cluster: Cluster) -> Density | None:
    """For a study whose trials need this much beside the GPU; None where there is no GPU, or they want whole ones."""
    nodes = [node for node in cluster.nodes if node.gpu >= 1]
    gpus = int(sum(node.gpu for node in nodes))
    if needs.gpu != 1 or not gpus:
        return None

    def possible(level: int) -> bool:
        wanted = Request(needs.cpu, share(level), needs.custom, needs.accelerator_type)
        return level <= MOST and sum(fits(wanted, node) for node in nodes) >= level * gpus

    return Density(gpus, possible)
