"""The report's last sections: every trial in a table, the study file, the environment."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from raytune_suite.analysis import Experiment, describe_error
from raytune_suite.plots import tables
from raytune_suite.plots.axes import number
from raytune_suite.record import TrialRecord
from raytune_suite.report.words import plain, value_text, when


def trials(experiment: Experiment) -> str:
    """The table of trials; the page's script sorts and filters it."""
    names = list(dict.fromkeys(name for t in experiment.record.trials.values() for name in t.point))
    heads = ["trial", "state", "value", "at", "iterations", "seconds", "origin", *names, "why it ended"]
    numeric = {"trial", "value", "at", "iterations", "seconds"}
    numeric |= {name for name in names if _numeric(t.point.get(name) for t in experiment.record.trials.values())}
    head = "".join(
        f'<th{" class=n" if h in numeric else ""}><button type="button">{escape(h)}</button></th>' for h in heads
    )
    best = next(iter(experiment.ranked()), None)
    ordered = sorted(experiment.record.trials.values(), key=lambda trial: trial.number)
    body = "".join(_trial_row(experiment, trial, names, trial is best) for trial in ordered)
    tools = (
        '<div class="tools"><input type="search" id="search" placeholder="Filter, for example: stopped adamw" '
        'aria-label="Filter trials"><span id="shown" role="status"></span></div>'
    )
    table = f'<table id="trials-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<p class="about">A click on a heading sorts.</p>{tools}<div class="scroll">{table}</div>'


def _trial_row(experiment: Experiment, trial: TrialRecord, names: Sequence[str], best: bool) -> str:
    reached, value = trial.best(), experiment.value(trial)
    shown = reached is not None and value is not None
    cells: list[tuple[str, Any, str]] = [
        ("n", trial.number, str(trial.number)),
        ("n", value, value_text(value) if value is not None else ""),
        ("n", reached.iteration if reached and shown else None, str(reached.iteration) if reached and shown else ""),
        ("n", trial.iteration, str(trial.iteration)),
        ("n", trial.seconds, f"{trial.seconds:.1f}" if trial.seconds is not None else ""),
        ("", None, trial.origin),
    ]
    for name in names:
        given = trial.point.get(name)
        numeric = isinstance(given, int | float) and not isinstance(given, bool)
        text = "" if name not in trial.point else given if isinstance(given, str) else number(given)
        cells.append(("n" if numeric else "", given if numeric else None, text))
    why = trial.reason or describe_error(trial) or ("its last value is not a number" if trial.diverged else "")
    cells.append(("why", None, why))
    written = [_td(*cell) for cell in cells]
    state = f'<td><span class="state {tables.fate(trial.state)}">{escape(trial.state.replace("_", " "))}</span></td>'
    mark = ' class="best"' if best else ""
    return f"<tr{mark}>{written[0]}{state}{''.join(written[1:])}</tr>"


def _numeric(values: Iterable[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values if v is not None)


def _td(kind: str, key: Any, text: str) -> str:
    sort = f' data-sort="{key!r}"' if isinstance(key, int | float) and math.isfinite(key) else ""
    title = f' title="{escape(text)}"' if kind == "why" and text else ""
    return f"<td{f' class={kind}' if kind else ''}{sort}{title}>{escape(str(text))}</td>"


def study(experiment: Experiment) -> str:
    """The study file, the environments it ran in, and the drivers' plans."""
    path = experiment.folder / "study.yaml"
    study = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else "The folder has no study.yaml."
    uses: dict[str, int] = defaultdict(int)
    for trial in experiment.record.trials.values():
        if trial.environment:
            uses[trial.environment] += 1
    cards = "".join(
        f'<div class="card"><h3>{_used(uses[name], len(uses))}</h3>{_facts_table(facts)}</div>'
        for name, facts in experiment.record.environments.items()
    )
    cards += "".join(_session(place, s) for place, s in enumerate(experiment.record.sessions, start=1))
    return (
        '<div class="pair" style="margin-top:10px">'
        f'<div class="card"><h3>study.yaml</h3><pre>{escape(study)}</pre></div>'
        f'<div style="display:grid;gap:14px">{cards}</div></div>'
    )


def _used(trials: int, environments: int) -> str:
    return "Environment" if environments == 1 else f"Environment of {trials} trials"


def _session(place: int, session: dict[str, Any]) -> str:
    lines = "\n".join(str(line) for line in session.get("plan") or [])
    where = f"{escape(str(session.get('host', '')))}, {when(session.get('time'))}"
    return f'<div class="card"><h3>Session {place}: {where}</h3><pre>{escape(lines)}</pre></div>'


def _facts_table(facts: dict[str, Any]) -> str:
    """Facts in one table; long nested ones (packages) folded away."""
    rows, folded = [], []
    for key, value in facts.items():
        if isinstance(value, dict | list) and len(value) > 6:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            lines = "\n".join(f"{name} {item}" if isinstance(value, dict) else str(item) for name, item in items)
            folded.append(
                f"<details><summary>{escape(str(key))} ({len(value)})</summary><pre>{escape(lines)}</pre></details>"
            )
        elif value is not None:
            rows.append(f"<tr><td class=off>{escape(str(key))}</td><td>{escape(plain(value))}</td></tr>")
    return f"<table>{''.join(rows)}</table>{''.join(folded)}"
