"""The rungs of ASHA's promotion rule: what is recorded in them, and who may go on.

Li et al., "A System for Massively Parallel Hyperparameter Tuning", https://arxiv.org/abs/1810.05934, Algorithm 2.
Who is promoted follows from the values and the order in which they were recorded, and from nothing else.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import islice


def kept(trials: int, factor: float) -> int:
    """Return how many of so many trials go on: one in ``factor``, rounded down."""
    return int(trials / factor + 1e-9)


@dataclass(frozen=True)
class Entry:
    """One trial in a rung: its loss (smaller is better), when it came (0, 1, ...), and the iteration it stood at."""

    loss: float
    order: int
    trial_id: str
    iteration: int

    def __lt__(self, other: Entry) -> bool:
        """Better, or as good and there before."""
        return (self.loss, self.order) < (other.loss, other.order)


@dataclass(frozen=True)
class Standing:
    """An entry's place among those in its rung: ``rank`` 1 is the best, the best ``kept`` of ``compared`` go on.

    ``cutoff`` is the loss of the last of them, None if there are too few for anybody to go on.
    """

    entry: Entry
    rank: int
    compared: int
    kept: int
    cutoff: float | None


class Rung:
    """One rung: the trials that have been there, best first, and those of them that were promoted."""

    def __init__(self, iteration: int, factor: float) -> None:
        self.iteration = iteration
        self.promoted: set[str] = set()
        self._factor = factor
        self._entries: dict[str, Entry] = {}
        self._ranked: list[Entry] = []

    def __contains__(self, trial_id: str) -> bool:
        """Say whether the trial has been here."""
        return trial_id in self._entries

    def record(self, trial_id: str, loss: float, iteration: int) -> None:
        """Enter a trial's value; the first one counts."""
        if trial_id not in self._entries:
            entry = self._entries[trial_id] = Entry(loss, len(self._entries), trial_id, iteration)
            insort(self._ranked, entry)

    def promotable(self, alive: Container[str]) -> list[str]:
        """Return those among the best that are ``alive`` and not promoted yet, best first.

        A trial that has ended keeps its place in the ranking.
        """
        best = islice(self._ranked, kept(len(self._ranked), self._factor))
        return [e.trial_id for e in best if e.trial_id not in self.promoted and e.trial_id in alive]

    def standing(self, trial_id: str) -> Standing:
        """Return where a recorded trial stands now."""
        entry, compared = self._entries[trial_id], len(self._ranked)
        best = kept(compared, self._factor)
        cutoff = self._ranked[best - 1].loss if best else None
        return Standing(entry, bisect_left(self._ranked, entry) + 1, compared, best, cutoff)


class Ladder:
    """The rungs of one bracket, ascending."""

    def __init__(self, iterations: Sequence[int], factor: float) -> None:
        self.rungs = [Rung(iteration, factor) for iteration in iterations]

    def reached(self, trial_id: str, iteration: int) -> Rung | None:
        """Return the rung at which a report of this iteration is compared, None if at none.

        That is the highest one reached above those the trial was promoted from, so a rung that was skipped is not
        entered later; or the one it waits at.
        """
        last = self._last(trial_id)
        if last is not None and trial_id not in last.promoted:
            return last if iteration >= last.iteration else None
        passed = last.iteration if last is not None else 0
        return next((rung for rung in reversed(self.rungs) if passed < rung.iteration <= iteration), None)

    def held(self, trial_id: str) -> Rung | None:
        """Return the rung at which the trial waits, None if it waits nowhere."""
        last = self._last(trial_id)
        return last if last is not None and trial_id not in last.promoted else None

    def after(self, rung: Rung) -> int | None:
        """Return the iteration of the next rung, None if there is none."""
        return next((other.iteration for other in self.rungs if other.iteration > rung.iteration), None)

    def _last(self, trial_id: str) -> Rung | None:
        return next((rung for rung in reversed(self.rungs) if trial_id in rung), None)
