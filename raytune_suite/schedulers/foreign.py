"""Schedulers written elsewhere: a ``TrialScheduler`` of Ray's, by ``module:Class`` or by entry point."""

from __future__ import annotations

import inspect
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from raytune_suite.errors import PlanError, Problem, RaytuneError
from raytune_suite.nearest import did_you_mean
from raytune_suite.resolve import is_reference, resolve
from raytune_suite.schedulers.core import Ledger, Scheduler

if TYPE_CHECKING:
    from raytune_suite.study import Study

GROUP = "raytune_suite.schedulers"


def registered() -> dict[str, EntryPoint]:
    """Return the entry points of the group ``raytune_suite.schedulers`` by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def is_foreign(name: str) -> bool:
    """Say whether a scheduler's name is a ``module:Class`` or a registered one."""
    return is_reference(name) or name in registered()


def describe(study: Study) -> list[str]:
    """Return the plan, as far as one can know it."""
    return [f"{study.scheduler.name}: a scheduler from elsewhere; its plan and its reasons are its own"]


def check(study: Study) -> list[Problem]:
    """Return whether a registered scheduler can be loaded; a ``module:Class`` is only loaded to be built."""
    point = registered().get(study.scheduler.name)
    if point is None:
        return []
    try:
        point.load()
    except (ImportError, AttributeError) as error:
        return [Problem("scheduler", f"the entry point {point.value} cannot be loaded: {error}")]
    return []


def build(study: Study, ledger: Ledger) -> Scheduler:
    """Return the scheduler, made with its options; what the study knows is filled in where it takes it.

    Raises:
        PlanError: it is no ``TrialScheduler``, has no such option, or refuses the options.
    """
    name = study.scheduler.name
    cls = _load(name, study)
    options = {**_from_study(cls, study), **study.scheduler.options}
    _check_names(cls, options, name)
    try:
        ray = cls(**options)
    except (TypeError, ValueError, AssertionError) as error:
        raise PlanError(f"scheduler {name} refused its options {options}: {error}") from error
    if getattr(ray, "metric", None) is None:
        ray.set_search_properties(study.metric, study.mode)
    return Scheduler(name, ray, ledger, max_iterations=study.max_iterations, pauses=True)


def _load(name: str, study: Study) -> Any:
    from ray.tune.schedulers import TrialScheduler

    point = registered().get(name)
    try:
        cls = point.load() if point is not None else resolve(name, study.project)
    except (ImportError, AttributeError) as error:
        raise PlanError(f"scheduler {name} cannot be loaded: {error}") from error
    except RaytuneError as error:
        raise PlanError(f"scheduler {error}") from error
    if not (inspect.isclass(cls) and issubclass(cls, TrialScheduler)):
        raise PlanError(f"scheduler {name} must be a subclass of ray.tune.schedulers.TrialScheduler, got {cls!r}")
    return cls


def _accepted(cls: Any) -> tuple[list[str], bool]:
    """Return the names its constructor takes, and whether it takes any name."""
    parameters = inspect.signature(cls).parameters.values()
    return [p.name for p in parameters], any(p.kind is p.VAR_KEYWORD for p in parameters)


def _from_study(cls: Any, study: Study) -> dict[str, Any]:
    known = {
        "metric": study.metric,
        "mode": study.mode,
        "time_attr": "training_iteration",
        "max_t": study.max_iterations,
    }
    names, _ = _accepted(cls)
    return {key: value for key, value in known.items() if key in names}


def _check_names(cls: Any, options: dict[str, Any], name: str) -> None:
    names, anything = _accepted(cls)
    for key in options:
        if key not in names and not anything:
            raise PlanError(f"scheduler {name} has no option {key}. {did_you_mean(key, names)}")
