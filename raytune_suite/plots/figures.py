"""The pictures, each drawn from its table; every function returns a plotly figure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from raytune_suite.analysis import Experiment, Rule
from raytune_suite.plots import tables
from raytune_suite.plots.style import (
    BEST,
    COLORS,
    HOVER,
    NO_VALUE,
    ON_BAR,
    QUIET,
    SYMBOLS,
    empty,
    figure,
    note,
    points,
    time_unit,
    value_axis,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go


def best_over_trials(experiment: Experiment, rule: Rule = "best") -> go.Figure:
    """Each trial's value and the best so far, over the trials' numbers; failed trials stand on the axis."""
    import plotly.graph_objects as go

    rows = tables.best_over_trials(experiment, rule)
    values = [row.value for row in rows if row.value is not None]
    if not values:
        return empty(NO_VALUE)
    traces: list[Any] = [
        points(fate, [(r.number, r.value, r.text) for r in rows if r.fate == fate and r.value is not None])
        for fate in tables.FATES
        if fate != "failed"
    ]
    best = [(row.number, row.best) for row in rows if row.best is not None]
    line = {"color": BEST, "width": 2, "shape": "hv"}
    x, y = zip(*best, strict=True)
    traces.insert(0, go.Scatter(x=x, y=y, mode="lines", line=line, name="best so far", hoverinfo="skip"))
    made = figure([trace for trace in traces if len(trace.x)])
    _mark_failed(made, [(row.number, row.text) for row in rows if row.fate == "failed"])
    made.update_xaxes(title_text="trial", range=[-0.5, len(rows) - 0.5], **_whole_ticks(len(rows)))
    made.update_yaxes(title_text=experiment.record.metric, **value_axis(values))
    _mark_default(made, experiment, rule)
    return made


def best_over_time(experiment: Experiment) -> go.Figure:
    """The best value so far over the wall clock, counting every report of trials that did not fail."""
    import plotly.graph_objects as go

    rows = tables.best_over_time(experiment)
    if not rows:
        return empty(NO_VALUE)
    record = experiment.record
    end = max((record.updated_at or 0.0) - (record.started_at or 0.0), rows[-1].seconds)
    unit, name = time_unit(end)
    texts = [f"<b>Trial {r.number}</b>, iteration {r.iteration}<br>{r.value:.5g}" for r in rows]
    made = figure(
        [
            go.Scatter(
                x=[*(row.seconds / unit for row in rows), end / unit],
                y=[*(row.value for row in rows), rows[-1].value],
                mode="lines+markers",
                line={"color": BEST, "width": 2, "shape": "hv"},
                marker={"size": [*([5] * len(rows)), 0], "line": {"width": 0}},
                hovertext=[*texts, "now"],
                hovertemplate=HOVER,
                showlegend=False,
            )
        ]
    )
    made.update_xaxes(title_text=f"{name} since the start", rangemode="tozero")
    made.update_yaxes(title_text=record.metric, **value_axis([row.value for row in rows]))
    _mark_default(made, experiment, "best")
    return made


def curves(experiment: Experiment, metric: str | None = None) -> go.Figure:
    """Learning curves coloured by fate, the best one thick, the scheduler's rungs as dotted lines."""
    import plotly.graph_objects as go

    table = tables.curves(experiment, metric)
    drawn = [curve for curve in table.curves if curve.values]
    if not drawn:
        return empty(f"No trial has reported {table.metric} yet.")
    traces: list[Any] = []
    for fate in ("stopped", "completed", "interrupted", "running", "failed"):
        mine = [curve for curve in drawn if curve.fate == fate]
        traces += _curve_traces(fate, mine) if mine else []
    for curve in (c for c in drawn if c.best):
        line = {"color": COLORS[curve.fate], "width": 4}
        traces.append(
            go.Scatter(x=curve.iterations, y=curve.values, mode="lines", line=line, name=f"best: trial {curve.number}",
                       hoverinfo="skip")
        )  # fmt: skip
    made = figure(traces, height=440)
    longest = max(curve.iterations[-1] for curve in drawn)
    for rung in (r for r in table.rungs if r <= longest):
        made.add_vline(x=rung, line={"color": QUIET, "width": 1, "dash": "dot"})
    made.update_xaxes(title_text="iteration", rangemode="tozero", **_whole_ticks(longest))
    made.update_yaxes(title_text=table.metric, **value_axis([v for curve in drawn for v in curve.values]))
    if table.left_out:
        note(made, f"{table.left_out} trials with worse values are left out", right=True)
    return made


def timeline(experiment: Experiment) -> go.Figure:
    """Which trial each worker had when: a lane for each slot, coloured by what became of the stay."""
    import plotly.graph_objects as go

    bars = tables.timeline(experiment)
    if not bars:
        return empty("No trial was started.")
    unit, name = time_unit(max(bar.end for bar in bars))
    lanes = list(dict.fromkeys(bar.lane for bar in bars))
    traces = []
    for fate in (f for f in tables.FATES if any(bar.fate == f for bar in bars)):
        mine = [bar for bar in bars if bar.fate == fate]
        traces.append(
            go.Bar(
                x=[(bar.end - bar.start) / unit for bar in mine],
                base=[bar.start / unit for bar in mine],
                y=[bar.lane for bar in mine],
                orientation="h",
                name=fate,
                marker={"color": COLORS[fate], "line": {"color": "rgba(0,0,0,0.35)", "width": 0.6}},
                text=[str(bar.number) for bar in mine],
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                constraintext="inside",
                textfont={"color": ON_BAR, "size": 11},
                hovertext=[bar.text for bar in mine],
                hovertemplate=HOVER,
            )
        )
    made = figure(traces, height=130 + min(900, 34 * len(lanes)), barmode="overlay", bargap=0.25)
    made.update_layout(uniformtext={"minsize": 11, "mode": "hide"})
    made.update_xaxes(title_text=f"{name} since the start", rangemode="tozero")
    made.update_yaxes(categoryorder="array", categoryarray=lanes[::-1], showgrid=False, ticks="", ticksuffix="  ")
    return made


def _curve_traces(fate: str, mine: list[tables.Curve]) -> list[Any]:
    """All curves of a fate as one trace with gaps between them, and a marker where each ends."""
    import plotly.graph_objects as go

    x: list[float | None] = []
    y: list[float | None] = []
    texts: list[str] = []
    for curve in mine:
        x += [*curve.iterations, None]
        y += [*curve.values, None]
        texts += [curve.text] * (len(curve.values) + 1)
    line = {"color": COLORS[fate], "width": 1.4, "dash": "dot" if fate == "failed" else "solid"}
    opacity = 0.7 if fate == "stopped" else 0.85
    ends = points(fate, [(curve.iterations[-1], curve.values[-1], curve.text) for curve in mine])
    ends.update(legendgroup=fate)
    return [
        go.Scatter(x=x, y=y, mode="lines", line=line, opacity=opacity, hovertext=texts, hovertemplate=HOVER,
                   showlegend=False, legendgroup=fate),
        ends,
    ]  # fmt: skip


def _mark_failed(made: go.Figure, rows: Iterable[tuple[int, str]]) -> None:
    """Failed trials have no value: they stand at the foot of the picture."""
    import plotly.graph_objects as go

    rows = list(rows)
    if rows:
        marker = {"color": COLORS["failed"], "symbol": SYMBOLS["failed"], "size": 8}
        made.add_trace(
            go.Scatter(x=[n for n, _ in rows], y=[0.02] * len(rows), yaxis="y2", mode="markers", name="failed",
                       marker=marker, hovertext=[text for _, text in rows], hovertemplate=HOVER)
        )  # fmt: skip
        made.update_layout(yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True})


def _mark_default(made: go.Figure, experiment: Experiment, rule: Rule) -> None:
    default = experiment.default
    value = experiment.value(default, rule) if default else None
    if value is not None:
        made.add_hline(y=value, line={"color": QUIET, "width": 1.2, "dash": "dash"})
        place = math.log10(value) if made.layout.yaxis.type == "log" else value
        style = {"xref": "paper", "xanchor": "right", "yanchor": "bottom", "showarrow": False, "font": {"size": 12}}
        made.add_annotation(x=1, y=place, text=f"default {value:.4g}", **style)


def _whole_ticks(count: int) -> dict[str, Any]:
    return {"dtick": 1} if count <= 12 else {"nticks": 12, "tickformat": "d"}
