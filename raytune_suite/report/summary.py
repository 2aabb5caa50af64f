"""The report's first section: how it went, and which configuration to take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from html import escape
from typing import Any

from raytune_suite.analysis import Experiment, describe_error, flatten
from raytune_suite.plots import tables
from raytune_suite.record import TrialRecord
from raytune_suite.report.words import duration, plain, value_text, when
from raytune_suite.verdict import verdict_of


def subtitle(experiment: Experiment) -> str:
    """Goal, status and date."""
    record = experiment.record
    goal = f"{record.mode}imise {escape(record.metric)}" if record.metric else "no trial yet"
    started = when(record.started_at)
    status = {"crashed": "broke off without closing its journal"}.get(experiment.status, experiment.status)
    reason = record.closed.get("reason") if record.closed else None
    return f"{goal} · {status}{f' ({escape(str(reason))})' if reason else ''} · started {started}"


def summary(experiment: Experiment) -> str:
    """Key numbers, the best configuration beside the default, states, decisions and failures."""
    ranked = experiment.ranked()
    best = ranked[0] if ranked else None
    counts = "".join(
        f'<li><span class="state {tables.fate(state)}">{count} {escape(state.value.replace("_", " "))}</span></li>'
        for state, count in experiment.record.counts().items()
    )
    states = f'<div class="card"><h3>What became of the trials</h3><ul class="counts">{counts}</ul>'
    states += f"{_rungs(experiment)}{_errors(experiment)}</div>"
    config = _comparison(experiment, best) if best else "<p>No trial has a value yet.</p>"
    facts = f'<dl class="facts">{_facts(experiment, best)}</dl>'
    return f'{facts}<div class="pair"><div class="card">{config}</div>{states}</div>'


def _facts(experiment: Experiment, best: TrialRecord | None) -> str:
    record, default = experiment.record, experiment.default
    cards = []
    if best:
        reached = best.best()
        at = f"trial {best.number}, iteration {reached.iteration}" if reached else f"trial {best.number}"
        cards.append(("Best value", value_text(experiment.value(best)), at))
    if default:
        value = experiment.value(default)
        cards.append(("Default", value_text(value), f"trial {default.number}, {default.state}"))
    if (verdict := verdict_of(experiment.folder)) is not None:
        cards.append(("Confirmed" if verdict.certain else "Not confirmed", verdict.chance(), verdict.sentence()))
    planned = f"of {record.num_trials} planned" if record.num_trials else "planned by the grid"
    cards.append(("Trials", str(len(record.trials)), planned))
    iterations = sum(trial.iteration for trial in record.trials.values())
    whole = len(record.trials) * (record.max_iterations or 0)
    share = f"{iterations / whole:.0%} of running all to the end" if whole else ""
    cards.append(("Iterations", f"{iterations:,}", share))
    spent = (record.updated_at or 0.0) - (record.started_at or 0.0)
    cards.append(("Wall clock", duration(spent), ""))
    if experiment.usage.capacity and (shares := experiment.usage.shares()):
        rest = experiment.usage.describe().partition(", ")[2] if shares["training"] >= 0.005 else ""
        unit = experiment.usage.unit
        cards.append((f"{unit[0].upper()}{unit[1:]} time", f"{shares['training']:.0%} training", rest))
    return "".join(
        f'<div class="card"><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>'
        for name, value, note in cards
    )


def _comparison(experiment: Experiment, best: TrialRecord) -> str:
    """The best configuration beside the default one, then what both reached."""
    default = experiment.default
    default = default if default and default is not best else None
    names = [p["name"] for p in experiment.record.space]
    ours, theirs = flatten(best.config), flatten(default.config) if default else {}
    order = [n for n in dict.fromkeys([*names, *ours, *theirs]) if n in ours or n in theirs]
    rows = []
    for name in order:
        cells = [_cell(ours, name), *([_cell(theirs, name)] if default else [])]
        changed = ' class="changed"' if default and cells[0] != cells[1] else ""
        rows.append(f"<tr{changed}><td>{escape(name)}</td>{_tds(cells)}</tr>")
    metrics = dict.fromkeys([*_measured(best), *(_measured(default) if default else {})])
    both = [best, *([default] if default else [])]
    for name in metrics:
        numbers = [escape(value_text(_measured(trial).get(name))) for trial in both]
        rows.append(f'<tr><td class="off">{escape(name)}</td>{_tds(numbers)}</tr>')
    heads = f"<th class=n>best (trial {best.number})</th>"
    heads += f"<th class=n>default (trial {default.number})</th>" if default else ""
    note = " Metrics are those of the best iteration." if metrics else ""
    about = f'<p class="about">By the best value over any iteration; parameters that differ are bold.{note}</p>'
    return f"<h3>Best configuration</h3>{about}<table><tr><th></th>{heads}</tr>{''.join(rows)}</table>"


def _rungs(experiment: Experiment) -> str:
    found = tables.decisions(experiment)
    if not found:
        return ""
    rows = "".join(
        f"<tr><td>{rung.iteration}</td><td class=n>{rung.reached}</td>"
        f"<td class=n>{rung.reached - rung.actions.get('continue', 0)}</td></tr>"
        for rung in found[:30]
    )
    head = "<tr><th>iteration</th><th class=n>trials judged</th><th class=n>stopped or paused</th></tr>"
    return f'<h3 style="margin-top:18px">Decisions of the scheduler</h3><table>{head}{rows}</table>'


def _errors(experiment: Experiment) -> str:
    """Equal errors together, with the traceback of the first."""
    groups: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in experiment.record.trials.values():
        if trial.state.failure:
            groups[describe_error(trial) or trial.reason or trial.state.replace("_", " ")].append(trial)
    if not groups:
        return ""
    parts = ['<h3 style="margin-top:18px">Failures</h3>']
    for text, trials in sorted(groups.items(), key=lambda group: -len(group[1]))[:20]:
        who = ", ".join(str(trial.number) for trial in trials[:12]) + (" ..." if len(trials) > 12 else "")
        label = f"{len(trials)} &times; {escape(text)} <span class=off>(trial {who})</span>"
        trace = str((trials[0].error or {}).get("traceback") or "")
        parts.append(
            f"<details><summary>{label}</summary><pre>{escape(trace)}</pre></details>"
            if trace.strip()
            else f"<p>{label}</p>"
        )
    return "".join(parts)


def _measured(trial: TrialRecord) -> dict[str, Any]:
    """A trial's metrics at its best iteration, the study's own first, and its held-out test."""
    best = trial.best()
    report = next((r for r in trial.reports if best and r.iteration == best.iteration), trial.last_report)
    found = {name: v for name, v in (report.metrics if report else {}).items() if isinstance(v, int | float)}
    own = {name: found[name] for name in [trial.metric] if name in found}
    return {**own, **found, **(trial.test or {})}


def _cell(config: dict[str, Any], name: str) -> str:
    return escape(plain(config[name])) if name in config else '<span class="off">inactive</span>'


def _tds(cells: Sequence[str]) -> str:
    return "".join(f"<td class=n>{cell}</td>" for cell in cells)
