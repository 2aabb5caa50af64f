"""The pictures, each drawn from its table; every function returns a plotly figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from raytune_suite.analysis import Experiment, Rule
from raytune_suite.plots import tables
from raytune_suite.plots.axes import Axis
from raytune_suite.plots.importance import importance as importance_table
from raytune_suite.plots.style import (
    BEST,
    COLORS,
    ON_BAR,
    PAPER,
    QUIET,
    SYMBOLS,
    axis_style,
    empty,
    figure,
    log_ticks,
    rank_color,
    time_unit,
    value_axis,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

_HOVER = "%{hovertext}<extra></extra>"
_NO_VALUE = "No trial has a value yet."


def best_over_trials(experiment: Experiment, rule: Rule = "best") -> go.Figure:
    """Each trial's value and the best so far, over the trials' numbers; failed trials stand on the axis."""
    import plotly.graph_objects as go

    rows = tables.best_over_trials(experiment, rule)
    values = [row.value for row in rows if row.value is not None]
    if not values:
        return empty(_NO_VALUE)
    traces: list[Any] = [
        _points(fate, [(r.number, r.value, r.text) for r in rows if r.fate == fate and r.value is not None])
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
        return empty(_NO_VALUE)
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
                hovertemplate=_HOVER,
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
        _note(made, f"{table.left_out} trials with worse values are left out", right=True)
    return made


def importance(experiment: Experiment, rule: Rule = "best") -> go.Figure:
    """The share of the value's variation that each parameter explains, with its range over resampled trials."""
    import plotly.graph_objects as go

    table = importance_table(experiment, rule)
    if not table.shares:
        return empty(f"Trials with a value: {table.trials}. That is too few to weigh parameters.")
    shares = table.shares[:20][::-1]
    texts = [
        f"<b>{s.name}</b><br>{s.share:.0%} ({s.low:.0%} to {s.high:.0%} over resampled trials)"
        f"<br>active in {s.active} of {table.trials} trials"
        for s in shares
    ]
    bars = go.Bar(
        x=[s.share for s in shares],
        y=[s.name for s in shares],
        orientation="h",
        marker={"color": BEST, "opacity": 0.6},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [s.high - s.share for s in shares],
            "arrayminus": [s.share - s.low for s in shares],
            "color": "#7d8590",
            "thickness": 2,
        },
        hovertext=texts,
        hovertemplate=_HOVER,
        showlegend=False,
    )
    made = figure([bars], height=120 + 34 * len(shares), bargap=0.45)
    made.update_xaxes(title_text="share of the variation explained", tickformat=".0%", rangemode="tozero")
    made.update_yaxes(showgrid=False, ticks="", ticksuffix="  ")
    _note(made, table.warning or f"from {table.trials} trials")
    return made


def slices(experiment: Experiment, rule: Rule = "best", *, columns: int = 3) -> go.Figure:
    """The value over each parameter, a panel each, on logarithmic axes where the study draws so."""
    from plotly.subplots import make_subplots

    found = [s for s in tables.slices(experiment, rule) if s.points]
    if not found:
        return empty(_NO_VALUE)
    columns = min(columns, len(found))
    rows = math.ceil(len(found) / columns)
    grid = make_subplots(rows=rows, cols=columns, shared_yaxes=True, horizontal_spacing=0.04)
    made = figure([], height=60 + 300 * rows)
    made = grid.update_layout(made.layout.to_plotly_json())
    made.update_yaxes(**axis_style(), **value_axis([p.value for s in found for p in s.points]))
    named: set[str] = set()
    for place, one in enumerate(found):
        row, column = place // columns + 1, place % columns + 1
        for trace in _slice_traces(one):
            trace.update(showlegend=trace.name not in named, legendgroup=trace.name)
            named.add(trace.name)
            made.add_trace(trace, row=row, col=column)
        made.update_xaxes(**{**axis_style(), **_place_axis(one.axis)}, row=row, col=column)
        if column == 1:
            made.update_yaxes(title_text=experiment.record.metric, row=row, col=column)
    return made


def slice_of(experiment: Experiment, one: tables.Slice) -> go.Figure:
    """One panel of :func:`slices` as a figure of its own."""
    made = figure(_slice_traces(one), height=280, showlegend=False)
    made.update_layout(margin={"l": 56, "r": 12, "t": 24, "b": 48})
    made.update_xaxes(**_place_axis(one.axis))
    made.update_yaxes(title_text=experiment.record.metric, **value_axis([point.value for point in one.points]))
    if one.inactive:
        _note(made, f"inactive in {one.inactive} trials")
    return made


def parallel(experiment: Experiment, rule: Rule = "best") -> go.Figure:
    """Every trial as a line over all parameters, from the worst (pale) to the best (strong)."""
    import plotly.graph_objects as go

    table = tables.parallel(experiment, rule)
    if not table.lines or not table.axes:
        return empty(_NO_VALUE)
    values = [line.value for line in table.lines]
    scale = Axis(experiment.record.metric, min(values), max(values), log=value_axis(values).get("type") == "log")
    # Lines that share a choice are spread a little, so that they can be told apart.
    spread = {axis.name: 0.0 if axis.ordered else 0.06 / len(axis.choices) for axis in table.axes}
    traces: list[Any] = []
    for line in table.lines:
        jitter = ((line.number * 0.618) % 1.0 - 0.5) * 2
        heights = [
            -0.14 if place is None else place + jitter * spread[axis.name]
            for axis, place in zip(table.axes, line.places, strict=True)
        ]
        best = line is table.lines[-1]
        style = {"color": rank_color(line.rank, len(table.lines)), "width": 3.5 if best else 1.3}
        traces.append(
            go.Scatter(x=list(range(len(heights) + 1)), y=[*heights, scale.unit(line.value)], mode="lines", line=style,
                       hovertext=line.text, hovertemplate=_HOVER, showlegend=False)
        )  # fmt: skip
    made = figure(traces, height=480)
    _parallel_axes(made, [*table.axes, scale], any(None in line.places for line in table.lines))
    if table.left_out:
        _note(made, f"{table.left_out} trials with worse values are left out", right=True)
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
                marker={"color": COLORS[fate], "line": {"color": "rgba(0,0,0,0.3)", "width": 1}},
                text=[str(bar.number) for bar in mine],
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                constraintext="inside",
                textfont={"color": ON_BAR, "size": 11},
                hovertext=[bar.text for bar in mine],
                hovertemplate=_HOVER,
            )
        )
    made = figure(traces, height=130 + min(900, 34 * len(lanes)), barmode="overlay", bargap=0.25)
    made.update_layout(uniformtext={"minsize": 11, "mode": "hide"})
    made.update_xaxes(title_text=f"{name} since the start", rangemode="tozero")
    made.update_yaxes(categoryorder="array", categoryarray=lanes[::-1], showgrid=False, ticks="", ticksuffix="  ")
    return made


def _points(fate: str, rows: Sequence[tuple[float, float | None, str]]) -> Any:
    import plotly.graph_objects as go

    return go.Scatter(
        x=[row[0] for row in rows],
        y=[row[1] for row in rows],
        mode="markers",
        name=fate,
        marker={
            "color": COLORS[fate],
            "symbol": SYMBOLS[fate],
            "size": 8,
            "line": {"width": 1.6, "color": COLORS[fate]},
        },
        hovertext=[row[2] for row in rows],
        hovertemplate=_HOVER,
    )


def _slice_traces(one: tables.Slice) -> list[Any]:
    # Points on the same choice are spread a little sideways, the same way each time.
    spread = 0.0 if one.axis.ordered else 0.18
    traces = []
    for fate in tables.FATES:
        rows = [
            (p.place + spread * (((p.number * 0.618) % 1.0) * 2 - 1), p.value, p.text)
            for p in one.points
            if p.fate == fate
        ]
        traces += [_points(fate, rows)] if rows else []
    return traces


def _place_axis(axis: Axis) -> dict[str, Any]:
    style: dict[str, Any] = {"title": {"text": axis.name, "font": {"size": 13}, "standoff": 10}}
    if not axis.ordered:
        places = list(range(len(axis.choices)))
        return {**style, "tickvals": places, "ticktext": list(axis.choices), "range": [-0.5, len(places) - 0.5]}
    if axis.log:
        low, high = math.log10(axis.lower), math.log10(axis.upper)
        room = 0.04 * (high - low)
        return {**style, "type": "log", "range": [low - room, high + room], **log_ticks(axis.lower, axis.upper)}
    room = 0.04 * (axis.upper - axis.lower)
    return {**style, "range": [axis.lower - room, axis.upper + room], "nticks": 6}


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
    ends = _points(fate, [(curve.iterations[-1], curve.values[-1], curve.text) for curve in mine])
    ends.update(legendgroup=fate)
    return [
        go.Scatter(x=x, y=y, mode="lines", line=line, opacity=opacity, hovertext=texts, hovertemplate=_HOVER,
                   showlegend=False, legendgroup=fate),
        ends,
    ]  # fmt: skip


def _parallel_axes(made: go.Figure, scales: list[Axis], some_inactive: bool) -> None:
    shapes: list[dict[str, Any]] = []
    # Lines run behind the labels: their ground is the paper's, which a page may set by the name.
    style = {
        "name": "label",
        "showarrow": False,
        "bgcolor": PAPER,
        "borderpad": 1,
        "font": {"size": 11},
    }
    labels: list[dict[str, Any]] = []
    for place, axis in enumerate(scales):
        shapes.append(
            {"type": "line", "x0": place, "x1": place, "y0": 0, "y1": 1, "line": {"color": QUIET, "width": 1.5}}
        )
        for height, text in axis.ticks():
            labels.append({**style, "x": place, "y": height, "text": text, "xanchor": "right", "xshift": -5})
    if some_inactive:
        labels.append({**style, "x": -0.44, "y": -0.14, "text": "inactive", "xanchor": "left"})
    names = [_wrapped(axis.name) for axis in scales]
    made.update_xaxes(tickvals=list(range(len(scales))), ticktext=names, side="top", showgrid=False, ticks="",
                      showline=False, range=[-0.45, len(scales) - 0.85])  # fmt: skip
    made.update_yaxes(visible=False, range=[-0.2 if some_inactive else -0.05, 1.06])
    made.update_layout(margin={"l": 20, "r": 24, "t": 64, "b": 16}, shapes=shapes, annotations=labels)


def _wrapped(name: str) -> str:
    """A long name in two lines, broken after a dot or an underscore."""
    if len(name) <= 14:
        return name
    breaks = [i + 1 for i, letter in enumerate(name) if letter in "._/"] or [len(name)]
    middle = min(breaks, key=lambda i: abs(i - len(name) / 2))
    return f"{name[:middle]}<br>{name[middle:]}"


def _mark_failed(made: go.Figure, rows: Iterable[tuple[int, str]]) -> None:
    """Failed trials have no value: they stand at the foot of the picture."""
    import plotly.graph_objects as go

    rows = list(rows)
    if rows:
        marker = {"color": COLORS["failed"], "symbol": SYMBOLS["failed"], "size": 8}
        made.add_trace(
            go.Scatter(x=[n for n, _ in rows], y=[0.02] * len(rows), yaxis="y2", mode="markers", name="failed",
                       marker=marker, hovertext=[text for _, text in rows], hovertemplate=_HOVER)
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


def _note(made: go.Figure, text: str, *, right: bool = False) -> None:
    side: dict[str, Any] = {"x": 1, "xanchor": "right"} if right else {"x": 0, "xanchor": "left"}
    made.add_annotation(
        text=text,
        y=1,
        xref="paper",
        yref="paper",
        yanchor="bottom",
        yshift=6,
        showarrow=False,
        font={"size": 12},
        **side,
    )


def _whole_ticks(count: int) -> dict[str, Any]:
    return {"dtick": 1} if count <= 12 else {"nticks": 12, "tickformat": "d"}
