"""What ``raytune check`` looks at, one item after the other; a wrong item never hides the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raytune_suite.errors import Problem, RaytuneError, StudyError, TrainableError
from raytune_suite.resolve import resolve

if TYPE_CHECKING:
    from raytune_suite.study import Study


@dataclass(frozen=True)
class Found:
    """What a look found: one line, and what may be printed below everything."""

    line: str
    below: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """One thing that was looked at: what was found, or everything that is wrong with it."""

    name: str
    found: Found
    problems: tuple[str, ...] = ()


Look = Callable[["Study"], Found]


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
    if step:
        looks["one step"] = _step
    for name, look in looks.items():
        yield _item(name, look, study)


def _item(name: str, look: Look, study: Study) -> Item:
    """Turn what a look returns or raises into an item."""
    try:
        return Item(name, look(study))
    except StudyError as error:
        return Item(name, Found(""), tuple(str(problem) for problem in error.problems))
    except RaytuneError as error:
        return Item(name, Found(""), (str(error),))


def _study(study: Study) -> Found:
    space = study.search_space
    size = space.size()
    variety = "" if size is None else f", {size} distinct configurations"
    return Found(f"{_count(space.parameters, 'parameter')}, {_count(space.constants, 'constant')}{variety}")


def _search(study: Study) -> Found:
    from raytune_suite.search import build, check

    if problems := check(study):
        raise StudyError(problems)
    total = build(study).total
    return Found(study.search.name + ("" if total is None else f", {total} configurations"))


def _scheduler(study: Study) -> Found:
    from raytune_suite.schedulers import check

    if problems := check(study):
        raise StudyError(problems)
    return Found(study.scheduler.name)


def _callbacks(study: Study) -> Found:
    wrong = []
    for number, spec in enumerate(study.callbacks):
        try:
            resolve(spec, study.project)
        except TrainableError as error:
            wrong.append(Problem(f"callbacks[{number}]", str(error)))
    if wrong:
        raise StudyError(wrong)
    return Found(", ".join(study.callbacks) or "none")


def _plan(study: Study) -> Found:
    from raytune_suite.plan import make
    from raytune_suite.resources import Cluster

    plan = make(study, Cluster.local())
    return Found(f"{_count(range(plan.slots), 'trial')} at once", tuple(plan.lines()))


def _count(things: Sized, word: str) -> str:
    number = len(things)
    return f"{number} {word}{'' if number == 1 else 's'}"
