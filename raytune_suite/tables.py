"""What ``raytune list``, ``show`` and ``best`` print: experiments and trials as tables, or as plain data for JSON."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from raytune_suite import formats, proposal
from raytune_suite.analysis import Experiment, Rule, describe_error, find, load, select
from raytune_suite.errors import ExperimentError
from raytune_suite.expression import Expression, ExpressionError
from raytune_suite.metrics import std_error
from raytune_suite.record import TrialRecord
from raytune_suite.states import State
from raytune_suite.verdict import Verdict, verdict_of

CURVE = 40
_LABEL = 12
_BESIDE_CONFIG = 68  # what the other columns of a table of trials take


def experiments(storage: Path) -> tuple[list[Experiment], list[ExperimentError]]:
    """All experiments below a storage folder, the latest last, and what is wrong with those that cannot be read.

    Raises ExperimentError if there is neither.
    """
    if not storage.is_dir():
        raise ExperimentError(f"There is no folder {storage}: name the storage folder with --storage.")
    found: list[Experiment] = []
    damaged: list[ExperimentError] = []
    for folder in find(storage):
        try:
            found.append(load(folder))
        except ExperimentError as error:  # one that is damaged must not hide the others
            damaged.append(error)
    if not found and not damaged:
        raise ExperimentError(f"No experiment lies in {storage}: name another folder with --storage.")
    return sorted(found, key=lambda experiment: experiment.record.started_at or 0.0), damaged


def matching(found: Iterable[Experiment], text: str) -> list[tuple[Experiment, TrialRecord]]:
    """The trials for which a filter holds. Raises ExperimentError for one that cannot be read."""
    try:
        return select(found, Expression(text))
    except ExpressionError as error:
        raise ExperimentError(f"The filter {text!r} cannot be read: {error}") from error


def experiments_table(found: Iterable[Experiment]) -> Table:
    """One row an experiment."""
    table = _table("experiment", "status", "trials", "metric", "best", "started")
    for experiment in found:
        record = experiment.record
        ended = sum(trial.state.ended for trial in record.trials.values())
        table.add_row(
            experiment.name,
            experiment.status,
            f"{ended}/{record.num_trials or '?'}",
            f"{record.metric} ({record.mode})",
            _best_text(experiment),
            when(record.started_at),
        )
    return table


def trials_table(pairs: Sequence[tuple[Experiment, TrialRecord]], width: int = 1000) -> Table:
    """One row and one line a trial, ``width`` characters wide; the experiment is named if there are several."""
    several = len({experiment.folder for experiment, _ in pairs}) > 1
    table = _table(*(["experiment"] if several else []), "trial", "state", "value", "iterations", "time", "config")
    room = max(20, width - _BESIDE_CONFIG - (max(len(e.name) for e, _ in pairs) + 2 if several else 0))
    for experiment, trial in pairs:
        row = [
            Text(str(trial.number)),
            state_text(trial),
            Text(formats.number(_value(experiment, trial))),
            Text(f"{trial.iteration}/{experiment.record.max_iterations or '?'}"),
            Text(formats.duration(trial.seconds)),
            Text(formats.config(trial.point, room)),
        ]
        table.add_row(*([Text(experiment.name)] if several else []), *row)
    return table


def experiment_view(experiment: Experiment, width: int = 1000) -> Iterator[RenderableType]:
    """What ``raytune show EXPERIMENT`` prints."""
    record = experiment.record
    yield Text(f"{experiment.name}: {experiment.status}", "bold")
    yield _line("metric", f"{record.metric}, {record.mode}")
    yield _line("trials", f"{len(record.trials)} of {record.num_trials or '?'}: {formats.states(record.counts())}")
    yield _line("best", _best_text(experiment))
    default = experiment.default
    if default is not None and (yardstick := default.best()):
        yield _line("default", f"{formats.number(yardstick.value)} (trial {default.number})")
    yield from _confirmed(experiment)
    yield _line("started", when(record.started_at))
    if experiment.usage.capacity and (text := experiment.usage.describe()):
        yield _line(f"{experiment.usage.unit}s", text)
    yield _line("folder", str(experiment.folder))
    if experiment.status in ("interrupted", "crashed"):
        yield _line("go on", f"raytune resume {shlex.quote(str(experiment.folder))}")
    for label, line in _labelled("plan", record.sessions[-1].get("plan") or [] if record.sessions else []):
        yield _line(label, line)
    yield trials_table([(experiment, trial) for _, trial in sorted(record.trials.items())], width)
    yield from _error_lines(record.trials.values())


def trial_view(experiment: Experiment, trial: TrialRecord) -> Iterator[RenderableType]:
    """What ``raytune show EXPERIMENT TRIAL`` prints: the trial's story, and why it ended as it did."""
    most = experiment.record.max_iterations or "?"
    yield Text(f"trial {trial.number} of {experiment.name}: ", "bold").append(state_text(trial))
    yield _line("iterations", f"{trial.iteration} of {most}, {formats.duration(trial.seconds)}")
    if ending := _ending(trial):
        yield _line("ended", ending)
    if best := trial.best():
        value = formats.measured(best.value, best.error)
        yield _line("best", f"{trial.metric} {value} at iteration {best.iteration}")
    yield _line("origin", proposal.sentence(experiment, trial))
    yield _line("seed", str(trial.seed))
    if trial.node:
        gpus = f", GPU {', '.join(map(str, trial.gpu_ids))}" if trial.gpu_ids else ""
        where = formats.node(trial.node, trial.runs[-1].ip)
        yield _line("ran on", f"{where}{gpus}, {when(trial.started_at)}")
    for label, line in _labelled("config", _settings(trial)):
        yield _line(label, line)
    test = trial.test or {}
    for name, value in formats.test_metrics(test).items():
        yield _line("test", f"{name} {formats.measured(value, test.get(std_error(name)))}")
    yield from _curves(trial)
    yield from _decisions(trial)
    yield from _failure(trial)


def state_text(trial: TrialRecord) -> Text:
    """A state in its colour, with who ended the trial."""
    by = f" by {trial.by}" if trial.by and trial.state.ended else ""
    return Text(trial.state.value.replace("_", " ") + by, formats.STATE_STYLES[trial.state])


def experiment_data(experiment: Experiment) -> dict[str, Any]:
    """An experiment for JSON."""
    record = experiment.record
    ranked = experiment.ranked()
    best = ranked[0] if ranked else None
    return {
        "name": experiment.name,
        "folder": str(experiment.folder),
        "status": experiment.status,
        "metric": record.metric,
        "mode": record.mode,
        "num_trials": record.num_trials,
        "states": {state.value: amount for state, amount in record.counts().items()},
        "best_trial": best.number if best else None,
        "best_value": experiment.value(best) if best else None,
        "started": record.started_at,
        "usage": {"unit": experiment.usage.unit, "seconds": experiment.usage.seconds()},
    }


def trial_data(experiment: Experiment, trial: TrialRecord) -> dict[str, Any]:
    """A trial for JSON, without its reports."""
    best = trial.best()
    return {
        "experiment": experiment.name,
        "number": trial.number,
        "state": trial.state.value,
        "by": trial.by,
        "reason": trial.reason,
        "value": _value(experiment, trial),
        "best": best.value if best else None,
        "best_iteration": best.iteration if best else None,
        "iterations": trial.iteration,
        "seconds": trial.seconds,
        "origin": trial.origin,
        "seed": trial.seed,
        "config": trial.config,
        "test": trial.test,
        "error": describe_error(trial),
    }


def story_data(experiment: Experiment, trial: TrialRecord) -> dict[str, Any]:
    """A trial for JSON with everything that happened to it."""
    reports = [{"iteration": report.iteration, **report.metrics} for report in trial.reports]
    keys = ("iteration", "action", "by", "reason", "text")
    decisions = [{key: decision.get(key) for key in keys} for decision in trial.decisions]
    found = proposal.prediction(experiment, trial)
    return {
        **trial_data(experiment, trial),
        "node": trial.node,
        "ip": trial.runs[-1].ip if trial.runs else None,
        "note": trial.note,
        "prediction": asdict(found) | {"inside": found.inside} if found else None,
        "retries": trial.retries,
        "reports": reports,
        "decisions": decisions,
        "traceback": (trial.error or {}).get("traceback"),
    }


def best_data(experiment: Experiment, rule: Rule) -> dict[str, Any]:
    """The best trial for JSON and YAML; ``checkpoint`` is None if there is none on disk."""
    trial = experiment.best(rule)
    try:
        checkpoint = str(experiment.best_checkpoint(rule))
    except ExperimentError:
        checkpoint = None
    return {
        "experiment": experiment.name,
        "number": trial.number,
        "metric": experiment.record.metric,
        "rule": rule,
        "value": experiment.value(trial, rule),
        "error": best.error if (best := trial.best()) and rule == "best" else trial.last(std_error(trial.metric)),
        "iteration": best.iteration if (best := trial.best()) and rule == "best" else trial.iteration,
        "checkpoint": checkpoint,
        "config": trial.config,
    }


def best_view(experiment: Experiment, rule: Rule) -> Iterator[Text]:
    """What ``raytune best`` prints."""
    facts = best_data(experiment, rule)
    value = f"{facts['metric']} {formats.measured(facts['value'], facts['error'])} at iteration {facts['iteration']}"
    yield Text(f"trial {facts['number']} of {facts['experiment']}: {value} (rule: {rule})", "bold green")
    default = experiment.default
    yardstick = experiment.value(default, rule) if default else None
    if default and yardstick is not None and default.number != facts["number"]:
        how = formats.improvement(facts["value"], yardstick, experiment.record.mode)
        yield _line("default", f"{formats.number(yardstick)}: the best is {how}")
    for label, line in _labelled("config", _settings(experiment.best(rule))):
        yield _line(label, line)
    yield _line("checkpoint", facts["checkpoint"] or "none kept")
    yield from _confirmed(experiment)


def verdict_view(verdict: Verdict) -> Iterator[RenderableType]:
    """What ``raytune confirm`` prints."""
    rows = list(verdict.rows())
    table = _table(*rows[0]) if rows else _table("trial")
    for row in rows:
        table.add_row(*row.values())
    yield table
    yield Text(verdict.sentence(), "bold green" if verdict.certain else "bold yellow")


def _confirmed(experiment: Experiment) -> Iterator[Text]:
    """A line about the last confirmation, if there was one."""
    found = verdict_of(experiment.folder)
    if found is not None:
        yield _line("confirmed", found.sentence())


def trial_of(experiment: Experiment, name: str) -> TrialRecord:
    """The trial with a number, or ``00012`` as its folder is called. Raises ExperimentError for another one."""
    trials = experiment.record.trials
    if name.isdigit() and int(name) in trials:
        return trials[int(name)]
    span = f"0 to {max(trials)}" if trials else "none yet"
    raise ExperimentError(f"{experiment.name} has no trial {name!r}. Its trials: {span}.")


def jsonable(value: Any) -> Any:
    """Data as strict JSON has it: what is not finite becomes null."""
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def when(seconds: float | None) -> str:
    """A moment in local time."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in names:
        right = name in ("trial", "value", "iterations", "time", "trials", "first", "last")
        wraps = name in ("config", "metric", "best")
        table.add_column(name, justify="right" if right else "left", no_wrap=not wraps, overflow="fold")
    return table


def _line(label: str, text: str) -> Text:
    return Text(f"{label:<{_LABEL}}", "bold").append(text, "default")


def _labelled(label: str, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for index, line in enumerate(lines):
        yield ("" if index else label), line


def _settings(trial: TrialRecord) -> list[str]:
    """The config line by line, in full: this is what one copies."""
    return [f"{name}: {value}" for name, value in formats.flat(trial.config).items()]


def _value(experiment: Experiment, trial: TrialRecord) -> float | None:
    best = trial.best()
    return experiment.value(trial) if experiment.value(trial) is not None else best and best.value


def _best_text(experiment: Experiment) -> str:
    ranked = experiment.ranked()
    if not ranked:
        return "-"
    best = ranked[0].best()
    return f"{formats.measured(experiment.value(ranked[0]), best and best.error)} (trial {ranked[0].number})"


def _ending(trial: TrialRecord) -> str:
    retries = f", after {formats.count(len(trial.retries), 'retry')}".replace("retrys", "retries")
    retries += f", with {formats.given(trial.given)}" if formats.given(trial.given) else ""
    text = (trial.reason or "").strip().partition("\n")[0]
    if trial.state is State.COMPLETED and not text:
        text = "all iterations done"
    return text + (retries if trial.retries else "")


def _curves(trial: TrialRecord) -> Iterator[RenderableType]:
    """Each metric over the iterations: first value, curve, last and best value."""
    names = list(dict.fromkeys(name for report in trial.reports for name in report.metrics))
    names.sort(key=lambda name: name != trial.metric)
    table = _table("metric", "first", "curve", "last")
    for name in names:
        values = [report.metrics.get(name) for report in trial.reports]
        numbers = [value if isinstance(value, int | float) else None for value in values]
        if any(value is not None for value in numbers):
            curve = Text(formats.sparkline(numbers, CURVE), "cyan")
            table.add_row(name, formats.number(numbers[0]), curve, formats.number(trial.last(name)))
    if table.row_count:
        yield Text("")
        yield table


def _decisions(trial: TrialRecord) -> Iterator[Text]:
    """Why it was stopped, or was not: each decision with the numbers behind it."""
    if trial.decisions:
        yield Text("\ndecisions", "bold")
    for decision in trial.decisions:
        text = Text(f"iteration {decision.get('iteration')}: ")
        text.append(f"{decision.get('action')} by {decision.get('by')}", "yellow")
        text.append(f". {decision.get('text') or ''}")
        shown = formats.facts(decision.get("reason") or {})
        yield text.append(f"\n  {shown}" if shown else "", "dim")


def _failure(trial: TrialRecord) -> Iterator[Text]:
    if trial.error:
        yield Text(f"\n{describe_error(trial)}", "red")
        yield Text(str(trial.error.get("traceback") or "").rstrip(), "dim")


def _error_lines(trials: Iterable[TrialRecord]) -> Iterator[Text]:
    found: dict[str, list[int]] = {}
    for trial in trials:
        if text := describe_error(trial):
            found.setdefault(text, []).append(trial.number)
    for text, numbers in found.items():
        yield Text(f"{len(numbers)}x {text} (trial {formats.numbers(numbers)})", "red")
