"""What the pictures show, as plain tables: each function reads an experiment and returns rows of numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from raytune_suite.analysis import Experiment, Rule, describe_error
from raytune_suite.plots.axes import Axis, axes, number
from raytune_suite.record import Run, TrialRecord
from raytune_suite.states import State

FATES = {
    "completed": (State.COMPLETED,),
    "stopped": (State.STOPPED,),
    "running": (State.RUNNING, State.PAUSED, State.PENDING),
    "interrupted": (State.INTERRUPTED, State.PREEMPTED),
    "failed": (State.FAILED, State.OOM, State.TIMED_OUT, State.INFEASIBLE),
}
"""What became of a trial, as the pictures tell them apart."""

_FATE_OF = {state: fate for fate, states in FATES.items() for state in states}


def fate(state: State) -> str:
    """The fate a state belongs to."""
    return _FATE_OF[state]


@dataclass(frozen=True)
class TrialPoint:
    """A trial's value and the best one among the trials up to it; None while there is none."""

    number: int
    fate: str
    value: float | None
    best: float | None
    text: str


def best_over_trials(experiment: Experiment, rule: Rule = "best") -> list[TrialPoint]:
    """One row a trial, by number."""
    rows: list[TrialPoint] = []
    best: float | None = None
    for trial in _trials(experiment):
        value = experiment.value(trial, rule)
        best = _better(best, value, experiment.record.mode)
        rows.append(TrialPoint(trial.number, fate(trial.state), value, best, describe(experiment, trial)))
    return rows


@dataclass(frozen=True)
class Improvement:
    """The best value so far changed: seconds since the experiment began, the new value, whose it is."""

    seconds: float
    value: float
    number: int
    iteration: int


def best_over_time(experiment: Experiment) -> list[Improvement]:
    """Each report that was the best so far, by time; what failed trials reported does not count."""
    record = experiment.record
    reports = sorted(
        (report.time, trial.number, report.iteration, report.metrics.get(record.metric))
        for trial in _trials(experiment)
        if not trial.state.failure
        for report in trial.reports
    )
    rows: list[Improvement] = []
    best: float | None = None
    for time, trial_number, iteration, value in reports:
        better = _better(best, _finite(value), record.mode)
        if better is not None and better != best:
            best = better
            rows.append(Improvement(time - (record.started_at or time), better, trial_number, iteration))
    return rows


@dataclass(frozen=True)
class SlicePoint:
    """A trial on one parameter's axis (see Axis.place)."""

    number: int
    fate: str
    place: float
    value: float
    text: str


@dataclass(frozen=True)
class Slice:
    """The trials that have a value and in which the parameter is active; ``inactive`` counts the others."""

    axis: Axis
    points: list[SlicePoint]
    inactive: int


def slices(experiment: Experiment, rule: Rule = "best") -> list[Slice]:
    """One for each parameter that can vary."""
    ranked = [(t, experiment.value(t, rule)) for t in _trials(experiment)]
    valued = [(t, v, describe(experiment, t)) for t, v in ranked if v is not None]
    found = []
    for axis in axes(experiment):
        points = [
            SlicePoint(trial.number, fate(trial.state), place, value, text)
            for trial, value, text in valued
            if (place := axis.place(trial.point.get(axis.name))) is not None and axis.name in trial.point
        ]
        found.append(Slice(axis, points, len(valued) - len(points)))
    return found


@dataclass(frozen=True)
class Line:
    """A trial across all axes: a place between 0 and 1 on each, None where the parameter is inactive.

    ``rank`` is 0 for the best trial and 1 for the worst.
    """

    number: int
    fate: str
    value: float
    rank: float
    places: tuple[float | None, ...]
    text: str


@dataclass(frozen=True)
class Parallel:
    """Axes and the lines across them, the best line last; ``left_out`` trials have worse values."""

    axes: list[Axis]
    lines: list[Line]
    left_out: int


def parallel(experiment: Experiment, rule: Rule = "best", *, limit: int = 400) -> Parallel:
    """The best ``limit`` trials as lines over the parameters."""
    scales = axes(experiment)
    every = experiment.ranked(rule)
    ranked = every[:limit]
    lines = [
        Line(
            trial.number,
            fate(trial.state),
            experiment.value(trial, rule) or 0.0,
            place / max(1, len(ranked) - 1),
            tuple(axis.unit(trial.point[axis.name]) if axis.name in trial.point else None for axis in scales),
            describe(experiment, trial),
        )
        for place, trial in enumerate(ranked)
    ]
    return Parallel(scales, lines[::-1], len(every) - len(ranked))


@dataclass(frozen=True)
class Curve:
    """One metric of one trial over its iterations; without a finite number it is empty."""

    number: int
    fate: str
    best: bool
    iterations: list[int]
    values: list[float]
    text: str


@dataclass(frozen=True)
class Curves:
    """The curves shown and how many were left out; the iterations at which the scheduler decided."""

    metric: str
    curves: list[Curve]
    left_out: int
    rungs: list[int] = field(default_factory=list)


def curves(experiment: Experiment, metric: str | None = None, *, limit: int = 400, points: int = 300) -> Curves:
    """Learning curves of at most ``limit`` trials, the best ones first, each thinned to ``points``."""
    name = metric or experiment.record.metric
    best = next(iter(experiment.ranked()), None)
    chosen = _most_telling(experiment, limit)
    rows = []
    for trial in chosen:
        pairs = [(r.iteration, v) for r in trial.reports if (v := _finite(r.metrics.get(name))) is not None]
        pairs = _thin(pairs, points)
        rows.append(
            Curve(trial.number, fate(trial.state), trial is best, [i for i, _ in pairs], [v for _, v in pairs],
                  describe(experiment, trial))
        )  # fmt: skip
    started = sum(bool(t.runs) for t in experiment.record.trials.values())
    return Curves(name, rows, max(0, started - len(chosen)), rungs(experiment))


def rungs(experiment: Experiment) -> list[int]:
    """The iterations at which the scheduler of the last session decides."""
    sessions = experiment.record.sessions
    return [int(rung) for rung in sessions[-1].get("rungs") or []] if sessions else []


@dataclass(frozen=True)
class Bar:
    """One stay of a trial on a worker, in seconds since the experiment began; ``lane`` names node and slot."""

    number: int
    attempt: int
    lane: str
    start: float
    end: float
    fate: str
    text: str


def timeline(experiment: Experiment) -> list[Bar]:
    """Every stay, sorted by lane and start. A worker keeps its lane; lanes freed by a dead one are used again."""
    record = experiment.record
    zero, now = record.started_at or 0.0, record.updated_at or 0.0
    stays = [(run.started, trial, run) for trial in _trials(experiment) for run in trial.runs]
    lanes: dict[str, list[tuple[float, int | None]]] = {}
    names = _node_names([run for _, _, run in stays])
    bars = []
    for start, trial, run in sorted(stays, key=lambda stay: (stay[0], stay[1].number)):
        end = now if run.ended is None else run.ended
        node = names[run.node]
        lane = _lane(lanes.setdefault(node, []), start, end, run.pid)
        text = f"{describe(experiment, trial)}<br>{_where(run)}"
        bars.append(Bar(trial.number, run.attempt, f"{node} · {lane}", start - zero, end - zero, fate(run.state), text))
    return sorted(bars, key=lambda bar: (bar.lane.rpartition(" · ")[0], int(bar.lane.rpartition(" ")[2]), bar.start))


@dataclass(frozen=True)
class Rung:
    """What happened at one decision point: how many trials were looked at, and what each was told in the end."""

    iteration: int
    reached: int
    actions: dict[str, int]


def decisions(experiment: Experiment) -> list[Rung]:
    """One row for each iteration at which the scheduler decided about a trial.

    A trial counts once: of one that was paused there and promoted later, the last decision.
    """
    found: dict[int, dict[str, int]] = {}
    for trial in _trials(experiment):
        last = {int(decision["iteration"]): str(decision["action"]) for decision in trial.decisions}
        for iteration, action in last.items():
            actions = found.setdefault(iteration, {})
            actions[action] = actions.get(action, 0) + 1
    return [Rung(iteration, sum(actions.values()), actions) for iteration, actions in sorted(found.items())]


def describe(experiment: Experiment, trial: TrialRecord) -> str:
    """A trial in a few lines, for hovering: state, value, parameters, why it ended."""
    best = trial.best()
    lines = [f"<b>Trial {trial.number}</b> {trial.state}"]
    if best:
        lines.append(f"{_escape(experiment.record.metric)} {best.value:.5g} at iteration {best.iteration}")
    lines += [f"{_escape(name)} {_escape(str(_short(value)))}" for name, value in trial.point.items()]
    why = trial.reason or describe_error(trial)
    return "<br>".join([*lines, f"<i>{_escape(_cut(why))}</i>"] if why else lines)


def _trials(experiment: Experiment) -> Iterator[TrialRecord]:
    return iter(sorted(experiment.record.trials.values(), key=lambda trial: trial.number))


def _most_telling(experiment: Experiment, limit: int) -> list[TrialRecord]:
    started = [t for t in _trials(experiment) if t.runs]
    if len(started) <= limit:
        return started
    order = {trial.number: place for place, trial in enumerate(experiment.ranked())}
    started.sort(key=lambda t: order.get(t.number, math.inf))
    return sorted(started[:limit], key=lambda t: t.number)


def _thin(pairs: list[tuple[int, float]], points: int) -> list[tuple[int, float]]:
    if len(pairs) <= points:
        return pairs
    stride = math.ceil(len(pairs) / points)
    return [*pairs[:-1:stride], pairs[-1]]


def _lane(lanes: list[tuple[float, int | None]], start: float, end: float, pid: int | None) -> int:
    """The lane of the same process, else the first free one, else a new one; marks it taken until ``end``."""
    free = [lane for lane, (until, _) in enumerate(lanes) if until <= start + 1e-6]
    same = [lane for lane in free if pid is not None and lanes[lane][1] == pid]
    lane = next(iter(same or free), len(lanes))
    lanes[lane : lane + 1] = [(end, pid)]
    return lane


def _node_names(runs: list[Run]) -> dict[str | None, str]:
    """Nodes as a person tells them apart: Ray's long ids are replaced by the address, or cut.

    A stay that ended before its worker said where it is belongs to the only node there is, if there is one.
    """
    address = {run.node: run.ip or "node" for run in runs if run.node}
    shared = len(set(address.values())) < len(address)
    names: dict[str | None, str] = {}
    for node, ip in address.items():
        short = node if len(node) <= 24 else f"{ip} {node[:6]}" if shared else ip
        names[node] = short
    return {None: next(iter(names.values())) if len(names) == 1 else "unknown", **names}


def _where(run: Run) -> str:
    parts = [f"attempt {run.attempt}" if run.attempt else "", f"process {run.pid}" if run.pid else ""]
    parts.append(f"GPU {', '.join(map(str, run.gpu_ids))}" if run.gpu_ids else "")
    parts.append(f"from iteration {run.restored}" if run.restored else "")
    return ", ".join(part for part in parts if part)


def _better(best: float | None, value: float | None, mode: str) -> float | None:
    if best is None or value is None:
        return value if best is None else best
    return min(best, value) if mode == "min" else max(best, value)


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _short(value: Any) -> Any:
    return value if isinstance(value, str) else number(value)


def _cut(text: str) -> str:
    return text if len(text) <= 110 else f"{text[:107]}..."


def _escape(text: str) -> str:
    """Plotly reads a few tags in its texts."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
