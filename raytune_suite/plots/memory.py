"""GPU memory: what was forecast for each trial beside what it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from raytune_suite.analysis import Experiment
from raytune_suite.plots.style import QUIET, empty, figure, points
from raytune_suite.plots.tables import FATES, fate

if TYPE_CHECKING:
    import plotly.graph_objects as go

NONE = "No trial was forecast and measured on a GPU."
_PEAK = "memory/gpu_mb"


@dataclass(frozen=True)
class Peak:
    """One trial: MiB forecast, and at most reserved; ``text``: the same in words."""

    number: int
    fate: str
    forecast: float
    measured: float
    text: str


def peaks(experiment: Experiment) -> list[Peak]:
    """The trials with a forecast that have reported a peak."""
    rows = []
    for trial in experiment.record.trials.values():
        forecast = trial.resources.get("forecast")
        measured = max((r.metrics[_PEAK] for r in trial.reports if _PEAK in r.metrics), default=None)
        if forecast is None or measured is None:
            continue
        mib = forecast / 2**20
        share = f"<br>{trial.resources['gpu']:g} of a GPU" if "gpu" in trial.resources else ""
        text = f"trial {trial.number}<br>forecast {mib:.0f} MiB<br>took {measured:.0f} MiB{share}"
        rows.append(Peak(trial.number, fate(trial.state), mib, measured, text))
    return rows


def gpu_memory(experiment: Experiment) -> go.Figure:
    """What each trial took over what was forecast; on the line both are the same."""
    import plotly.graph_objects as go

    rows = peaks(experiment)
    if not rows:
        return empty(NONE)
    ends = [0.0, 1.05 * max(max(row.forecast, row.measured) for row in rows)]
    line = {"color": QUIET, "width": 1, "dash": "dash"}
    same = go.Scatter(x=ends, y=ends, mode="lines", line=line, hoverinfo="skip", showlegend=False)
    by_fate = {one: [(r.forecast, r.measured, r.text) for r in rows if r.fate == one] for one in FATES}
    made = figure([same, *(points(one, found) for one, found in by_fate.items() if found)])
    made.update_xaxes(title_text="forecast, MiB", range=ends)
    made.update_yaxes(title_text="reserved at most, MiB", range=ends)
    return made
