"""Where a trial's weights come from: read off a journal, trial by trial and configuration by configuration.

Most trials are one stretch of training under one configuration, however often they were interrupted: an exact resume
leaves no mark. Under population based training a trial gives up its weights for those of another, whose own may come
from a third, and goes on with a new configuration; what was trained is then a chain of stretches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from raytune_suite.errors import ExperimentError
from raytune_suite.record import Report

Event = Mapping[str, Any]


@dataclass(eq=False)
class Leg:
    """Training of trial ``number`` under one ``config``, from the weights that ``source`` had at iteration ``start``.

    ``reports`` are in order, the first of iteration ``start + 1``; ``source`` is None for a training from scratch.
    ``max_iterations`` is how long a training was to be, ``cpus`` and ``gpu`` what the worker had, each None if the
    journal does not say; ``environments`` are the fingerprints of the workers' software, ``resumed`` the iterations at
    which another process went on from a checkpoint.
    """

    number: int
    config: dict[str, Any]
    start: int = 0
    source: Leg | None = None
    max_iterations: int | None = None
    reports: list[Report] = field(default_factory=list)
    cpus: float | None = None
    gpu: float | None = None
    environments: set[str] = field(default_factory=set)
    resumed: set[int] = field(default_factory=set)

    @property
    def last(self) -> int:
        """The last iteration it reported; ``start`` before the first."""
        return self.start + len(self.reports)


@dataclass(frozen=True)
class Stretch:
    """The iterations of a leg up to ``last`` that a trial's weights went through."""

    leg: Leg
    last: int

    @property
    def reports(self) -> list[Report]:
        """What was reported on the way."""
        return self.leg.reports[: self.last - self.leg.start]


class Lineages:
    """The legs of every trial of an experiment, in the order they were begun; fed with the events of its journal."""

    def __init__(self) -> None:
        self.legs: dict[int, list[Leg]] = {}
        self._configs: dict[int, dict[str, Any]] = {}
        self._exploits: dict[int, Leg | None] = {}
        self._workers: dict[int, Event] = {}
        self._longest: int | None = None
        self._apply = {
            "experiment": self._on_session,
            "session": self._on_session,
            "trial": self._on_trial,
            "decision": self._on_decision,
            "worker": self._on_worker,
            "report": self._on_report,
        }

    def apply(self, event: Event) -> None:
        """Take one event into account; events come in the order of the journal."""
        handler = self._apply.get(event["event"])
        if handler is not None:
            handler(event)

    def path(self, number: int) -> list[Stretch]:
        """Return what trial ``number`` was trained by, from scratch to its last report; empty if it has none.

        Raises:
            ExperimentError: the journal does not tell where weights that were trained on came from.
        """
        leg: Leg | None = self.legs[number][-1]
        last, found = (leg.last if leg is not None else 0), list[Stretch]()
        while leg is not None:
            found.append(Stretch(leg, last))
            if leg.source is None and leg.start:
                raise ExperimentError(
                    f"The journal does not tell where trial {leg.number} had the weights from with which it went on "
                    f"after iteration {leg.start}."
                )
            last, leg = leg.start, leg.source
        return [stretch for stretch in reversed(found) if stretch.reports]

    def _on_session(self, event: Event) -> None:
        self._longest = event.get("max_iterations", self._longest)

    def _on_trial(self, event: Event) -> None:
        number = event["number"]
        self._configs[number] = event.get("config") or {}
        self.legs[number] = [Leg(number, self._configs[number], max_iterations=self._longest)]

    def _on_decision(self, event: Event) -> None:
        reason = event.get("reason") or {}
        if event.get("action") == "exploit" and "from" in reason:
            number = event["number"]
            self._configs[number] = reason.get("config") or self._configs[number]
            self._exploits[number] = self.legs[int(reason["from"])][-1]

    def _on_worker(self, event: Event) -> None:
        known = {key: value for key, value in event.items() if value is not None}
        self._workers[event["number"]] = {**self._workers.get(event["number"], {}), **known}

    def _on_report(self, event: Event) -> None:
        number, iteration = event["number"], event["iteration"]
        leg = self._leg(number, iteration)
        self._started(leg, self._workers.pop(number, {}), iteration - 1)
        del leg.reports[iteration - 1 - leg.start :]
        leg.reports.append(Report(iteration, event["metrics"], event["time"], event.get("elapsed")))

    def _leg(self, number: int, iteration: int) -> Leg:
        """The leg that this report belongs to: the current one, unless its weights came from elsewhere."""
        current = self.legs[number][-1]
        given = self._exploits.pop(number, None)
        loaded = self._workers.get(number, {})
        if given is not None and loaded.get("restored_from", f"{given.number:05d}") == f"{given.number:05d}":
            source = self._at(given.number, iteration - 1, upto=given)
        elif current.start < iteration <= current.last + 1 and self._is_as(current):
            return current
        else:  # its training was made longer, it went back to before its last exploit, or ignored that
            source = self._at(number, iteration - 1)
        return self._begin(number, iteration - 1, source)

    def _is_as(self, leg: Leg) -> bool:
        return leg.config == self._configs[leg.number] and leg.max_iterations == self._longest

    def _begin(self, number: int, start: int, source: Leg | None) -> Leg:
        made = Leg(number, self._configs[number], start, source, self._longest)
        self.legs[number].append(made)
        return made

    def _at(self, number: int, iteration: int, upto: Leg | None = None) -> Leg | None:
        """The latest leg of a trial that has reported ``iteration``, no later than the leg ``upto``."""
        legs = self.legs[number]
        known = legs[: legs.index(upto) + 1] if upto is not None else legs
        return next((leg for leg in reversed(known) if leg.start < iteration <= leg.last), None)

    def _started(self, leg: Leg, worker: Event, before: int) -> None:
        if worker.get("environment"):
            leg.environments.add(worker["environment"])
        if worker.get("cpus") is not None:
            leg.cpus, leg.gpu = worker["cpus"], worker.get("gpu") or 0
        if worker.get("restored") and before > leg.start:
            leg.resumed.add(before)


def lineages(events: Iterable[Event]) -> Lineages:
    """The legs of all trials after ``events``, which come in the order of the journal."""
    found = Lineages()
    for event in events:
        found.apply(event)
    return found
