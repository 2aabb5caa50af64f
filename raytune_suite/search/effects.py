"""What the model believes each parameter does: partial dependence of the fitted process, for a user to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from raytune_suite.search.acquisition import Goal

Array = npt.NDArray[np.float64]
Metric = Callable[[float], float]

_PLACES = 33
_AVERAGED = 64


@dataclass(frozen=True)
class Effect:
    """What one parameter does, in the metric's units, of a whole training.

    ``values``: of the parameter; at each the ``mean`` and one standard deviation either side (``low`` <= ``high``).
    """

    name: str
    values: list[Any]
    mean: list[float]
    low: list[float]
    high: list[float]


def effect(goal: Goal, units: Array, names: Sequence[str], name: str, metric: Metric) -> Effect | None:
    """The mean prediction over trials, were one of their parameters another (Moosbauer et al., 2021).

    The band is the mean variance of those predictions: how sure the model is of a configuration like those tried, not
    of the average. At most 64 trials are averaged, evenly spread over ``units``.

    Args:
        goal: whose model is asked.
        units: snapped units of the trials, shape (n, parameters).
        names: of the parameters.
        name: of the one that is moved.
        metric: the metric's value at an output of the model.

    Returns:
        None if the parameter is active in none of the trials.
    """
    encoder, index = goal.encoder, list(names).index(name)
    rows = units[~np.isnan(units[:, index])]
    if not len(rows):
        return None
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _AVERAGED)).astype(int)]
    listed = dict(encoder.listed(_PLACES)).get(index)
    column = np.linspace(0.0, 1.0, _PLACES) if listed is None else listed
    moved = np.tile(rows, (len(column), 1))
    moved[:, index] = np.repeat(column, len(rows))
    mean, deviation = goal.predict(encoder.features(encoder.snap(moved)))
    mean = mean.reshape(len(column), -1).mean(1)
    deviation = np.sqrt((deviation**2).reshape(len(column), -1).mean(1))
    values = [encoder.point(row)[name] for row in moved[:: len(rows)]]
    shown = [[metric(float(value)) for value in mean + shift * deviation] for shift in (0.0, -1.0, 1.0)]
    low, high = (list(side) for side in (map(min, *shown[1:]), map(max, *shown[1:])))
    return Effect(name, values, shown[0], low, high)
