"""How the pictures look: one colour a fate, quiet axes, room for every label, on light and on dark paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from raytune_suite.plots.axes import number

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Okabe and Ito's palette: the fates can be told apart without seeing colours as most do; shapes help too.
COLORS = {
    "completed": "#0072b2",
    "stopped": "#8f9aa8",
    "running": "#009e73",
    "interrupted": "#e69f00",
    "failed": "#d55e00",
}
SYMBOLS = {
    "completed": "circle",
    "stopped": "circle-open",
    "running": "triangle-right",
    "interrupted": "diamond-open",
    "failed": "x",
}
BEST = "#0072b2"
INK = "#57606a"
ON_BAR = "#fffffe"
PAPER = "rgba(255,255,255,0.8)"
# On dark paper each colour is written as another one; the report's script swaps them in the figures' text.
DARK = {
    "#0072b2": "#58b1e6",
    "#8f9aa8": "#98a4b3",
    "#009e73": "#2fbf93",
    "#e69f00": "#f0b94a",
    "#d55e00": "#ff7f3f",
    INK: "#9ba5b1",
    ON_BAR: "#0d1116",
    PAPER: "rgba(27,31,36,0.8)",
}
QUIET = "rgba(128,136,150,0.75)"
GRID = "rgba(128,136,150,0.22)"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"

HOVER = "%{hovertext}<extra></extra>"
NO_VALUE = "No trial has a value yet."

_LOG_RATIO = 50.0


def figure(traces: Sequence[Any], *, height: int = 360, **layout: Any) -> go.Figure:
    """A figure in the suite's style; its paper is transparent, so that a page's theme shows through."""
    import plotly.graph_objects as go

    made = go.Figure(list(traces))
    made.update_layout(
        template="none",
        height=height,
        autosize=True,
        margin={"l": 64, "r": 20, "t": 40, "b": 52},
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"font": {"family": FONT, "size": 12}, "align": "left"},
        hovermode="closest",
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": QUIET, "activecolor": BEST},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "itemsizing": "constant"},
        **layout,
    )
    made.update_xaxes(**axis_style())
    made.update_yaxes(**axis_style())
    return made


def axis_style() -> dict[str, Any]:
    """Thin lines, no zero line, ticks that never collide with the title."""
    return {
        "gridcolor": GRID,
        "linecolor": GRID,
        "zeroline": False,
        "automargin": True,
        "title": {"standoff": 10, "font": {"size": 13}},
        "ticks": "outside",
        "tickcolor": GRID,
        "ticklen": 4,
    }


def value_axis(values: Sequence[float]) -> dict[str, Any]:
    """The scale for metric values: logarithmic over orders of magnitude; outliers do not squeeze the rest."""
    if not values:
        return {}
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    if low == high:
        room = 0.1 * abs(low) or 1.0
        return {"range": [low - room, high + room]}
    if low > 0 and high / low >= _LOG_RATIO:
        return {"type": "log", **log_ticks(low, high, dense=3)}
    lower, upper = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
    reach = 8 * (upper - lower)
    shown = [v for v in ordered if lower - reach <= v <= upper + reach]
    if reach <= 0 or len(shown) == len(ordered):
        return {}
    room = 0.05 * (shown[-1] - shown[0])
    return {"range": [shown[0] - room, shown[-1] + room]}


def shared_axis(values: Sequence[float]) -> dict[str, Any]:
    """As :func:`value_axis`, the same for every panel that shows some of ``values``."""
    axis = value_axis(values)
    if not values or "range" in axis:
        return axis
    log = axis.get("type") == "log"
    low, high = (math.log10(v) if log else v for v in (min(values), max(values)))
    room = 0.06 * (high - low)
    return {**axis, "range": [low - room, high + room]}


def log_ticks(low: float, high: float, *, dense: int = 2) -> dict[str, Any]:
    """Ticks at powers of ten, up to ``dense`` of them also in between, written as one writes them in a study file."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1,) if last - first > dense else (1, 3) if last - first > 1 else (1, 2, 5)
    stride = 1 + (last - first) // 8
    ticks = [step * 10.0**power for power in range(first, last + 1, stride) for step in steps]
    return {"tickvals": ticks, "ticktext": [number(tick) for tick in ticks]}


def time_unit(seconds: float) -> tuple[float, str]:
    """What to divide seconds by, and what the result is called."""
    if seconds < 180:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")


def points(fate: str, rows: Sequence[tuple[float, float | None, str]]) -> Any:
    """Trials of one fate as markers: (x, y, what hovering shows)."""
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
        hovertemplate=HOVER,
    )


def note(made: go.Figure, text: str, *, right: bool = False) -> None:
    """A remark above the picture."""
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


def empty(text: str, height: int = 200) -> go.Figure:
    """A figure that says why there is nothing to see."""
    made = figure([], height=height)
    made.update_xaxes(visible=False)
    made.update_yaxes(visible=False)
    made.add_annotation(text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False)
    return made


def rank_color(rank: float, lines: int) -> str:
    """From the best (0, strong blue) to the worst trial (1, pale grey, the fainter the more lines there are)."""
    strong, pale = (0, 114, 178), (160, 170, 184)
    share = min(1.0, max(0.0, rank)) ** 0.6
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(strong, pale, strict=True))
    faint = 0.55 if lines <= 60 else 0.78
    return f"rgba({red},{green},{blue},{0.95 - faint * share:.2f})"
