"""Searchers that take their time."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import numpy as np

from raytune_suite.search import Searcher


class Slow(Searcher):
    """Draws at random and takes a third of a second over it, as a model does."""

    name: ClassVar[str] = "slow"
    learns: ClassVar[bool] = True
    seconds: ClassVar[float] = 0.3

    def suggest(self, number: int, rng: np.random.Generator) -> dict[str, Any] | None:
        time.sleep(self.seconds)
        known = [found.value or 0.0 for found in self.observed.values()]
        return {"x": float(rng.random()) / (1 + len(known) + sum(known))}


class Stuck(Slow):
    """Never comes to an end after its first two suggestions."""

    name: ClassVar[str] = "stuck"

    def suggest(self, number: int, rng: np.random.Generator) -> dict[str, Any] | None:
        if number > 1:
            time.sleep(3600)
        return {"x": float(rng.random())}


class Failing(Slow):
    """Fails at its fourth suggestion."""

    name: ClassVar[str] = "failing"

    def suggest(self, number: int, rng: np.random.Generator) -> dict[str, Any] | None:
        if number == 3:
            raise ZeroDivisionError("no two observations differ")
        return super().suggest(number, rng)
