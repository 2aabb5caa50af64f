"""What curves and costs do over the space: where recorded trials get better or dearer towards places none has reached.

A searcher that learns goes there, so a model in which no trial beats the recorded ones has too many of its trials
stopped early. The trend is a ridge regression of each column on the parameters and their squares.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FEWEST = 20
"""So many recorded trials are needed; with fewer a trend is mostly their noise."""

Array = npt.NDArray[np.float64]


class Trend:
    """The trend of ``table``, shape (trials, columns), over ``units`` in the unit cube, shape (trials, parameters).

    A table that is positive throughout is taken by its logarithms.
    """

    def __init__(self, units: Array, table: Array) -> None:
        self._by_log = bool((table > 0).all())
        values, features = np.log(table) if self._by_log else table, _features(units)
        penalty = np.eye(features.shape[1])
        penalty[0, 0] = 1e-9
        self._weights = np.linalg.solve(features.T @ features + penalty, features.T @ values)
        self._off = values - features @ self._weights

    def row(self, unit: Array, near: int) -> Array:
        """A row at ``unit``, shape (columns,): the trend's there, and what trial ``near`` lies off its own."""
        found: Array = _features(unit[None, :])[0] @ self._weights + self._off[near]
        return np.exp(found) if self._by_log else found


def _features(units: Array) -> Array:
    centred = units - 0.5
    return np.hstack([np.ones((len(units), 1)), centred, centred**2])
