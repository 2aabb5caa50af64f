"""Points as rows of numbers for a model, many at once.

Two forms. *Units*: a column per parameter in [0, 1], NaN where the parameter is inactive; what candidates are
drawn and moved in. *Features*: what the kernel sees; numbers as they are, unordered choices one-hot, inactive
parameters at a neutral value beside a column per condition that says whether it holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from raytune_suite.space import Parameter, Space

Array = npt.NDArray[np.float64]

_NEUTRAL = 0.5
_ONEHOT = 0.5
_RADIUS = 0.7
_FINE = 512
"""Domains with more values than this count as continuous until a point is made of a row."""


@dataclass(frozen=True)
class _Column:
    """How one parameter is encoded: ``levels`` (units of its values, ascending; None: continuous)."""

    parameter: Parameter
    levels: Array | None
    onehot: bool
    at: slice

    @property
    def width(self) -> int:
        return int(self.at.stop - self.at.start)

    @property
    def moves(self) -> bool:
        """Whether a small step along a gradient means anything."""
        return self.levels is None or (not self.onehot and len(self.levels) > 2)

    def snap(self, units: Array) -> Array:
        """The nearest units that belong to values."""
        if self.levels is None:
            clipped: Array = np.clip(units, 0.0, 1.0)
            return clipped
        return self.levels[self.index(units)]

    def index(self, units: Array) -> npt.NDArray[np.intp]:
        """Which level each unit belongs to."""
        levels = self.levels if self.levels is not None else np.zeros(1)
        middles = (levels[1:] + levels[:-1]) / 2.0
        return np.searchsorted(middles, units, side="right")


class Encoder:
    """Encodes the points of a space.

    Attributes:
        columns: number of features.
        groups: for each feature the index of the length scale it shares, shape (columns,).
        continuous: indices of parameters that may be moved along a gradient.
        feature_of: for each parameter its (first) feature.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._columns: list[_Column] = []
        groups: list[int] = []
        for parameter in space.parameters:
            column = _column(parameter, len(groups))
            self._columns.append(column)
            groups += [len(self._columns) - 1] * column.width
        self._conditions = _conditions(space)
        groups += range(len(self._columns), len(self._columns) + len(self._conditions))
        self.groups = np.array(groups, dtype=np.intp)
        self.columns = len(groups)
        self.moves = np.array([column.moves for column in self._columns], dtype=bool)
        self._memo: dict[tuple[Any, ...], tuple[bool, ...]] = {}

    def units(self, points: Sequence[Mapping[str, Any]]) -> Array:
        """Points as units, shape (m, parameters)."""
        rows = [self._space.to_unit(dict(point)) for point in points]
        units = np.array(rows, dtype=float).reshape(len(points), len(self._columns))
        clipped: Array = np.clip(units, 0.0, 1.0)
        return clipped

    def snap(self, units: Array) -> Array:
        """Units moved to the nearest values, inactive parameters made NaN; NaN elsewhere becomes neutral."""
        filled = np.where(np.isnan(units), _NEUTRAL, units)
        snapped = np.empty_like(filled)
        for index, column in enumerate(self._columns):
            snapped[:, index] = column.snap(filled[:, index])
        if self._conditions:
            snapped[~self._active(snapped)] = np.nan
        return snapped

    def features(self, units: Array) -> Array:
        """The features of snapped units, shape (m, columns)."""
        result = np.zeros((len(units), self.columns))
        active = ~np.isnan(units)
        for index, column in enumerate(self._columns):
            _write(result, column, units[:, index], active[:, index])
        for offset, members in enumerate(self._conditions.values()):
            result[:, self.columns - len(self._conditions) + offset] = active[:, members[0]]
        return result

    def pull(self, units: Array, gradients: Array) -> Array:
        """Gradients in features, (m, columns), as gradients in units, (m, parameters); 0 where nothing moves."""
        result = np.zeros_like(units)
        for index, column in enumerate(self._columns):
            if not column.moves:
                continue
            ahead = gradients[:, column.at.start]
            if column.width == 2:
                angle = np.nan_to_num(units[:, index]) / _RADIUS
                ahead = np.cos(angle) * gradients[:, column.at.start + 1] - np.sin(angle) * ahead
            result[:, index] = ahead
        return result

    def listed(self, most: int = 24) -> list[tuple[int, Array]]:
        """The parameters with few values: index and the units of the values."""
        columns = enumerate(self._columns)
        return [(i, c.levels) for i, c in columns if c.levels is not None and len(c.levels) <= most]

    def point(self, units: Array) -> dict[str, Any]:
        """The point of one row of units."""
        return self._space.from_unit(units)

    def _active(self, units: Array) -> npt.NDArray[np.bool_]:
        """Which parameters are active at each row; conditions are evaluated once per distinct case."""
        active = np.ones(units.shape, dtype=bool)
        parents = self._parents()
        for row, key in enumerate(map(tuple, units[:, parents].tolist())):
            known = self._memo.get(key)
            if known is None:
                known = self._memo[key] = self._activity(units[row])
            active[row] = known
        if len(self._memo) > 20_000:
            self._memo.clear()
        return active

    def _parents(self) -> list[int]:
        names = {name for parameter in self._space.parameters if parameter.when for name in parameter.when.names}
        return [i for i, column in enumerate(self._columns) if column.parameter.name in names]

    def _activity(self, units: Array) -> tuple[bool, ...]:
        point = self._space.from_unit(units)
        return tuple(column.parameter.name in point for column in self._columns)


def _column(parameter: Parameter, start: int) -> _Column:
    domain = parameter.domain
    single = 1 if parameter.when is None else 2
    values = domain.values() if domain.count is not None and domain.count <= _FINE else None
    if values is None:
        return _Column(parameter, None, False, slice(start, start + single))
    levels = np.unique([domain.to_unit(value) for value in values])
    onehot = len(levels) > 2 and not domain.ordered and not _rises(values)
    return _Column(parameter, levels, onehot, slice(start, start + (len(levels) if onehot else single)))


def _rises(values: Sequence[Any]) -> bool:
    """Whether a choice lists numbers in rising or falling order: then it has an order in all but name."""
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return False
    return list(values) in (sorted(values), sorted(values, reverse=True))


def _conditions(space: Space) -> dict[str, list[int]]:
    """Conditions by their text, each with the parameters that stand under it."""
    result: dict[str, list[int]] = {}
    for index, parameter in enumerate(space.parameters):
        if parameter.when is not None:
            result.setdefault(parameter.when.text, []).append(index)
    return result


def _write(features: Array, column: _Column, units: Array, active: npt.NDArray[np.bool_]) -> None:
    if not column.onehot and column.width == 1:
        features[:, column.at.start] = units
        return
    rows = np.flatnonzero(active)
    if not column.onehot:
        angle = units[rows] / _RADIUS
        features[rows, column.at.start] = _RADIUS * np.cos(angle)
        features[rows, column.at.start + 1] = _RADIUS * np.sin(angle)
        return
    features[rows, column.at.start + column.index(units[rows])] = _ONEHOT
