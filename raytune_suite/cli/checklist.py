"""What ``raytune check`` looks at, one item after the other; a wrong item never hides the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from raytune_suite.errors import PlanError, Problem, RaytuneError, StudyError, TrainableError
from raytune_suite.resolve import resolve

if TYPE_CHECKING:
    from raytune_suite.study import Study


@dataclass(frozen=True)
class Item:
    """One thing that was looked at: what was found, or everything that is wrong with it."""

    name: str
    found: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


Look = Callable[["Study"], list[str]]


def checklist(study: Study, *, step: bool = True) -> Iterator[Item]:
    """Look at everything a run of ``study`` needs, cheapest first. Nothing is started but one child process.

    With ``step`` False the trainable is not run (and so the metric's name not looked at).
    """
    looks: dict[str, Look] = {
        "study": _study,
        "search": _search,
        "scheduler": _scheduler,
        "callbacks": _callbacks,
        "plan": _plan,
    }
    for name, look in looks.items():
        yield _item(name, partial(look, study))
    if step:
        yield _item("one step", partial(_step, study))


def _item(name: str, look: Callable[[], list[str]]) -> Item:
    """Turn what a look returns or raises into an item."""
    try:
        return Item(name, found=tuple(look()))
    except StudyError as error:
        return Item(name, problems=tuple(str(problem) for problem in error.problems))
    except RaytuneError as error:
        return Item(name, problems=(str(error),))


def _study(study: Study) -> list[str]:
    space = study.search_space
    size = space.size()
    variety = "" if size is None else f", {size} distinct configurations"
    return [f"{len(space.parameters)} parameters, {len(space.constants)} constants{variety}"]


def _search(study: Study) -> list[str]:
    from raytune_suite.search import build

    total = build(study).total
    return [study.search.name + (f", {total} configurations" if total is not None else "")]


def _scheduler(study: Study) -> list[str]:
    from raytune_suite.schedulers import check, describe

    if problems := check(study):
        raise StudyError(problems)
    return describe(study)


def _callbacks(study: Study) -> list[str]:
    wrong = []
    for number, spec in enumerate(study.callbacks):
        try:
            resolve(spec, study.project)
        except TrainableError as error:
            wrong.append(Problem(f"callbacks[{number}]", str(error)))
    if wrong:
        raise StudyError(wrong)
    return list(study.callbacks) or ["none"]


def _plan(study: Study) -> list[str]:
    from raytune_suite.plan import make
    from raytune_suite.resources import Cluster

    return list(make(study, Cluster.local()).lines())
