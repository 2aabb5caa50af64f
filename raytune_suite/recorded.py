"""Trials played after those of an earlier experiment: what a simulated one would report, and how long it would take.

A simulated trial follows the curve and the cost of a recorded one whose configuration is near, and where there are
enough of them it is about as far off their trend over the space (``trend.py``). Curves that ended early are carried on
by what those that went on did from there.

A trial that takes over another's checkpoint starts from the donor's value. From there on it covers the share of the
way to the best value known that the curve near its new configuration covers from that iteration on, or loses what
that one loses: a configuration that gets nowhere there leads nowhere here, and nobody gets beyond the best known, which
is that of the recorded curves and of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from raytune_suite import formats
from raytune_suite.errors import ExperimentError
from raytune_suite.pace import Pace
from raytune_suite.record import Record
from raytune_suite.space import Space
from raytune_suite.study import Study
from raytune_suite.trend import FEWEST, Trend

NEAR = 5

Array = npt.NDArray[np.float64]


class Recorded:
    """Plays trials after those of an earlier experiment; ``seed`` decides which of the near ones a trial follows."""

    def __init__(self, study: Study, record: Record, seed: int = 0) -> None:
        trials = [t for t in record.trials.values() if _curve(t.reports, study.metric)]
        if len(trials) < NEAR:
            raise ExperimentError(_too_few(record, study.metric, len(trials)))
        self._space, self._seed = study.search_space, seed
        self._units = np.array([self._unit(_known(self._space, record, t.point)) for t in trials])
        curves = [_curve(t.reports, study.metric) for t in trials]
        self._curves = carried_on(curves, max(study.max_iterations, max(map(len, curves))))
        self._pace = Pace.of(trials)
        self._best = max if study.mode == "max" else min
        self._configs: dict[str, list[dict[str, Any]]] = {}
        self._played: dict[str, Array] = {}
        self._reached: dict[str, int] = {}
        self._entered: set[str] = set()
        self._seconds: dict[str, float] = {}
        enough = len(trials) >= FEWEST
        self._trend = Trend(self._units, self._curves) if enough else None
        self._cost = Trend(self._units, np.array(self._pace.seconds)[:, None]) if enough else None

    def _unit(self, point: Mapping[str, Any]) -> Array:
        unit: Array = np.nan_to_num(np.asarray(self._space.to_unit(point), dtype=float), nan=0.5)
        return unit

    def begin(self, trial_id: str, config: Mapping[str, Any]) -> None:
        """Choose the recorded trial that this one follows, the nearer the likelier; anew for a new configuration."""
        self._entered.add(trial_id)
        had = self._configs.setdefault(trial_id, [])
        if had and had[-1] == config:
            return
        had.append(dict(config))
        unit = self._unit(self._space.point(dict(config)))
        distance = np.sqrt(np.square(self._units - unit).sum(axis=1))
        near = np.argsort(distance, kind="stable")[:NEAR]
        weights = 1.0 / (distance[near] + 1e-3)
        rng = np.random.default_rng([self._seed, int(trial_id), *range(1, len(had))])
        followed = int(rng.choice(near, p=weights / weights.sum()))
        if self._trend is None or self._cost is None:
            self._played[trial_id], self._seconds[trial_id] = self._curves[followed], self._pace.seconds[followed]
        else:
            self._played[trial_id] = self._trend.row(unit, followed)
            self._seconds[trial_id] = float(self._cost.row(unit, followed)[0])

    def step(self, trial_id: str, iteration: int) -> tuple[float, float]:
        """See :class:`raytune_suite.engine.virtual.Model`."""
        beside = self._pace.beside if trial_id in self._entered else 0.0  # its data and model are built again
        self._entered.discard(trial_id)
        self._reached[trial_id] = iteration
        return float(self._played[trial_id][iteration - 1]), self._seconds[trial_id] + beside

    def save(self, trial_id: str) -> tuple[int, float]:
        """The iteration reached and the value there."""
        iteration = self._reached[trial_id]
        return iteration, float(self._played[trial_id][iteration - 1])

    def load(self, trial_id: str, state: tuple[int, float]) -> None:
        """Go on from where this trial or another stood, in the latter case as :func:`onward` has it."""
        iteration, value = state
        curve = self._played[trial_id]
        if curve[iteration - 1] != value:
            best = self._best([value, *self._curves.ravel(), *curve])
            self._played[trial_id] = onward(curve, iteration, value, best)


def _too_few(record: Record, metric: str, count: int) -> str:
    text = f"{record.name} has {formats.count(count, 'trial')} with a curve of {metric}: {NEAR} are needed"
    told = sorted({name for trial in record.trials.values() for report in trial.reports for name in report.metrics})
    return f"{text}. Its trials report {', '.join(told)}" if told and metric not in told else text


def reservations(study: Study, record: Record) -> Iterator[str]:
    """What a forecast of ``study`` after ``record`` cannot know, line by line.

    Raises:
        ExperimentError: the record knows none of the study's parameters, so no trial of it is near any other.
    """
    names = study.search_space.names
    points = [_known(study.search_space, record, trial.point) for trial in record.trials.values()]
    known = {name for point in points for name in point}
    if names and points and not known:
        theirs = ", ".join(sorted({name for trial in record.trials.values() for name in trial.point})) or "nothing"
        what = f"varies {theirs}, and knows none of the parameters of {study.name} ({', '.join(names)})"
        raise ExperimentError(f"{record.name} {what}: name an experiment with the same space")
    if missing := [name for name in names if name not in known]:
        yield f"{record.name} knows nothing of {', '.join(missing)}: its trials are compared by the other parameters"
    longest = max((len(_curve(trial.reports, study.metric)) for trial in record.trials.values()), default=0)
    if 0 < longest < study.max_iterations:
        yield f"its curves end at iteration {longest} of {study.max_iterations}: from there on nothing changes in them"


def _known(space: Space, record: Record, point: Mapping[str, Any]) -> dict[str, Any]:
    """What a recorded trial has for parameters of ``space``, constants included, where those can have such a value."""
    given, found = {**record.constants, **point}, {}
    for parameter in space.parameters:
        try:
            parameter.domain.to_unit(given[parameter.name])
        except (KeyError, TypeError, ValueError):
            continue
        found[parameter.name] = given[parameter.name]
    return found


def onward(curve: Array, iteration: int, value: float, best: float) -> Array:
    """Return ``curve`` as it goes on from ``value`` at ``iteration`` (counting from 1); shape as before.

    ``best``: the best value known, no worse than ``value`` and all of the curve. What lies before ``iteration`` is left
    as it was.
    """
    found, later = curve.copy(), curve[iteration - 1 :]
    away = later[0] - best
    shares = (later - best) / away if away else np.ones_like(later)
    # Near the best, shares of the way back would be far too long: there it is as far as on the curve.
    found[iteration - 1 :] = np.where(shares <= 1, best + (value - best) * shares, value + later - later[0])
    found[iteration - 1] = value
    return found


def carried_on(curves: Sequence[Sequence[float]], length: int) -> Array:
    """Curves of one ``length``: each that ended before goes on by the median step of those that did not.

    Of those, the half that stood nearest to it where it ended count. Shape (curves, ``length``).
    """
    table = np.full((len(curves), length), np.nan)
    for curve, own in zip(curves, table, strict=True):
        own[: len(curve)] = curve[:length]
    for at in range(1, length):
        here, before = table[:, at], table[:, at - 1]
        went_on = np.flatnonzero(~np.isnan(here))
        for row in np.flatnonzero(np.isnan(here)):
            if not len(went_on):
                table[row, at] = before[row]
                continue
            nearest = went_on[np.argsort(np.abs(before[went_on] - before[row]), kind="stable")]
            alike = nearest[: max(1, len(nearest) // 2)]
            table[row, at] = before[row] + np.median(table[alike, at] - before[alike])
    return table


def _curve(reports: Sequence[Any], metric: str) -> list[float]:
    """The metric at iterations 1, 2, ..., a missing value taken from before it; up to the first that is not finite."""
    values: list[float] = []
    for report in reports:
        value = report.metrics.get(metric, values[-1] if values else None)
        if not isinstance(value, (int, float)) or not np.isfinite(value):
            break
        values += [float(value)] * max(0, report.iteration - len(values))
    return values
