"""Any ``ray.tune.search.Searcher`` under our protocol.

The searcher gets a Ray search space made from ours: flat, every parameter unconditional. Entries that a
condition makes inactive are dropped from its configurations, and those the constraint forbids or a trial
already has are told back as failed and asked for again, up to a bound; then a random point takes its place.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from pydantic import ConfigDict

from raytune_suite.errors import Problem, StudyError
from raytune_suite.nearest import did_you_mean
from raytune_suite.search.core import Observation, Point, Searcher, SearchOptions, Suggestion
from raytune_suite.space import Space
from raytune_suite.space.domains import Choice, Domain, Float, Int, Normal

_VALUE = "value"
_TRIES = 50
_SEEDS = ("seed", "random_state_seed", "random_state")
_OURS = {
    "space": "space",
    "metric": "metric",
    "mode": "mode",
    "points_to_evaluate": "points_to_evaluate",
    "max_concurrent": "max_concurrent",
}
_WRAPPERS = {"ConcurrencyLimiter": "max_concurrent", "Repeater": "repeats"}


class ForeignOptions(SearchOptions):
    """The keyword arguments of the foreign searcher; checked against its constructor."""

    model_config = ConfigDict(extra="allow", frozen=True)


class ForeignSearcher(Searcher):
    """Hosts a Ray searcher; its own state is not re-derived by ``replay``.

    Args:
        space: what to search.
        searcher: the class of a ``ray.tune.search.Searcher``.
        settings: as for :class:`Searcher`; ``options`` go to the constructor of ``searcher``.

    Raises:
        StudyError: options its constructor does not take, or that belong elsewhere in the study.
    """

    name: ClassVar[str] = "foreign"
    learns: ClassVar[bool] = True
    replayable: ClassVar[bool] = False
    Options: ClassVar[type[SearchOptions]] = ForeignOptions

    def __init__(self, space: Space, *, searcher: type[Any], **settings: Any) -> None:
        super().__init__(space, **settings)
        options = dict(settings.get("options") or {})
        self.inner = _construct(searcher, options, self.seed)
        self._domains = {parameter.name: parameter.domain for parameter in space.parameters}
        self._inside: dict[int, str] = {}
        self._reported: dict[int, int] = {}
        ray_space = {name: to_ray(domain) for name, domain in self._domains.items()}
        with _quiet():
            accepted = not ray_space or self.inner.set_search_properties(_VALUE, self.mode, ray_space)
        if not accepted:
            rule = f"{searcher.__name__} did not accept the search space"
            raise StudyError([Problem("search.name", rule, None, "Leave the space to the study's space section")])

    def suggest(self, number: int, rng: np.random.Generator) -> Point | Suggestion | None:
        """The searcher's next configuration that is feasible and new."""
        for attempt in range(_TRIES if self._domains else 0):
            trial_id = f"{number:05d}" + (f"_{attempt}" if attempt else "")
            config = self.inner.suggest(trial_id)
            if config is None or config == self.inner.FINISHED:
                break
            point = self._point(config)
            if self.space.feasible(point) and not self.seen(point):
                self._inside[number] = trial_id
                return Suggestion(number, point, "model", {"attempts": attempt + 1})
            self.inner.on_trial_complete(trial_id, None, error=True)
        unseen = self.unseen(rng)
        return None if unseen is None else Suggestion(number, unseen, "random")

    def observe(self, observation: Observation) -> None:
        """Pass on a report or an end; trials it does not know are added as evaluated points where it can."""
        trial_id = self._inside.get(observation.number)
        result: dict[str, Any] = {_VALUE: observation.value, "training_iteration": observation.iteration}
        result |= {"trial_id": trial_id, "config": dict(observation.point)}
        if trial_id is None:
            self._add(observation)
        elif observation.state.ended:
            del self._inside[observation.number]
            self.inner.on_trial_complete(
                trial_id, result if observation.has_value else None, error=not observation.has_value
            )
        elif observation.has_value and observation.iteration > self._reported.get(observation.number, 0):
            self._reported[observation.number] = observation.iteration
            self.inner.on_trial_result(trial_id, result)

    def _add(self, observation: Observation) -> None:
        """A given point, or one of an earlier session: welcome knowledge to searchers that can take it."""
        from ray.tune.search import Searcher as RaySearcher

        takes = type(self.inner).add_evaluated_point is not RaySearcher.add_evaluated_point
        whole = set(observation.point) == set(self._domains)
        if takes and whole and observation.state.ended and observation.has_value:
            parameters = {name: encode(self._domains[name], value) for name, value in observation.point.items()}
            self.inner.add_evaluated_point(parameters, observation.value)

    def _point(self, config: Mapping[str, Any]) -> Point:
        values = {name: decode(domain, config[name]) for name, domain in self._domains.items()}
        return self.space.activate(values)


def to_ray(domain: Domain) -> Any:
    """The ``ray.tune`` domain that draws what ours draws, as far as Ray's searchers can take it.

    Choices of anything but scalars become indices and a normal its distribution function, which few searchers
    know; steps that do not divide the bounds, which Ray refuses, are left to :func:`decode`.
    """
    from ray import tune

    if isinstance(domain, Choice):
        return tune.choice(list(range(domain.count)) if _indexed(domain) else list(domain.listed))
    if isinstance(domain, Normal):
        return tune.uniform(0.0, 1.0)
    if isinstance(domain, Int):
        return _whole(tune, domain)
    if isinstance(domain, Float):
        draw = tune.loguniform if domain.log else tune.uniform
        return draw(domain.lower, domain.upper)
    raise StudyError([Problem("space", f"a Ray searcher cannot be given a {type(domain).__name__}")])


def _whole(tune: Any, domain: Int) -> Any:
    """An integer domain; Ray excludes the upper bound of ``randint`` and includes that of ``qrandint``."""
    name = "lograndint" if domain.log else "randint"
    if domain.q == 1 or domain.lower % domain.q or domain.upper % domain.q:
        return getattr(tune, name)(domain.lower, domain.upper + 1)
    return getattr(tune, f"q{name}")(domain.lower, domain.upper, domain.q)


def _indexed(domain: Choice) -> bool:
    return any(not isinstance(value, (str, int, float, bool)) for value in domain.listed)


def decode(domain: Domain, value: Any) -> Any:
    """The value of ours that a foreign searcher's value stands for."""
    if isinstance(domain, Choice):
        return domain.listed[int(value)] if _indexed(domain) else domain.cast(value)
    if isinstance(domain, Int):
        return domain.from_unit(domain.to_unit(round(float(value))))
    if isinstance(domain, Normal):
        return domain.from_unit(float(value))
    number = float(value)
    return number if domain.contains(number) else domain.from_unit(domain.to_unit(number))


def encode(domain: Domain, value: Any) -> Any:
    """The inverse of :func:`decode`."""
    if isinstance(domain, Choice) and _indexed(domain):
        return domain.listed.index(value)
    return domain.to_unit(value) if isinstance(domain, Normal) else value


def _construct(searcher: type[Any], options: dict[str, Any], seed: int) -> Any:
    taken = inspect.signature(searcher.__init__).parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values())
    problems = [*_misplaced(searcher, options)]
    allowed = sorted(set(taken) - {"self"} - set(_OURS))
    for key in options:
        if key not in taken and not open_ended:
            rule = f"{searcher.__name__} takes no such option"
            problems.append(Problem(f"search.{key}", rule, None, did_you_mean(key, allowed)))
    if problems:
        raise StudyError(problems)
    seeds = {key: seed for key in _SEEDS if key in taken and key not in options}
    try:
        return searcher(**{**dict(list(seeds.items())[:1]), **options})
    except (TypeError, ValueError) as error:
        raise StudyError([Problem("search", f"{searcher.__name__} refused its options: {error}")]) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna announces every study it makes."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _misplaced(searcher: type[Any], options: Mapping[str, Any]) -> list[Problem]:
    problems = [
        Problem(f"search.{key}", "the study says this", None, f"Use the study's field {field}")
        for key, field in _OURS.items()
        if key in options
    ]
    if searcher.__name__ in _WRAPPERS:
        fix = f"Name the searcher itself and use the study's field {_WRAPPERS[searcher.__name__]}"
        problems.append(Problem("search.name", f"{searcher.__name__} wraps another searcher", None, fix))
    return problems
