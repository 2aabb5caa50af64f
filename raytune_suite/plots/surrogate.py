"""Pictures of the searcher's model: its predictions against what came, and what it believes each parameter does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from raytune_suite.analysis import Experiment
from raytune_suite.plots import tables
from raytune_suite.plots.model import Beliefs, Panel, Predictions, beliefs, predictions
from raytune_suite.plots.parameters import place_axis
from raytune_suite.plots.style import BEST, COLORS, HOVER, QUIET, axis_style, empty, figure, points, shared_axis

if TYPE_CHECKING:
    import plotly.graph_objects as go

BAND = "rgba(0,114,178,0.16)"
NOT_ONE = "No trial that the model proposed has trained to the end yet."


def model(experiment: Experiment, *, columns: int = 3) -> go.Figure:
    """Predictions against values, then a panel for each parameter."""
    from plotly.subplots import make_subplots

    table, believed = predictions(experiment), beliefs(experiment)
    if not believed.panels:
        return empty(believed.missing or NOT_ONE)
    cells = [predicted_of(experiment, table)] if table.rows else []
    cells += [effect_of(experiment, believed, panel) for panel in believed.panels]
    columns = min(columns, len(cells))
    rows = math.ceil(len(cells) / columns)
    made = figure([], height=60 + 320 * rows)
    grid = make_subplots(rows=rows, cols=columns, horizontal_spacing=0.07, vertical_spacing=0.3 / rows)
    made = grid.update_layout(made.layout.to_plotly_json())
    named: set[str] = set()
    for place, cell in enumerate(cells):
        at = {"row": place // columns + 1, "col": place % columns + 1}
        for trace in cell.data:
            trace.update(showlegend=bool(trace.name) and trace.name not in named, legendgroup=trace.name)
            named.add(trace.name)
            made.add_trace(trace, **at)
        made.update_xaxes(cell.layout.xaxis.to_plotly_json(), **at)
        made.update_yaxes(cell.layout.yaxis.to_plotly_json(), **at)
    return made


def predicted_of(experiment: Experiment, table: Predictions) -> go.Figure:
    """Each prediction with its range over what came; on the dashed line it came as predicted."""
    import plotly.graph_objects as go

    if not table.rows:
        return empty(NOT_ONE)
    axis = shared_axis([value for row in table.rows for value in (row.predicted, row.actual)])
    floor, ceiling = _ends(axis)
    line = {"color": QUIET, "width": 1.2, "dash": "dash"}
    ends = [floor, ceiling]
    traces: list[Any] = [go.Scatter(x=ends, y=ends, mode="lines", line=line, showlegend=False, hoverinfo="skip")]
    for inside, name, color in ((True, "inside the range", BEST), (False, "outside", COLORS["failed"])):
        rows = [row for row in table.rows if row.inside is inside]
        if rows:
            bars = _bars([(row.predicted, row.low, row.high) for row in rows], floor, color)
            traces.append(
                go.Scatter(x=[r.actual for r in rows], y=[r.predicted for r in rows], mode="markers", name=name,
                           marker={"size": 7, "color": color}, error_y=bars, hovertext=[r.text for r in rows],
                           hovertemplate=HOVER)
            )  # fmt: skip
    made = figure(traces, height=400)
    made.update_xaxes(title_text=f"{experiment.record.metric}, as it came", **axis)
    made.update_yaxes(title_text="as predicted", **axis)
    return made


def effect_of(experiment: Experiment, believed: Beliefs, panel: Panel) -> go.Figure:
    """One parameter: the model's mean with a band of one standard deviation, and the trials.

    All panels of ``believed`` have the same value axis. Trials without the value of a whole training stand at its foot.
    """
    axis = shared_axis([v for p in believed.panels for v in (*p.mean, *p.low, *p.high, *(s.value for s in p.points))])
    floor, _ = _ends(axis)
    traces = [*(_choices(panel, floor) if panel.axis.choices else _curve(panel, floor)), *_trials(panel, floor)]
    made = figure(traces, height=280, showlegend=False)
    made.update_layout(margin={"l": 56, "r": 12, "t": 24, "b": 48})
    made.update_xaxes(**{**axis_style(), **place_axis(panel.axis)})
    made.update_yaxes(title_text=experiment.record.metric, **axis)
    return made


def _curve(panel: Panel, floor: float) -> list[Any]:
    import plotly.graph_objects as go

    low = [max(value, floor) for value in panel.low]
    band = go.Scatter(x=[*panel.places, *panel.places[::-1]], y=[*panel.high, *low[::-1]], mode="lines",
                      fill="toself", fillcolor=BAND, line={"width": 0}, showlegend=False, hoverinfo="skip")  # fmt: skip
    mean = go.Scatter(x=panel.places, y=panel.mean, mode="lines", line={"color": BEST, "width": 2},
                      hovertext=_texts(panel), hovertemplate=HOVER, name="the model's mean")  # fmt: skip
    return [band, mean]


def _choices(panel: Panel, floor: float) -> list[Any]:
    import plotly.graph_objects as go

    marker = {"symbol": "line-ew-open", "size": 30, "color": BEST, "line": {"width": 3, "color": BEST}}
    bars = _bars(list(zip(panel.mean, panel.low, panel.high, strict=True)), floor, BEST)
    return [
        go.Scatter(x=panel.places, y=panel.mean, mode="markers", marker=marker, error_y=bars, hovertext=_texts(panel),
                   hovertemplate=HOVER, name="the model's mean", showlegend=False)
    ]  # fmt: skip


def _trials(panel: Panel, floor: float) -> list[Any]:
    """Whole trainings at their value, spread a little sideways on a choice, the others as ticks at the foot."""
    import plotly.graph_objects as go

    spread = 0.18 if panel.axis.choices else 0.0
    rows = [(p, p.place + spread * (((p.number * 0.618) % 1.0) * 2 - 1)) for p in panel.points]
    traces = []
    for fate in (f for f in tables.FATES if any(p.fate == f for p in panel.points)):
        traces.append(points(fate, [(place, p.value, p.text) for p, place in rows if p.fate == fate]))
        traces[-1].update(marker_size=5, marker_opacity=0.7)
    if panel.others:
        marker = {"symbol": "line-ns-open", "size": 9, "color": QUIET, "line": {"width": 1.2, "color": QUIET}}
        traces.append(
            go.Scatter(x=[place for place, _ in panel.others], y=[floor] * len(panel.others), mode="markers",
                       marker=marker, hovertext=[text for _, text in panel.others], hovertemplate=HOVER,
                       name="not trained to the end", cliponaxis=False)
        )  # fmt: skip
    return traces


def _bars(rows: Sequence[tuple[float, float, float]], floor: float, color: str) -> dict[str, Any]:
    """Error bars of (middle, low, high), none of which goes below ``floor``: a logarithmic axis has no zero."""
    up = [max(0.0, high - middle) for middle, _, high in rows]
    down = [max(0.0, middle - max(low, min(floor, middle))) for middle, low, _ in rows]
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": color, "thickness": 1.2,
            "width": 0}  # fmt: skip


def _texts(panel: Panel) -> list[str]:
    rows = zip(panel.mean, panel.low, panel.high, strict=True)
    return [f"expected {mean:.4g}<br>{low:.4g} to {high:.4g}" for mean, low, high in rows]


def _ends(axis: dict[str, Any]) -> tuple[float, float]:
    """The lower and the upper end of a value axis, as values."""
    low, high = axis["range"]
    return (10.0**low, 10.0**high) if axis.get("type") == "log" else (low, high)
