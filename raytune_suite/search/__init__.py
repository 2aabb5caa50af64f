"""Searchers: what proposes configurations. The only door: ``build``, ``check``, ``names``, ``learns``.

A searcher is named in the study: one of ours, one that an installed package registers under the entry
point group ``raytune_suite.searchers``, or ``module:Class`` of a subclass of :class:`Searcher` or of
``ray.tune.search.Searcher``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytune_suite.errors import Problem, StudyError, TrainableError
from raytune_suite.nearest import did_you_mean
from raytune_suite.search.core import Earlier, Observation, Searcher, SearchOptions, Suggestion

if TYPE_CHECKING:
    from raytune_suite.study import Study

__all__ = ["Earlier", "Observation", "SearchOptions", "Searcher", "Suggestion", "build", "check", "learns", "names"]

GROUP = "raytune_suite.searchers"

_OURS = {
    "bayesian": "raytune_suite.search.bayesian:BayesianSearcher",
    "grid": "raytune_suite.search.grid:GridSearcher",
    "hyperopt": "raytune_suite.search.hyperopt:HyperoptSearcher",
    "optuna:cmaes": "raytune_suite.search.optuna:OptunaCmaEsSearcher",
    "optuna:gp": "raytune_suite.search.optuna:OptunaGPSearcher",
    "optuna:tpe": "raytune_suite.search.optuna:OptunaTPESearcher",
    "random": "raytune_suite.search.random:RandomSearcher",
}


def build(study: Study, earlier: Sequence[Earlier] = ()) -> Searcher:
    """The searcher a study names, fresh: tell it what a journal holds to continue; ``earlier``: to learn from.

    Raises:
        StudyError: an unknown name, wrong options, a grid over a continuous parameter without points.
    """
    found = _find(study.search.name, study.project)
    settings: dict[str, Any] = {
        "mode": study.mode,
        "seed": study.seed,
        "num_trials": study.num_trials,
        "max_iterations": study.max_iterations,
        "default": study.default,
        "points_to_evaluate": study.points_to_evaluate,
        "options": {**_usual(found, study), **study.search.options},
        "earlier": earlier,
    }
    if issubclass(found, Searcher):
        return found(study.search_space, **settings)
    from raytune_suite.search.foreign import ForeignSearcher

    return ForeignSearcher(study.search_space, searcher=found, **settings)


def _usual(found: type[Any], study: Study) -> dict[str, Any]:
    """Options that go by how the study ends: by the clock, what configurations cost counts, if a searcher can tell."""
    by_the_clock = study.stop.time is not None
    if by_the_clock and issubclass(found, Searcher) and "cost_aware" in found.Options.model_fields:
        return {"cost_aware": True}
    return {}


def check(study: Study) -> list[Problem]:
    """What is wrong with a study's search section, without asking for a point."""
    try:
        build(study)
    except StudyError as error:
        return list(error.problems)
    return []


def names() -> list[str]:
    """Every name that ``search:`` accepts beside ``module:Class``, sorted."""
    return sorted({*_OURS, *_registered()})


def learns(name: str, project: Path | None = None) -> bool:
    """Whether the searcher of this name uses results."""
    found = _find(name, project)
    return found.learns if issubclass(found, Searcher) else True


def _find(name: str, project: Path | None) -> type[Any]:
    """The class behind a name: a Searcher of ours or a ``ray.tune.search.Searcher``."""
    if name in _OURS:
        module, attribute = _OURS[name].split(":")
        found: Any = getattr(import_module(module), attribute)
    elif name in (registered := _registered()):
        found = registered[name].load()
    elif ":" in name and not _family(name):
        found = _resolved(name, project)
    else:
        raise StudyError([Problem("search.name", "no searcher has this name", name, did_you_mean(name, names()))])
    if not isinstance(found, type) or not (issubclass(found, Searcher) or _is_ray(found)):
        fix = "Name a class derived from raytune_suite.search.Searcher or ray.tune.search.Searcher"
        raise StudyError([Problem("search.name", "this is not a searcher", name, fix)])
    return found


def _family(name: str) -> bool:
    """Whether a name begins as one of ours does: optuna:tp is a slip, not an attribute of a module."""
    return name.partition(":")[0] in {ours.partition(":")[0] for ours in _OURS if ":" in ours}


def _resolved(name: str, project: Path | None) -> Any:
    from raytune_suite.resolve import resolve

    try:
        return resolve(name, project or Path.cwd())
    except TrainableError as error:
        raise StudyError([Problem("search.name", str(error), name)]) from error


def _is_ray(found: type[Any]) -> bool:
    """Whether a class is a Ray searcher, without importing ray: its own module has done so if it is one."""
    ray = sys.modules.get("ray.tune.search")
    return ray is not None and issubclass(found, ray.Searcher)


def _registered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
