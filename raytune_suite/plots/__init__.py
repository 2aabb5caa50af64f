"""Pictures of an experiment: first a table (tables.py, importance.py, model.py), then a figure (figures.py,
parameters.py, surrogate.py).

``draw(experiment, kind)`` gives a plotly figure; ``save`` writes it as one HTML file that works offline.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from raytune_suite.analysis import Experiment
from raytune_suite.errors import PlanError
from raytune_suite.plots import figures, memory, parameters, surrogate

if TYPE_CHECKING:
    import plotly.graph_objects as go

KINDS: dict[str, Callable[[Experiment], go.Figure]] = {
    "best": figures.best_over_trials,
    "time": figures.best_over_time,
    "curves": figures.curves,
    "importance": parameters.importance,
    "slices": parameters.slices,
    "parallel": parameters.parallel,
    "model": surrogate.model,
    "timeline": figures.timeline,
    "memory": memory.gpu_memory,
}
"""The pictures by name, as ``raytune plot`` knows them."""


def draw(experiment: Experiment, kind: str) -> go.Figure:
    """The figure of one kind (see KINDS). Raises PlanError for an unknown kind."""
    if kind not in KINDS:
        near = get_close_matches(kind, list(KINDS), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise PlanError(f"{kind!r} is not a picture: one of {', '.join(KINDS)}.{hint}")
    return KINDS[kind](experiment)


def save(figure: go.Figure, path: Path | str) -> Path:
    """Write a figure as one HTML file that needs no network."""
    path = Path(path)
    figure.write_html(path, include_plotlyjs=True, full_html=True, config={"displaylogo": False, "responsive": True})
    return path
