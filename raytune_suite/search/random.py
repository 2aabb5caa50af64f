"""Random search: independent draws, or the points of a Sobol sequence.

Random search is the yardstick of every other searcher (Bergstra and Bengio, 2012). A scrambled Sobol
sequence (Owen, 1998) fills the space more evenly at the same price.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from raytune_suite.search.core import Point, Searcher, SearchOptions, Suggestion
from raytune_suite.space import Space


class RandomOptions(SearchOptions):
    """``sampling``: "uniform" for independent draws, "sobol" for an even cover."""

    sampling: Literal["uniform", "sobol"] = "uniform"


class RandomSearcher(Searcher):
    """Draws that ignore all results."""

    name: ClassVar[str] = "random"
    Options: ClassVar[type[SearchOptions]] = RandomOptions
    options: RandomOptions

    def __init__(self, space: Space, **settings: Any) -> None:
        super().__init__(space, **settings)
        self._cover = SobolCover(space, self.seed)

    def suggest(self, number: int, rng: np.random.Generator) -> Point | Suggestion | None:
        """An independent draw, or the Sobol point of this number (a draw where it is infeasible)."""
        if self.options.sampling == "sobol":
            point = self._cover.point(number)
            if self.space.feasible(point) and not self.seen(point):
                return point
        return self.unseen(rng)


class SobolCover:
    """The points of one scrambled Sobol sequence over the unit cube of a space, by number."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._units: npt.NDArray[np.float64] = np.empty((0, len(space.parameters)))

    def point(self, number: int) -> Point:
        """Point ``number`` of the sequence (conditions applied, the constraint not)."""
        return self._space.from_unit(self.units(number))

    def units(self, number: int) -> npt.NDArray[np.float64]:
        """The same as a row of the unit cube, shape (parameters,)."""
        if not self._space.parameters:
            return np.empty(0)
        while number >= len(self._units):
            count = max(16, 2 * len(self._units))
            self._units = sobol(count, len(self._space.parameters), self._seed)
        row: npt.NDArray[np.float64] = self._units[number]
        return row


def sobol(count: int, dims: int, seed: int) -> npt.NDArray[np.float64]:
    """``count`` points of a scrambled Sobol sequence in (0, 1)^dims; the first m do not depend on count."""
    from scipy.stats import qmc

    bits = max(count - 1, 1).bit_length()
    units = qmc.Sobol(dims, scramble=True, seed=np.random.default_rng([seed, 0x50B01])).random_base2(bits)
    edge = 2.0**-31
    clipped: npt.NDArray[np.float64] = np.clip(units[:count], edge, 1 - edge)
    return clipped
