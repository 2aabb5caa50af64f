"""Grid search: every combination once, in a fixed order."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from raytune_suite.search.core import Point, Searcher
from raytune_suite.space import Space, identity


class GridSearcher(Searcher):
    """Walks :meth:`Space.enumerate`, the last parameter fastest; points tried before are left out.

    Raises:
        StudyError: a continuous parameter without ``points``.
    """

    name: ClassVar[str] = "grid"

    def __init__(self, space: Space, **settings: Any) -> None:
        self._walk = space.enumerate()
        super().__init__(space, **settings)
        self._outside: int | None = None

    @property
    def size(self) -> int | None:
        """The size of the grid, and the given points outside it."""
        if self._outside is None:
            given = [self._given_point(index, self.rng(index)) for index in range(len(self._given))]
            self._outside = len({self.space.key(point) for point in given if not self._on_grid(point)})
        return (self.space.size() or 0) + self._outside

    def suggest(self, number: int, rng: np.random.Generator) -> Point | None:
        """The next point of the grid that no trial has."""
        return next((point for point in self._walk if not self.seen(point)), None)

    def _on_grid(self, point: Point) -> bool:
        values = {p.name: {identity(value) for value in p.values() or ()} for p in self.space.parameters}
        return all(identity(value) in values[name] for name, value in point.items())
