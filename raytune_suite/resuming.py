"""Going on with an experiment: after a signal, a crash, a full disk; with more trials; or with failed ones again.

Everything needed is in the folder: the study file, the journal, the checkpoints. It may have been moved, and this
may be another process on another machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytune_suite import copies, lease, longer, ray_runtime, schedulers, warmstart
from raytune_suite import journal as journals
from raytune_suite.closing import shown_path
from raytune_suite.driver import Driver
from raytune_suite.errors import ExperimentError
from raytune_suite.journal import Journal
from raytune_suite.live import trial_id
from raytune_suite.opening import study_of
from raytune_suite.recall import memory_of
from raytune_suite.record import Record, TrialRecord, fold
from raytune_suite.restore import Past, restore, running_time
from raytune_suite.runner import Results, Run
from raytune_suite.states import State
from raytune_suite.study import Study
from raytune_suite.study.file import read_yaml

CHANGEABLE = (
    *("num_trials", "max_iterations", "max_concurrent", "stop.time", "stop.step_time", "stop.first_failures"),
    *("resources", "retries", "environment", "callbacks"),
)
"""What may change when a study goes on: nothing that a suggestion or decision on record rests on."""
RETRIED = (State.FAILED, State.OOM, State.TIMED_OUT)
Before = Callable[[Study, Record, Journal], Study]
"""What is done, and changed in the study, before an experiment goes on."""


@dataclass(frozen=True)
class Engine:
    """Where and how loudly to run; the fields are the arguments of :func:`raytune_suite.run`."""

    address: str | None = None
    verbosity: int = 0
    console: Any = None
    num_cpus: float | None = None
    num_gpus: float | None = None
    engine: str | None = None
    copy_to: str | None = None
    #: Whether it is copied to remote storage, if the study says so.
    copied: bool = True


def resume(
    folder: Path | str,
    *,
    num_trials: int | str | None = None,
    changes: Mapping[str, Any] | None = None,
    project: Path | str | None = None,
    as_logged: bool = False,
    **engine: Any,
) -> Results:
    """Go on with an experiment whose driver was interrupted or died; finished trials stay as they are.

    Unfinished trials go on from their last checkpoints, under their own numbers, before new ones are made.

    Args:
        folder: of the experiment.
        num_trials: extend the study to so many configurations, or by so many ("+20").
        changes: other keys of the study to change, as ``{"stop.time": "2h"}``; see :data:`CHANGEABLE`.
        project: where the training code is, if it is not where it was.
        as_logged: go on even if a decision of the journal does not come out again as it was taken.
        engine: ``address``, ``verbosity``, ``console``, ``num_cpus``, ``num_gpus``, ``engine``, ``copy_to`` as for
            :func:`run`; ``copied=False`` leaves the copy in remote storage alone.

    Raises:
        ExperimentError: no experiment, in use, damaged, nothing left to do, a key that cannot change, or
            decisions that differ.
        StudyError: a change makes the study wrong.
    """

    def before(study: Study, record: Record, journal: Journal) -> Study:
        changed = study if not changes else _changed(study, changes)
        changed = changed if num_trials is None else _extended(changed, num_trials)
        if changed == study:
            _must_be_open(record, Path(folder))
        if changed.max_iterations != study.max_iterations:
            longer.check(study, changed)
            longer.reopen(study, record, journal)
        return changed

    return _go_on(Path(folder), project, as_logged, before, Engine(**engine))


def retry(
    folder: Path | str,
    *,
    states: Sequence[State | str] = RETRIED,
    trials: Sequence[int] = (),
    project: Path | str | None = None,
    as_logged: bool = False,
    **engine: Any,
) -> Results:
    """Start trials that ended in one of ``states`` again, from their last checkpoints, and go on with the study.

    ``trials``: only these numbers. The other arguments are those of :func:`resume`.

    Raises:
        ExperimentError: as :func:`resume`; or no trial is in such a state.
    """
    wanted = [_failure(state) for state in states or RETRIED]

    def before(study: Study, record: Record, journal: Journal) -> Study:
        chosen = [t for t in record.trials.values() if t.state in wanted and (not trials or t.number in trials)]
        if not chosen:
            found = ", ".join(f"{count} {state}" for state, count in record.counts().items()) or "no trials"
            named = " or ".join(filter(None, [", ".join(wanted[:-1]), wanted[-1]]))
            raise ExperimentError(f"No trial is {named}: the experiment has {found}.")
        for trial in chosen:
            journal.append("retry", number=trial.number, attempt=trial.attempt + 1, state=trial.state, by="user")
        return study

    return _go_on(Path(folder), project, as_logged, before, Engine(**engine))


def _go_on(folder: Path, project: Path | str | None, as_logged: bool, before: Before, engine: Engine) -> Results:
    folder = folder.resolve()
    if not (folder / journals.FILE).is_file():
        raise ExperimentError(f"There is no experiment to go on with in {folder}: it has no {journals.FILE}.")
    uri = (engine.copy_to or copies.remote_of(folder)) if engine.copied else None
    with lease.held(uri, _said) as mine, ray_runtime.environment(engine.address):
        if uri is not None:
            copies.catch_up(uri, folder, _said)
        return _with_journal(folder, project, as_logged, before, engine, mine)


def _with_journal(
    folder: Path,
    project: Path | str | None,
    as_logged: bool,
    before: Before,
    engine: Engine,
    mine: lease.Lease | None,
) -> Results:
    with Journal.open(folder) as journal:
        record = fold(journals.read(folder), keep_reports=False)
        if not record.sessions:
            raise ExperimentError(f"{folder} broke off before anything ran: delete it and run the study again.")
        study = study_of(folder, record.sessions[-1], None if project is None else Path(project))
        changed = before(study, record, journal)
        if changed is not study:
            _rewrite(folder / "study.yaml", changed.dump())
        past = _Journaled(folder, changed, as_logged)
        sources = warmstart.recorded(journals.read(folder), changed.search_space)
        run = Run(changed, folder, journal, engine.verbosity, engine.console, past, sources, engine.engine, mine)
        return run.all(engine.address, engine.num_cpus, engine.num_gpus)


class _Journaled:
    """The earlier sessions of an experiment, as its journal has them."""

    def __init__(self, folder: Path, study: Study, as_logged: bool) -> None:
        self._folder, self._study, self._as_logged = folder, study, as_logged
        self.elapsed = running_time(journals.read(folder))
        self._past: Past | None = None

    def restore(self, driver: Driver, record: Record) -> list[str]:
        """See ``runner.History``."""
        try:
            self._past = restore(driver, self._events(record), as_logged=self._as_logged)
        except ExperimentError as error:
            error.add_note("raytune resume --as-logged goes on with what is in the journal.")
            raise
        scheduler = driver.scheduler
        if scheduler.population is not None and self._past.forgotten is None:
            scheduler.ray.offer(self._folder, self._folder / ".scratch")
        return [*_restored(driver), *not_rebuilt(self._study, self._past.forgotten)]

    def settle(self, driver: Driver) -> None:
        """See ``runner.History``."""
        if self._past is not None:
            self._past.settle()
            self._past = None

    def _events(self, record: Record) -> Iterable[dict[str, Any]]:
        for event in journals.read(self._folder):
            record.apply(event)
            yield event


def not_rebuilt(study: Study, forgotten: Exception | None = None) -> list[str]:
    """Return what a resumed scheduler does not know of its past, as plan lines; ``forgotten``: why."""
    name, scheduler = study.scheduler.name, schedulers.build(study)
    if forgotten is None and (scheduler.replayable or memory_of(scheduler) is not None):
        return []
    why = "" if forgotten is None else f" ({str(forgotten) or type(forgotten).__name__})"
    if name in ("pbt", "pb2"):
        text = f"the population goes on from its checkpoints; who was perturbed when is not rebuilt{why}"
    elif name == "hyperband":
        text = f"unfinished trials go on in new brackets; where the old ones stood is not rebuilt{why}"
    else:
        text = "what it knew of earlier reports is not rebuilt; unfinished trials go on"
    return [f"{'':<10} {name}: {text}"]


def _restored(driver: Driver) -> list[str]:
    waiting = sorted(driver.waiting)
    if not waiting:
        return [f"{'resumed':<10} no trial was unfinished"]
    named = ", ".join(trial_id(number) for number in waiting[:8]) + (", ..." if len(waiting) > 8 else "")
    trials = "1 unfinished trial goes" if len(waiting) == 1 else f"{len(waiting)} unfinished trials go"
    return [f"{'resumed':<10} {trials} on first: {named}"]


def _changed(study: Study, changes: Mapping[str, Any]) -> Study:
    data = read_yaml(study.dump(), "the study")
    for key, value in changes.items():
        if not key.startswith(tuple(f"{name}." for name in CHANGEABLE)) and key not in CHANGEABLE:
            rule = "suggestions or decisions on record rest on it"
            raise ExperimentError(
                f"{key} cannot change when a study goes on: {rule}. What can: {', '.join(CHANGEABLE)}."
            )
        section, _, name = key.rpartition(".")
        place = data.setdefault(section, {}) if section else data
        place[name] = value
    return Study.from_dict(data, study.project)


def _extended(study: Study, num_trials: int | str) -> Study:
    now, text = study.num_trials, str(num_trials).strip()
    if not text.removeprefix("+").isdecimal():
        raise ExperimentError(f"--num-trials must be a number, or +NUMBER to add to it, got {num_trials!r}.")
    if now is None:
        raise ExperimentError("A whole grid has no more trials: there is nothing to extend.")
    total = now + int(text) if text.startswith("+") else int(text)
    if total < now:
        raise ExperimentError(f"--num-trials must not be below the study's own {now}, got {total}.")
    return study.model_copy(update={"num_trials": total}).with_project(study.project)


def _must_be_open(record: Record, folder: Path) -> None:
    closed = (record.closed or {}).get("state") == "finished"
    if closed and all(_over(trial) for trial in record.trials.values()):
        path = shown_path(folder)
        raise ExperimentError(
            f"{record.name} is finished: there is nothing to go on with. More trials: raytune resume {path} "
            f"--num-trials +20. Failed ones again: raytune retry {path}"
        )


def _said(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _over(trial: TrialRecord) -> bool:
    return trial.state.ended


def _failure(state: State | str) -> State:
    known = [one.value for one in State if one.failure and one is not State.INFEASIBLE]
    if str(state) not in known:
        raise ExperimentError(f"Only trials that are {', '.join(known)} can be started again, got {state!s}.")
    return State(state)


def _rewrite(path: Path, text: str) -> None:
    """Replace a file whole, so that a crash leaves the old one or the new one."""
    draft = path.with_suffix(".new")
    draft.write_text(text)
    draft.replace(path)
