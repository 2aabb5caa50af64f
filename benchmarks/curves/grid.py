"""A finite space as rows of ordinals, and Optuna's Parzen estimator kept to the rows that no trial has yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.trial import Trial

from raytune_suite.space import Space
from raytune_suite.space.domains import identity

Array = npt.NDArray[np.float64]


class Grid:
    """The configurations of a space, and which of them are left.

    Attributes:
        rows: the ordinal of every value, NaN where a parameter does not exist, (configurations, parameters).
        left: which rows no trial has, (configurations,).
        distributions: Optuna's, by parameter.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self.points = list(space.enumerate())
        self._row = {space.key(point): row for row, point in enumerate(self.points)}
        self._values = {p.name: _ascending(p.domain.values() or ()) for p in space.parameters}
        self._ordered = {p.name: p.domain.ordered for p in space.parameters}
        self.names = list(self._values)
        params = [self.params(point) for point in self.points]
        self.rows = np.array([[row.get(name, np.nan) for name in self.names] for row in params], dtype=float)
        self.left = np.ones(len(self.points), dtype=bool)
        self.distributions = {name: self._distribution(name) for name in self.names}

    @property
    def conditional(self) -> bool:
        """Whether some parameters do not always exist."""
        return bool(np.isnan(self.rows).any())

    def params(self, point: Mapping[str, Any]) -> dict[str, int]:
        """The ordinals of a point's values."""
        return {name: [identity(v) for v in self._values[name]].index(identity(point[name])) for name in point}

    def row(self, point: Mapping[str, Any]) -> int:
        """Which row a point is."""
        return self._row[self._space.key(dict(point))]

    def suggest(self, trial: Trial) -> int:
        """Let an Optuna trial choose a row, conditional parameters only where they exist."""
        chosen: dict[str, Any] = {}
        for name, values in self._values.items():
            if name in self._space.activate({**chosen, name: values[0]}):
                chosen[name] = values[self._ordinal(trial, name)]
        return self.row(chosen)

    def unseen(self, names: list[str]) -> Array:
        """What is left, seen in these parameters only: distinct rows, (m, names)."""
        columns = [self.names.index(name) for name in names]
        part = self.rows[self.left][:, columns]
        rows: Array = np.unique(part[~np.isnan(part).any(1)], axis=0)
        return rows

    def _ordinal(self, trial: Trial, name: str) -> int:
        count = len(self._values[name])
        if self._ordered[name]:
            return trial.suggest_int(name, 0, count - 1)
        return int(trial.suggest_categorical(name, list(range(count))))

    def _distribution(self, name: str) -> BaseDistribution:
        count = len(self._values[name])
        return IntDistribution(0, count - 1) if self._ordered[name] else CategoricalDistribution(list(range(count)))


class UnseenEstimator(_ParzenEstimator):  # type: ignore[misc, unused-ignore]
    """A density over the grid whose samples are of rows that are left, in proportion to their density.

    TPE's step is otherwise as it is: so many candidates from the density of the good, then the one that is the most
    likelier there than among the rest. A grid is small enough for TPE to propose little else than what it knows.
    """

    grid: Grid

    def sample(self, rng: np.random.RandomState, size: int) -> dict[str, npt.NDArray[Any]]:
        names = list(self._search_space)
        rows = self.grid.unseen(names)
        if not len(rows):
            return super().sample(rng, size)
        logs = self.log_pdf({name: rows[:, index] for index, name in enumerate(names)})
        weights = np.exp(logs - logs.max())
        drawn = rows[rng.choice(len(rows), size, p=weights / weights.sum())]
        return {name: drawn[:, index] for index, name in enumerate(names)}


def _ascending(values: tuple[Any, ...]) -> list[Any]:
    numbers = all(isinstance(value, (int, float)) for value in values)
    return sorted(values) if numbers else list(values)
