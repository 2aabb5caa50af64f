"""What ``raytune check`` looks at, one item after the other; a wrong item never hides the next."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from raytune_suite import formats
from raytune_suite.errors import ExperimentError, Problem, RaytuneError, StudyError, TrainableError
from raytune_suite.resolve import resolve

if TYPE_CHECKING:
    from raytune_suite.study import Study


@dataclass(frozen=True)
class Found:
    """What a look found: one line; or everything that is wrong, with the traceback if there is one."""

    line: str = ""
    problems: tuple[str, ...] = ()
    trace: tuple[str, ...] = ()


Look = Callable[["Study"], Found]


def checklist(study: Study, *, step: bool = True) -> Iterator[tuple[str, Found]]:
    """Look at everything a run of ``study`` needs, cheapest first. Nothing is started but one child process.

    With ``step`` False the trainable is not run (and so the metric's name not looked at).
    """
    looks: dict[str, Look] = {
        "study": _study,
        "search": _search,
        **({"from": _from} if study.from_ else {}),
        "scheduler": _scheduler,
        "callbacks": _callbacks,
        "resources": _resources,
        "folder": _folder,
    }
    if step:
        looks["one step"] = _step
    for name, look in looks.items():
        yield name, _found(look, study)


def _found(look: Look, study: Study) -> Found:
    """What a look returns; what it raises is what is wrong."""
    try:
        return look(study)
    except StudyError as error:
        return Found(problems=tuple(str(problem) for problem in error.problems))
    except RaytuneError as error:
        return Found(problems=(str(error),))


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


def _from(study: Study) -> Found:
    from raytune_suite.warmstart import take

    sources = take(study)
    usable = sum(len(source.earlier.observations) for source in sources)
    return Found(f"{_count(sources, 'experiment')}, {_count(range(usable), 'trial')} to learn from")


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


def _resources(study: Study) -> Found:
    from raytune_suite.plan import refuse_waste
    from raytune_suite.resources import Cluster, is_auto, request, slots

    cluster = Cluster.local()
    needs = request(study, cluster)
    refuse_waste(study, needs)
    fit = _count(range(slots(needs, cluster, study.max_concurrent)), "trial")
    if needs.gpu and is_auto(study):  # the plan below has what the forecast makes of it
        return Found(f"at least {fit} at once on this machine, more if GPU memory allows (gpu: auto)")
    return Found(f"{fit} at once on this machine")


def _folder(study: Study) -> Found:
    folder = Path(study.folder)
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        why = "cannot be written to" if above.is_dir() else "is no folder"
        raise ExperimentError(f"{folder} cannot be made: {above} {why}. Give another folder as storage.")
    taken = " is taken: a run needs another --name" if is_taken(study) else ""
    return Found(f"{folder}{taken}")


def is_taken(study: Study) -> bool:
    """Whether the study's folder is in use already; a run would refuse it."""
    folder = Path(study.folder)
    return folder.is_dir() and any(folder.iterdir())


def _step(study: Study) -> Found:
    from raytune_suite.preflight import try_step

    report = try_step(study)
    if not report.ok:
        problems = tuple(str(problem) for problem in report.problems)
        return Found(problems=problems, trace=tuple((report.error or "").splitlines()))
    value = formats.number(report.metrics.get(study.metric))  # it may not be measured in the first step
    took = f"{report.setup_seconds:.1f} s to set up, {report.step_seconds:.2f} s a step"
    return Found(f"{study.trainable}: {took}, {study.metric} = {value}")


def _count(things: Sized, word: str) -> str:
    number = len(things)
    return f"{number} {word}{'' if number == 1 else 's'}"
