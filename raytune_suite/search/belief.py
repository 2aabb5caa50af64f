"""What a user believes about good values of a parameter, and how long the search holds to it.

The acquisition is multiplied by the belief to a power that falls with the number of results (piBO: Hvarfner et al.,
2022, equation 6): it leads at first, and a wrong one is recovered from. No value is ever ruled out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from raytune_suite.errors import Problem
from raytune_suite.space import Space

Array = npt.NDArray[np.float64]

_WIDTH = 0.15
"""Standard deviation of the belief in an ordered parameter, as a share of its range."""
_FLOOR = 0.05
"""What any other value is worth against the favourite one."""


class Belief:
    """Beliefs in values of some parameters of a space.

    Args:
        space: of the search.
        values: by name (flat or nested), a value that the user believes in.
    """

    def __init__(self, space: Space, values: Mapping[str, Any]) -> None:
        self._centres: dict[int, float] = {}
        self._ordered: dict[int, bool] = {}
        values = space.point(values)
        for index, parameter in enumerate(space.parameters):
            if parameter.name in values:
                self._centres[index] = parameter.domain.to_unit(parameter.domain.cast(values[parameter.name]))
                self._ordered[index] = parameter.domain.ordered

    def __bool__(self) -> bool:
        return bool(self._centres)

    def log_density(self, units: Array) -> Array:
        """The log of the belief in rows of units, (m,), 0 at the favourite; an inactive parameter counts nothing."""
        total = np.zeros(len(units))
        for index, centre in self._centres.items():
            gap = np.nan_to_num(units[:, index] - centre)
            near = np.exp(-0.5 * (gap / _WIDTH) ** 2) if self._ordered[index] else (np.abs(gap) < 1e-9).astype(float)
            total += np.log(_FLOOR + (1.0 - _FLOOR) * near)
        return total

    def weight(self, results: int, num_trials: int | None) -> float:
        """The power of the belief after so many results: a tenth of all trials over their number."""
        return 0.1 * (num_trials or 100) / max(results, 1)

    def pull(self, units: Array) -> Array:
        """Rows of a uniform design as draws from the belief, shape as given."""
        moved = units.copy()
        for index, centre in self._centres.items():
            if self._ordered[index]:
                low, high = ndtr((0.0 - centre) / _WIDTH), ndtr((1.0 - centre) / _WIDTH)
                drawn = centre + _WIDTH * ndtri(low + moved[..., index] * (high - low))
                moved[..., index] = np.clip(drawn, 0.0, 1.0)
            else:
                moved[..., index] = centre
        return moved


def problems(space: Space, values: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with beliefs, each with its place in the study."""
    return [replace(p, where=f"search.prior.{p.where}".rstrip(".")) for p in space.check(values, partial=True)]
