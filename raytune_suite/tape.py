"""What a driver that lives through its past writes to, and how its searcher is asked then."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from raytune_suite.search.core import Observation, Searcher, Suggestion
from raytune_suite.search.suggestions import Suggestions


class Tape:
    """Takes what the driver would write; only decisions are of interest, the rest is on record."""

    def __init__(self) -> None:
        self.seq = 0
        self.decisions: deque[dict[str, Any]] = deque()

    def append(self, kind: str, **fields: Any) -> int:
        """Keep a decision; return the number of the event that is lived through."""
        if kind == "decision":
            self.decisions.append(fields)
        return self.seq

    def leave(self, out: Callable[[dict[str, Any]], bool]) -> None:
        """Forget the decisions for which ``out`` says so."""
        self.decisions = deque(made for made in self.decisions if not out(made))


class Behind(Suggestions):
    """A searcher that is asked what it was asked when it knew less: it is told of things once a question needs them."""

    def __init__(self, searcher: Searcher, tape: Tape) -> None:
        super().__init__(searcher)
        self._tape = tape
        self._held: deque[tuple[int, Observation]] = deque()

    def tell(self, observation: Observation) -> None:
        """Hold this back until a question may know it."""
        self._held.append((self._tape.seq, observation))

    def ask(self, number: int, seen: int) -> Suggestion | None:
        """Ask for trial ``number`` as of event ``seen``; from one question to the next ``seen`` never falls."""
        while self._held and self._held[0][0] <= seen:
            self.searcher.tell(self._held.popleft()[1])
        return self.searcher.ask(number)
