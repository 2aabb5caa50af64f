"""The Bayesian searcher's model as tables: what it predicted against what came, and what it believes now.

The model is not stored. It is built again from the journal: a fresh searcher is told what the record holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from raytune_suite import journal, warmstart
from raytune_suite.analysis import Experiment
from raytune_suite.errors import ExperimentError, RaytuneError
from raytune_suite.metrics import value_of
from raytune_suite.plots.axes import Axis, axes
from raytune_suite.plots.tables import SlicePoint, describe, fate
from raytune_suite.proposal import final_value, prediction
from raytune_suite.record import TrialRecord
from raytune_suite.states import State

if TYPE_CHECKING:
    from raytune_suite.search.bayesian import BayesianSearcher
    from raytune_suite.search.effects import Effect


@dataclass(frozen=True)
class Predicted:
    """A trial that the model proposed and that trained to the end; ``low`` to ``high``: one standard deviation."""

    number: int
    predicted: float
    low: float
    high: float
    actual: float
    inside: bool
    text: str


@dataclass(frozen=True)
class Predictions:
    """What can be compared, by number; ``left_out`` trials had a prediction and did not train to the end."""

    rows: list[Predicted]
    left_out: int

    @property
    def inside(self) -> int:
        """How many came out within one standard deviation."""
        return sum(row.inside for row in self.rows)

    @property
    def error(self) -> float | None:
        """The median distance between prediction and value, None without rows."""
        return median(abs(row.actual - row.predicted) for row in self.rows) if self.rows else None


def predictions(experiment: Experiment) -> Predictions:
    """One row for each prediction that can be compared with the last value of a whole training."""
    rows, left_out = [], 0
    for trial in _trials(experiment):
        found = prediction(experiment, trial) if trial.origin == "model" else None
        if found is None:
            continue
        if found.actual is None:
            left_out += 1
            continue
        text = f"{describe(experiment, trial)}<br>predicted {found.predicted:.4g} ({found.low:.4g} to {found.high:.4g})"
        inside = bool(found.inside)
        rows.append(Predicted(trial.number, found.predicted, found.low, found.high, found.actual, inside, text))
    return Predictions(rows, left_out)


@dataclass(frozen=True)
class Panel:
    """What the model believes one parameter does, at ``places`` on its axis, in the metric's units.

    ``points``: trials that trained to the end, at their last value; ``others``: places of the other trials that have a
    value, which is not one of a whole training.
    """

    axis: Axis
    places: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]
    points: list[SlicePoint]
    others: list[tuple[float, str]]


@dataclass(frozen=True)
class Beliefs:
    """A panel for each parameter; without any, ``missing`` says why. ``applies``: the searcher has such a model."""

    panels: list[Panel]
    missing: str | None = None
    applies: bool = True


def beliefs(experiment: Experiment) -> Beliefs:
    """What the model of an experiment's searcher believes now that it knows all of the journal."""
    try:
        name = experiment.study.search.name
        if name != "bayesian":
            return Beliefs([], f"The searcher was {name}: only the Bayesian one shows its model.", applies=False)
        effects = _rebuilt(experiment).effects()
    except RaytuneError:
        return Beliefs([], "The study file and the journal do not tell how to build the model again.", applies=False)
    if not effects:
        whole = sum(final_value(experiment, trial) is not None for trial in _trials(experiment))
        return Beliefs([], f"Trials that trained to the end: {whole}. That is too few, or they are too much alike.")
    scales = {axis.name: axis for axis in axes(experiment)}
    return Beliefs([_panel(experiment, scales[e.name], e) for e in effects if e.name in scales])


def _panel(experiment: Experiment, axis: Axis, effect: Effect) -> Panel:
    rows = zip(effect.values, effect.mean, effect.low, effect.high, strict=True)
    placed = [(place, *row[1:]) for row in rows if (place := _within(axis, row[0])) is not None]
    placed = sorted(dict.fromkeys(placed))
    points: list[SlicePoint] = []
    others: list[tuple[float, str]] = []
    for trial in _trials(experiment):
        place = axis.place(trial.point[axis.name]) if axis.name in trial.point else None
        if place is None or trial.state.failure or trial.best() is None:
            continue
        value, text = final_value(experiment, trial), describe(experiment, trial)
        if value is None:
            others.append((place, text))
        else:
            points.append(SlicePoint(trial.number, fate(trial.state), place, value, text))
    places, mean, low, high = ([row[column] for row in placed] for column in range(4))
    return Panel(axis, places, mean, low, high, points, others)


def _within(axis: Axis, value: object) -> float | None:
    """The place of a value that lies on the axis: an unbounded parameter's ends at the values that were tried."""
    place = axis.place(value)
    return place if place is None or axis.choices or axis.lower <= place <= axis.upper else None


def _rebuilt(experiment: Experiment) -> BayesianSearcher:
    """A fresh searcher that is told of every report and every end, as a driver that resumes tells it."""
    from raytune_suite.search import build
    from raytune_suite.search.bayesian import BayesianSearcher

    study = experiment.study
    sources = warmstart.recorded(journal.read(experiment.folder), study.search_space)
    searcher = build(study, [source.earlier for source in sources])
    if not isinstance(searcher, BayesianSearcher):
        raise ExperimentError(f"{study.search.name} is another searcher than the Bayesian one.")
    for trial in _trials(experiment):
        if searcher.space.check(trial.point):
            raise ExperimentError(f"Trial {trial.number} is none of the study's space: one of the two was changed.")
        _tell(searcher, trial)
    return searcher


def _tell(searcher: BayesianSearcher, trial: TrialRecord) -> None:
    from raytune_suite.search import Observation

    value, seconds = None, 0.0
    searcher.tell(Observation(trial.number, trial.point, None, 0, State.PENDING))
    for report in trial.reports:
        measured, seconds = value_of(report.metrics, trial.metric), report.elapsed or 0.0
        value = value if measured is None else measured
        told = Observation(trial.number, trial.point, value, report.iteration, State.RUNNING, seconds=seconds)
        searcher.tell(told)
    if trial.state.ended:
        searcher.tell(Observation(trial.number, trial.point, value, trial.iteration, trial.state, seconds=seconds))


def _trials(experiment: Experiment) -> Iterator[TrialRecord]:
    return iter(sorted(experiment.record.trials.values(), key=lambda trial: trial.number))
