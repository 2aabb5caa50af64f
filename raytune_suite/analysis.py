"""Experiments read back from their folders: while they run, after a crash, elsewhere, without Ray."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from raytune_suite import journal
from raytune_suite.errors import ExperimentError, PlanError
from raytune_suite.record import Record, TrialRecord, fold
from raytune_suite.states import State
from raytune_suite.usage import Usage, usage_of

if TYPE_CHECKING:
    import pandas as pd

    from raytune_suite.expression import Expression
    from raytune_suite.study import Study

Rule = Literal["best", "last", "final"]
RULES: dict[str, str] = {
    "best": "the best value a trial reported at any iteration",
    "last": "the value a trial reported last",
    "final": "the last value of trials that completed all their iterations",
}


class Experiment:
    """One experiment as its journal tells it at the moment of loading.

    ``live`` says who is writing it, None if nobody is: trials left running are then interrupted.
    """

    def __init__(self, folder: Path, record: Record, live: str | None) -> None:
        self.folder = folder
        self.record = record
        self.live = live

    def __repr__(self) -> str:
        return f"<Experiment {self.name!r}: {self.status}, {len(self.record.trials)} trials, in {self.folder}>"

    @property
    def name(self) -> str:
        """The name in its study, or the folder's if the journal is still empty."""
        return self.record.name or self.folder.name

    @cached_property
    def study(self) -> Study:
        """The study as it ran. Raises ExperimentError if the folder has no study file."""
        from raytune_suite.study import Study

        path = self.folder / "study.yaml"
        if not path.is_file():
            raise ExperimentError(f"{self.folder} has no study.yaml: its tables can be read, its study cannot.")
        return Study.load(path)

    @cached_property
    def usage(self) -> Usage:
        """Where the time of its slots, or GPUs, went. Reads the journal once more."""
        return usage_of(journal.read(self.folder))

    @property
    def status(self) -> str:
        """ "running", or how it ended: "finished", "interrupted", "failed"; "crashed" if nobody said."""
        if self.live:
            return "running"
        return str(self.record.closed["state"]) if self.record.closed else "crashed"

    @property
    def default(self) -> TrialRecord | None:
        """The trial of the study's default configuration, the yardstick; None if the study has none."""
        return next((t for t in self.record.trials.values() if t.origin == "default"), None)

    def value(self, trial: TrialRecord, rule: Rule = "best") -> float | None:
        """The number a trial is judged by under ``rule``; None if it has none, or failed."""
        _check_rule(rule)
        if trial.state.failure or (rule == "final" and trial.state is not State.COMPLETED):
            return None
        if rule == "best":
            best = trial.best()
            return best.value if best else None
        return _finite(trial.last() if trial.value is None else trial.value)

    def ranked(self, rule: Rule = "best") -> list[TrialRecord]:
        """The trials that have a value under ``rule``, the best first, ties by number."""
        sign = -1.0 if self.record.mode == "max" else 1.0
        scored = [(self.value(trial, rule), trial) for trial in self.record.trials.values()]
        order = sorted((sign * value, trial.number) for value, trial in scored if value is not None)
        return [self.record.trials[number] for _, number in order]

    def best(self, rule: Rule = "best") -> TrialRecord:
        """The best trial. ``rule``: "best" compares the best value over any iteration, "last" the last value,
        "final" the last value of completed trials only.

        Failed trials and NaN never win; of equal trials the one with the lowest number does. Raises
        ExperimentError, saying what became of the trials, if none has a value.
        """
        ranked = self.ranked(rule)
        if ranked:
            return ranked[0]
        raise ExperimentError(f"{self.name} has no best trial by rule {rule!r} ({RULES[rule]}): {self._outcome()}")

    @property
    def best_config(self) -> dict[str, Any]:
        """The config of the best trial by rule "best"."""
        return self.best().config

    def best_checkpoint(self, rule: Rule = "best") -> Path:
        """The folder of the best trial's checkpoint.

        By rule "best" the one with the best value among those that are kept, else the latest. Raises
        ExperimentError if the trial has none on disk.
        """
        return self.checkpoint(self.best(rule), latest=rule != "best")

    def checkpoint(self, trial: TrialRecord, *, latest: bool = False) -> Path:
        """The folder of a trial's checkpoint with the best value, or the latest; ExperimentError if none."""
        kept = {i: path for i, path in trial.checkpoints if (self.folder / path).exists()}
        if not kept:
            raise ExperimentError(
                f"Trial {trial.number} of {self.name} has no checkpoint: the study's `checkpoint` says "
                "when they are written and which are kept."
            )
        if latest:
            return self.folder / kept[max(kept)]
        sign = -1.0 if self.record.mode == "max" else 1.0
        values = {r.iteration: _finite(r.metrics.get(self.record.metric)) for r in trial.reports}
        worst = math.inf
        ranks = {i: worst if (v := values.get(i)) is None else sign * v for i in kept}
        return self.folder / kept[min(kept, key=lambda i: (ranks[i], -i))]

    def trials(self, rule: Rule = "best") -> pd.DataFrame:
        """One row a trial: number, state, by, reason, value (by ``rule``), best, best_iteration, iterations,
        started (UTC), seconds, origin, config.* (dotted names; missing where inactive), last.* (each metric's
        last value) and error.
        """
        import pandas as pd

        _check_rule(rule)
        rows = [self._row(trial, rule) for trial in sorted(self.record.trials.values(), key=lambda t: t.number)]
        frame = pd.DataFrame(rows, columns=None if rows else [*_COLUMNS, "error"])
        frame["started"] = pd.to_datetime(frame["started"], unit="s", utc=True)
        configs = self._parameter_columns(frame.columns)
        metrics = sorted(c for c in frame.columns if c.startswith("last."))
        return _whole(frame[[*_COLUMNS, *configs, *metrics, "error"]].copy(), rows)

    def history(self) -> pd.DataFrame:
        """A row a number reported: number, iteration, metric, value, time (UTC), elapsed (training seconds).

        Metrics that are text are left out; None is NaN.
        """
        import pandas as pd

        rows = [
            (trial.number, report.iteration, name, math.nan if value is None else float(value), report.time,
             report.elapsed)
            for trial in self.record.trials.values()
            for report in trial.reports
            for name, value in report.metrics.items()
            if not isinstance(value, str | list | dict)
        ]  # fmt: skip
        frame = pd.DataFrame(rows, columns=["number", "iteration", "metric", "value", "time", "elapsed"])
        frame["time"] = pd.to_datetime(frame["time"], unit="s", utc=True)
        return frame.astype({"number": "int64", "iteration": "int64", "value": "float64", "elapsed": "float64"})

    def export(self, path: Path | str, what: Literal["trials", "history"] = "trials") -> Path:
        """Write a table as CSV or Parquet, by the suffix of ``path``. Raises ExperimentError for another one.

        In Parquet a column whose values are of several types, or lists, holds their JSON.
        """
        path = Path(path)
        if path.suffix not in (".csv", ".parquet"):
            raise ExperimentError(f"Cannot export to {path.name}: the name must end in .csv or .parquet.")
        if what not in ("trials", "history"):
            raise ExperimentError(f"Cannot export {what!r}: either 'trials' or 'history'.")
        if not path.parent.is_dir():
            raise ExperimentError(f"Cannot export to {path}: there is no folder {path.parent}. Make it first.")
        frame = self.trials() if what == "trials" else self.history()
        if path.suffix == ".csv":
            frame.to_csv(path, index=False)
        else:
            _uniform(frame).to_parquet(path, index=False)
        return path

    def variables(self, trial: TrialRecord) -> dict[str, Any]:
        """What a filter may speak of: the columns of :meth:`trials`, also ``name``, ``status``.

        The slashes of metrics become dots (``last.validation.loss``).
        """
        row = self._row(trial, "best")
        values = {key.replace("/", "."): value for key, value in row.items() if value is not None}
        return {**values, "name": self.name, "status": self.status}

    def select(self, expression: str | Expression) -> list[TrialRecord]:
        """The trials for which ``expression`` holds, as ``"state == 'completed' and config.lr < 0.01"``."""
        return [trial for _, trial in select([self], expression)]

    def _row(self, trial: TrialRecord, rule: Rule) -> dict[str, Any]:
        best = trial.best()
        return {
            "number": trial.number,
            "state": trial.state.value,
            "by": trial.by,
            "reason": trial.reason,
            "value": self.value(trial, rule),
            "best": best.value if best else None,
            "best_iteration": best.iteration if best else None,
            "iterations": trial.iteration,
            "started": trial.started_at,
            "seconds": trial.seconds,
            "origin": trial.origin,
            **{f"config.{name}": value for name, value in flatten(trial.config).items()},
            **{f"last.{name}": trial.last(name) for name in _metrics(trial)},
            "error": describe_error(trial),
        }

    def _parameter_columns(self, columns: Iterable[str]) -> list[str]:
        """Parameters in the order of the study, then constants."""
        present = [column for column in columns if column.startswith("config.")]
        order = {f"config.{p['name']}": i for i, p in enumerate(self.record.space)}
        return sorted(present, key=lambda column: (order.get(column, len(order)), column))

    def _outcome(self) -> str:
        counts = self.record.counts()
        if not counts:
            return "no trial was started."
        text = ", ".join(f"{count} {state}" for state, count in counts.items())
        failed = next((t for t in self.record.trials.values() if t.error), None)
        return f"{text}. First error (trial {failed.number}): {describe_error(failed)}" if failed else f"{text}."


_COLUMNS = ["number", "state", "by", "reason", "value", "best", "best_iteration", "iterations", "started",
            "seconds", "origin"]  # fmt: skip


def load(folder: Path | str) -> Experiment:
    """Read an experiment. Raises ExperimentError if the folder is none, JournalError if it is damaged."""
    folder = Path(folder)
    if not (folder / journal.FILE).is_file():
        raise ExperimentError(_not_one(folder))
    # Asked first: a driver that ends in between leaves its last events in what is read next.
    live = journal.holder(folder)
    record = fold(journal.read(folder))
    if not live:
        record.interrupt()
    return Experiment(folder, record, live)


def find(storage: Path | str) -> list[Path]:
    """The experiment folders below ``storage``, sorted by path."""
    found = []
    for folder, inside, files in os.walk(storage):
        if journal.FILE in files:
            found.append(Path(folder))
            inside.clear()  # experiments do not lie in each other
    return sorted(found)


def select(experiments: Iterable[Experiment], expression: str | Expression) -> list[tuple[Experiment, TrialRecord]]:
    """The trials of several experiments for which ``expression`` holds.

    A name that a trial lacks (an inactive parameter) makes its comparison false. Raises ExperimentError for a
    malformed expression and, with near misses, for a name that no trial has.
    """
    from raytune_suite.expression import Expression, ExpressionError

    every = [(e, t, e.variables(t)) for e in experiments for t in e.record.trials.values()]
    try:
        test = Expression(expression) if isinstance(expression, str) else expression
        _refuse_unknown(test.names, [values for _, _, values in every])
        return [(e, t) for e, t, values in every if test.evaluate(values)]
    except ExpressionError as error:
        raise ExperimentError(f"The filter {str(expression)!r} is wrong: {error}") from error


def _refuse_unknown(names: Iterable[str], rows: list[dict[str, Any]]) -> None:
    known = set(_ALWAYS).union(*rows)
    unknown = sorted(set(names) - known)
    if unknown and rows:
        near = get_close_matches(unknown[0], sorted(known), n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else f" Known: {', '.join(sorted(known))}."
        raise ExperimentError(f"No trial has {unknown[0]!r}.{hint}")


_ALWAYS = (*_COLUMNS, "error", "name", "status")


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config as one level with dotted names."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def describe_error(trial: TrialRecord) -> str | None:
    """The error of a trial in one line, None if it has none."""
    if not trial.error:
        return None
    kind, message = trial.error.get("type", "Error"), str(trial.error.get("message") or "").strip()
    return f"{kind}: {message.splitlines()[0]}" if message else str(kind)


def _metrics(trial: TrialRecord) -> list[str]:
    return list(dict.fromkeys(name for report in reversed(trial.reports) for name in report.metrics))


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _check_rule(rule: str) -> None:
    if rule not in RULES:
        allowed = "; ".join(f"{name!r}: {meaning}" for name, meaning in RULES.items())
        raise PlanError(f"{rule!r} is not a rule for the best trial. {allowed}.")


def _not_one(folder: Path) -> str:
    if folder.is_dir():
        inside = find(folder)
        fix = (
            f" Experiments in it: {', '.join(p.relative_to(folder).as_posix() for p in inside[:5])}." if inside else ""
        )
        return f"{folder} is not an experiment: it has no {journal.FILE}.{fix}"
    names = {path.name: path for path in find(folder.parent)} if folder.parent.is_dir() else {}
    near = get_close_matches(folder.name, list(names), n=1)
    hint = f" Did you mean {names[near[0]]}?" if near else " See: raytune list, with --storage for another folder."
    return f"There is no experiment {folder}.{hint}"


def _whole(frame: pd.DataFrame, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The frame with whole numbers and booleans kept as such in columns where some are missing."""
    for column in frame.columns:
        values = [row.get(column) for row in rows]
        kinds = {type(value) for value in values if value is not None}
        if None in values and kinds in ({int}, {bool}):
            frame[column] = frame[column].astype("Int64" if kinds == {int} else "boolean")
    return frame


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _uniform(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with columns of several types, or of lists, as JSON text: Parquet has one type a column."""
    frame = frame.copy()
    for column in (name for name in frame.columns if frame[name].dtype == object):
        values = [None if _missing(value) else value for value in frame[column]]
        kinds = {type(value) for value in values if value is not None}
        if len(kinds) > 1 or kinds & {list, dict, tuple}:
            frame[column] = [None if value is None else json.dumps(value) for value in values]
    return frame
