"""The trials of a searcher as a study of Optuna's, and a point asked of it. Imports optuna: load it late.

A study is made anew for every suggestion, from the points and their latest observations alone: there is nothing in it
that a journal could not give back, and a trial that failed can be opened again, which Optuna itself does not allow.
"""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from raytune_suite.search import axes
from raytune_suite.search.core import Observation
from raytune_suite.space import Choice, Domain, Float, Int, Normal, Parameter, Point, Space
from raytune_suite.states import State

_SOME_TIME = datetime(2000, 1, 1)

# Of options that may change: who names one in a study knows. Not around each call, which would not be safe in threads.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class _Shared(FrozenTrial):
    """A trial that storages may share: Optuna replaces what it changes, and a deep copy of each costs more than TPE."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return copy.copy(self)


class Trials:
    """Turns observations into Optuna's trials.

    Args:
        space: what is searched.
        loss: the value of an observation as Optuna is to minimise it.
        max_iterations: a trial that was stopped before counts as pruned.
        conditional: whether parameters with a condition are told; without, Optuna draws them at random.
    """

    def __init__(
        self, space: Space, loss: Callable[[float], float], max_iterations: int, *, conditional: bool = True
    ) -> None:
        self._loss = loss
        self._max_iterations = max_iterations
        self.distributions = {p.name: distribution(p.domain) for p in space.parameters}
        self._domains = {p.name: p.domain for p in space.parameters if conditional or p.when is None}
        self._kept: dict[int, tuple[Observation, FrozenTrial]] = {}

    def study(
        self,
        sampler: optuna.samplers.BaseSampler,
        known: Iterable[Observation],
        attributes: Mapping[int, Mapping[str, Any]],
    ) -> optuna.Study:
        """A study of the ``known`` trials, numbers ascending; ``attributes`` are what the sampler left with them."""
        study = optuna.create_study(
            storage=optuna.storages.InMemoryStorage(),
            sampler=sampler,
            pruner=optuna.pruners.NopPruner(),
            study_name="searcher",
        )
        study.add_trials([self._trial(o, attributes.get(o.number, {})) for o in known])
        return study

    def _trial(self, observation: Observation, attributes: Mapping[str, Any]) -> FrozenTrial:
        kept = self._kept.get(observation.number)
        if kept is None or kept[0] != observation:
            kept = self._kept[observation.number] = observation, self._made(observation, attributes)
        return kept[1]

    def _made(self, observation: Observation, attributes: Mapping[str, Any]) -> FrozenTrial:
        """Of the curve only the last value: no sampler reads more, and more would not come back from every journal."""
        state = self.state(observation)
        loss = self._loss(observation.value) if observation.has_value and observation.value is not None else math.nan
        domains = {name: d for name, d in self._domains.items() if name in observation.point}
        return _Shared(
            number=-1,
            trial_id=-1,
            state=state,
            value=loss if state in (TrialState.COMPLETE, TrialState.PRUNED) and math.isfinite(loss) else None,
            params={name: encode(d, observation.point[name]) for name, d in domains.items()},
            distributions={name: self.distributions[name] for name in domains},
            intermediate_values={observation.iteration: loss} if observation.iteration else {},
            system_attrs=dict(attributes),
            user_attrs={},
            datetime_start=_SOME_TIME,
            datetime_complete=_SOME_TIME if state.is_finished() else None,
        )

    def state(self, observation: Observation) -> TrialState:
        """What the state of a trial is called by Optuna."""
        if not observation.state.ended:
            return TrialState.RUNNING
        if observation.state is State.STOPPED and observation.iteration < self._max_iterations:
            return TrialState.PRUNED
        return TrialState.COMPLETE if observation.has_value else TrialState.FAIL


def distribution(domain: Domain) -> BaseDistribution:
    """The distribution of :func:`encode`'s numbers."""
    if isinstance(domain, Choice):
        last = domain.count - 1
        return IntDistribution(0, last) if domain.ordered else CategoricalDistribution(tuple(range(last + 1)))
    if isinstance(domain, Int):
        return IntDistribution(*axes.steps(domain), log=domain.log)
    if isinstance(domain, Float):
        return FloatDistribution(domain.lower, domain.upper, log=domain.log, step=None if domain.log else domain.q)
    return FloatDistribution(0.0, 1.0)


def encode(domain: Domain, value: Any) -> float | int:
    """As :func:`axes.encode`; a normal, which Optuna does not have, by its distribution function."""
    return domain.to_unit(value) if isinstance(domain, Normal) else axes.encode(domain, value)


def decode(domain: Domain, number: float) -> Any:
    """The inverse of :func:`encode`."""
    return domain.from_unit(number) if isinstance(domain, Normal) else axes.decode(domain, number)


def propose(study: optuna.Study, space: Space, distributions: Mapping[str, BaseDistribution]) -> tuple[Point, Trial]:
    """Ask for a point by define-by-run; its trial stays in the study as a running one."""
    trial = study.ask()

    def draw(parameter: Parameter) -> Any:
        return decode(parameter.domain, _suggested(trial, parameter.name, distributions[parameter.name]))

    return axes.define_by_run(space, draw), trial


def attributes(study: optuna.Study, trial: Trial) -> dict[str, Any]:
    """What the sampler noted with a trial that was asked for."""
    return dict(study.get_trials(deepcopy=False)[trial.number].system_attrs)


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna announces every study it makes, and says each time what a sampler leaves to chance."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _suggested(trial: Trial, name: str, asked: BaseDistribution) -> Any:
    if isinstance(asked, CategoricalDistribution):
        return trial.suggest_categorical(name, asked.choices)
    if isinstance(asked, IntDistribution):
        return trial.suggest_int(name, asked.low, asked.high, log=asked.log)
    if isinstance(asked, FloatDistribution):
        return trial.suggest_float(name, asked.low, asked.high, step=asked.step, log=asked.log)
    raise TypeError(f"unknown distribution {asked!r}")
