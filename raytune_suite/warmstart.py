"""Warm start: what the experiments named under ``from`` give to a study's searcher, and what cannot be used of them.

Their journals are read once, when a study starts. What is taken goes into the new experiment's own journal, so that
resuming and replaying need the others no more.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from raytune_suite import journal
from raytune_suite.errors import ExperimentError, JournalError, Problem, StudyError
from raytune_suite.nearest import nearest
from raytune_suite.record import Event, Record, TrialRecord, fold
from raytune_suite.search.core import Earlier, Observation, Point, Searcher
from raytune_suite.space import Space
from raytune_suite.states import State
from raytune_suite.study import Study

WAY_OUT = "Or take it out of from."


@dataclass(frozen=True)
class Source:
    """One experiment to learn from: what is taken of it, and ``lines`` that say how much and why not the rest.

    ``entry`` is its place as the study has it; ``metric`` and ``mode`` are its own.
    """

    entry: str
    earlier: Earlier
    metric: str
    mode: str
    lines: tuple[str, ...]

    def event(self) -> dict[str, Any]:
        """Return the fields of the journal's ``earlier`` event; :func:`recorded` reads them back."""
        rows = [{**vars(o), "point": dict(o.point), "state": o.state.value} for o in self.earlier.observations]
        facts = {"name": self.earlier.name, "source": self.entry, "metric": self.metric, "mode": self.mode}
        return {**facts, "said": list(self.lines), "observations": rows}


def take(study: Study) -> tuple[Source, ...]:
    """Read the experiments that ``study`` starts from, one :class:`Source` for each, in their order.

    A trial is taken that completed or was stopped with a finite value, if it has a value for every parameter that is
    active here, or this study's ``default`` has one where the other experiment knows no such parameter. Experiments
    that still run are read as they are now.

    Raises:
        StudyError: an entry that is no experiment, cannot be read, or has another mode: all of them.
    """
    sources: list[Source] = []
    problems: list[Problem] = []
    folders = [locate(study, entry) for entry in study.from_]
    names = [folder.resolve().name for folder in folders]
    for index, (entry, folder, name) in enumerate(zip(study.from_, folders, names, strict=True)):
        where = "from" if len(folders) == 1 else f"from[{index}]"
        try:
            record = _read(folder, where, entry)
            _check_mode(record, study, where, entry)
            sources.append(_source(record, study, entry, name if names.count(name) == 1 else entry, folder))
        except StudyError as error:
            problems += error.problems
    if problems:
        raise StudyError(problems)
    return tuple(sources)


def recorded(events: Iterable[Event], space: Space) -> tuple[Source, ...]:
    """Return what an experiment took when it started, from its own journal; it stands before the first session.

    Raises:
        ExperimentError: it does not fit ``space``: one of the two was changed by hand.
    """
    sources = []
    for event in events:
        if event["event"] == "session":
            break
        if event["event"] == "earlier":
            try:
                sources.append(_recorded(event, space))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                text = f"event {event['seq']} of the journal, earlier, does not fit the study's space: {error}"
                raise ExperimentError(f"{text}. One of the two was changed; restore it.") from error
    return tuple(sources)


def lines(sources: Sequence[Source], searcher: Searcher) -> tuple[str, ...]:
    """Return what the plan says about ``sources``: a line or two each, and whether the searcher ignores them."""
    said = [line for source in sources for line in source.lines]
    if said and not searcher.uses_earlier:
        said.append(f"not used: {searcher.name} does not learn from other experiments")
    return tuple(said)


def locate(study: Study, entry: str) -> Path:
    """Return the folder an entry of ``from`` means: a name alone lies in storage, a path begins at the project."""
    if "/" in entry:
        return study.project / Path(entry).expanduser()
    return Path(study.folder).parent / entry


# -- reading -------------------------------------------------------------------------------------------------------


def _read(folder: Path, where: str, entry: str) -> Record:
    try:
        if not (folder / journal.FILE).is_file():
            raise StudyError([_not_one(folder, where, entry)])
        return fold(journal.read(folder), keep_reports=False)
    except JournalError as error:
        said = str(error).rstrip(".")
        rule = said if str(folder) in said else f"{folder}: {said}"
        raise StudyError([Problem(where, rule, entry, WAY_OUT)]) from None
    except OSError as error:
        raise StudyError([Problem(where, f"{folder} cannot be read: {error.strerror}", entry, WAY_OUT)]) from None


def _not_one(folder: Path, where: str, entry: str) -> Problem:
    if folder.is_dir():
        inside = [f"{entry.rstrip('/')}/{name}" for name in _experiments(folder)]
        fix = f"In it: {', '.join(inside[:5])}." if inside else "Give the folder of one, or take it out of from."
        return Problem(where, f"{folder} is not an experiment: it has no {journal.FILE}", entry, fix)
    if near := nearest(folder.name, _experiments(folder.parent)):
        fix = f"Did you mean {entry.rstrip('/').removesuffix(folder.name)}{near}?"
    elif "/" in entry:
        fix = "A path begins at the project folder."
    else:
        fix = f"A name alone is looked for in storage; a path, as ./{entry}, begins at the project folder."
    return Problem(where, f"there is no experiment {folder}", entry, fix)


def _experiments(folder: Path) -> list[str]:
    """The names of the experiments right below a folder, sorted."""
    return sorted(path.parent.name for path in folder.glob(f"*/{journal.FILE}"))


def _check_mode(record: Record, study: Study, where: str, entry: str) -> None:
    if record.experiment and record.mode != study.mode:
        rule = f"it has mode {record.mode} ({record.metric}), this study {study.mode}: its best would be the worst here"
        fix = "Take it out of from, or report the metric with the other sign and change mode."
        raise StudyError([Problem(where, rule, entry, fix)])


# -- taking --------------------------------------------------------------------------------------------------------


@dataclass
class _Account:
    """What became of the trials of one experiment."""

    used: list[Observation] = field(default_factory=list)
    outside: list[list[str]] = field(default_factory=list)
    lacking: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    completed: dict[str, None] = field(default_factory=dict)

    def text(self, trials: int) -> str:
        """How many trials can be used, and why the others cannot."""
        usable = f"{len(self.used)} usable" if self.used else "none usable"
        return "; ".join([f"{_count(trials, 'trial')}, {usable}" if trials else "no trials yet", *self._reasons()])

    def _reasons(self) -> Iterator[str]:
        if self.outside:
            counts = Counter(name for names in self.outside for name in names)
            named = ", ".join(f"{name} {count}" for name, count in counts.most_common())
            yield f"{len(self.outside)} out of range ({named})"
        yield from (f"{count} without {names}" for names, count in self.lacking.items())
        yield from (f"{count} {why}" for why, count in self.others.items())


def _source(record: Record, study: Study, entry: str, name: str, folder: Path) -> Source:
    space = study.search_space
    theirs = {str(p["name"]) for p in record.space} | set(record.constants)
    default = {key: value for key, value in space.point(study.default or {}).items() if key not in theirs}
    account = _Account()
    for _, trial in sorted(record.trials.items()):
        _judge(trial, space, default, account)
    said = [f"{name}: {account.text(len(record.trials))}"]
    remarks = list(_remarks(record, study, account, live=journal.holder(folder) is not None))
    said += [f"{'':{len(name)}}  {'; '.join(remarks)}"] if remarks else []
    return Source(entry, Earlier(name, tuple(account.used)), record.metric, record.mode, tuple(said))


def _judge(trial: TrialRecord, space: Space, default: Mapping[str, Any], account: _Account) -> None:
    """Put a trial where it belongs in the account."""
    if not trial.state.succeeded:
        account.others["failed" if trial.state.failure else "unfinished"] += 1
        return
    if (value := _finite(trial.value)) is None:
        account.others["without a finite value"] += 1
        return
    point, outside = _restrict({**default, **space.point(trial.config)}, space)
    if outside:
        account.outside.append(outside)
        return
    problems = space.check(point)
    if missing := [problem.where for problem in problems if problem.where]:
        account.lacking[" and ".join(missing)] += 1
    elif problems:
        account.others["that the constraint forbids"] += 1
    else:
        account.completed |= dict.fromkeys(name for name in default if name in point)
        seconds = (trial.last_report and trial.last_report.elapsed) or 0.0
        used = Observation(trial.number, point, value, trial.iteration, trial.state, seconds=seconds)
        account.used.append(used)


def _restrict(values: Mapping[str, Any], space: Space) -> tuple[Point, list[str]]:
    """The values that are active in ``space``, in its types; and which of them it does not take."""
    known, wrong = dict(values), set()
    for parameter in space.parameters:
        if parameter.name in known:
            try:
                known[parameter.name] = parameter.domain.cast(known[parameter.name])
            except ValueError:
                wrong.add(parameter.name)
    try:
        point = space.activate(known)
    except StudyError:  # a condition that cannot be computed with a value of another type
        if not wrong:
            raise
        point = known
    return point, [name for name in point if name in wrong]


def _remarks(record: Record, study: Study, account: _Account, live: bool) -> Iterator[str]:
    if record.trials and not account.used:
        yield "the search starts without it"
    if record.metric and record.metric != study.metric:
        yield f"its metric is {record.metric}"
    if account.completed:
        yield f"{', '.join(account.completed)} from this study's default"
    if left := [str(p["name"]) for p in record.space if p["name"] not in study.search_space.names]:
        yield f"not tuned here: {', '.join(left)}"
    if live:
        yield "still running"


def _recorded(event: Event, space: Space) -> Source:
    found = tuple(_observation(row, space) for row in event["observations"])
    earlier, said = Earlier(event["name"], found), tuple(event["said"])
    return Source(event["source"], earlier, event["metric"], event["mode"], said)


def _observation(row: Mapping[str, Any], space: Space) -> Observation:
    """A row of the journal with the values of its point in the types of ``space``, which JSON may have changed."""
    point = {p.name: p.domain.cast(row["point"][p.name]) for p in space.parameters if p.name in row["point"]}
    known = {one.name: row[one.name] for one in fields(Observation) if one.name in row}
    return Observation(**{**known, "point": point, "state": State(row["state"])})


def _finite(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
