"""Pictures of how the value depends on the parameters; every function returns a plotly figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from raytune_suite.analysis import Experiment, Rule
from raytune_suite.plots import tables
from raytune_suite.plots.axes import Axis
from raytune_suite.plots.importance import importance as importance_table
from raytune_suite.plots.style import (
    BEST,
    HOVER,
    NO_VALUE,
    PAPER,
    QUIET,
    axis_style,
    empty,
    figure,
    log_ticks,
    note,
    points,
    rank_color,
    shared_axis,
    value_axis,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go


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
        hovertemplate=HOVER,
        showlegend=False,
    )
    made = figure([bars], height=120 + 34 * len(shares), bargap=0.45)
    made.update_xaxes(title_text="share of the variation explained", tickformat=".0%", rangemode="tozero")
    made.update_yaxes(showgrid=False, ticks="", ticksuffix="  ")
    drawn = "" if table.used == table.trials else f"{table.used} of "
    note(made, table.warning or f"from {drawn}{table.trials} trials")
    return made


def slices(experiment: Experiment, rule: Rule = "best", *, columns: int = 3) -> go.Figure:
    """The value over each parameter, a panel each, on logarithmic axes where the study draws so."""
    from plotly.subplots import make_subplots

    found = [s for s in tables.slices(experiment, rule) if s.points]
    if not found:
        return empty(NO_VALUE)
    columns = min(columns, len(found))
    rows = math.ceil(len(found) / columns)
    grid = make_subplots(rows=rows, cols=columns, shared_yaxes=True, horizontal_spacing=0.04)
    made = figure([], height=60 + 300 * rows)
    made = grid.update_layout(made.layout.to_plotly_json())
    made.update_yaxes(**axis_style(), **shared_axis([p.value for s in found for p in s.points]))
    named: set[str] = set()
    for place, one in enumerate(found):
        row, column = place // columns + 1, place % columns + 1
        for trace in _slice_traces(one):
            trace.update(showlegend=trace.name not in named, legendgroup=trace.name)
            named.add(trace.name)
            made.add_trace(trace, row=row, col=column)
        made.update_xaxes(**{**axis_style(), **place_axis(one.axis)}, row=row, col=column)
        if column == 1:
            made.update_yaxes(title_text=experiment.record.metric, row=row, col=column)
    return made


def slice_of(experiment: Experiment, one: tables.Slice) -> go.Figure:
    """One panel of :func:`slices` as a figure of its own."""
    made = figure(_slice_traces(one), height=280, showlegend=False)
    made.update_layout(margin={"l": 56, "r": 12, "t": 24, "b": 48})
    made.update_xaxes(**place_axis(one.axis))
    every = [value for t in experiment.ranked() if (value := experiment.value(t)) is not None]
    made.update_yaxes(title_text=experiment.record.metric, **shared_axis(every))
    if one.inactive:
        note(made, f"inactive in {one.inactive} trials")
    return made


def parallel(experiment: Experiment, rule: Rule = "best") -> go.Figure:
    """Every trial as a line over all parameters, from the worst (pale) to the best (strong)."""
    import plotly.graph_objects as go

    table = tables.parallel(experiment, rule)
    if not table.lines or not table.axes:
        return empty(NO_VALUE)
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
                       hovertext=line.text, hovertemplate=HOVER, showlegend=False)
        )  # fmt: skip
    made = figure(traces, height=480)
    _parallel_axes(made, [*table.axes, scale], any(None in line.places for line in table.lines))
    if table.left_out:
        note(made, f"{table.left_out} trials with worse values are left out", right=True)
    return made


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
        traces += [points(fate, rows)] if rows else []
    return traces


def place_axis(axis: Axis) -> dict[str, Any]:
    """How a parameter's own axis is drawn: its range, its scale, the labels of its choices."""
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
    crowded = len(scales) > 10
    names = [axis.name if crowded else _wrapped(axis.name, 14 if len(scales) <= 6 else 9) for axis in scales]
    look = {"side": "top", "showgrid": False, "ticks": "", "showline": False, "tickangle": -35 if crowded else 0}
    made.update_xaxes(tickvals=list(range(len(scales))), ticktext=names, range=[-0.45, len(scales) - 0.85], **look)
    made.update_yaxes(visible=False, range=[-0.2 if some_inactive else -0.05, 1.06])
    made.update_layout(
        margin={"l": 20, "r": 110 if crowded else 24, "t": 64, "b": 16}, shapes=shapes, annotations=labels
    )


def _wrapped(name: str, width: int) -> str:
    """A long name in two lines, broken after a dot or an underscore."""
    if len(name) <= width:
        return name
    breaks = [i + 1 for i, letter in enumerate(name) if letter in "._/"] or [len(name)]
    middle = min(breaks, key=lambda i: abs(i - len(name) / 2))
    return f"{name[:middle]}<br>{name[middle:]}"
