"""Deriving a study's suggestions and decisions again from its journal alone, to see whether they come out the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytune_suite import journal as journals
from raytune_suite import schedulers, search, warmstart
from raytune_suite.driver import Driver
from raytune_suite.restore import Counts, DifferenceError, Past
from raytune_suite.stoppers import Stoppers
from raytune_suite.study import Study


@dataclass(frozen=True)
class Outcome:
    """What was derived again, and the first thing that came out differently, if anything did."""

    counts: Counts
    difference: DifferenceError | None

    @property
    def identical(self) -> bool:
        """Say whether everything that can be derived again came out as logged."""
        return self.difference is None

    def lines(self) -> list[str]:
        """Return the outcome as ``raytune replay`` prints it."""
        counts = self.counts
        derived = f"{_count(counts.suggestions, 'suggestion')}, {_count(counts.decisions, 'decision')}"
        seen = f"{_count(counts.trials, 'trial')} and {_count(counts.reports, 'report')}"
        left_out = [f"taken as logged: {what} ({count})" for what, count in sorted(counts.not_derived.items())]
        if self.difference is not None:
            return [f"different: {self.difference}", f"identical before it: {derived} ({seen})", *left_out]
        return [f"identical: {derived} ({seen})", *left_out]


def replay(folder: Path | str, study: Study) -> Outcome:
    """Run the searcher, the scheduler and the stoppers of ``study`` over an experiment's journal.

    Suggestion n is made with what the journal tells up to its event ``seen``, decisions with the logged reports in
    their order. What draws from elsewhere (PBT, PB2, HyperBand's pauses, searchers from elsewhere) is counted as
    taken as logged. Software of another version may come to other numbers: see ``raytune env``.

    Raises:
        JournalError: the journal cannot be read.
    """
    sources = warmstart.recorded(journals.read(folder), study.search_space)
    return replay_events(journals.read(folder), study, [source.earlier for source in sources])


def replay_events(events: Iterable[dict[str, Any]], study: Study, earlier: Sequence[search.Earlier] = ()) -> Outcome:
    """Do what :func:`replay` does with events at hand; ``earlier``: what other experiments gave to the searcher."""
    driver = Driver(
        study,
        Nowhere(),
        search.build(study, earlier),
        schedulers.build(study),
        Stoppers(study, clock=lambda: 0.0),
        num_trials=study.num_trials,
    )
    past = Past(driver, ask=True, strict=True)
    try:
        for event in events:
            past.apply(event)
    except DifferenceError as difference:
        return Outcome(past.counts, difference)
    return Outcome(past.counts, None)


class Nowhere:
    """A journal for a driver that only looks back."""

    def append(self, kind: str, **fields: Any) -> int:
        """Keep nothing."""
        return 0


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
