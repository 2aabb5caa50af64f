"""Commands that draw: ``report`` and ``plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raytune_suite.cli.results import ExperimentArgument, _load

KINDS = ("best", "time", "curves", "importance", "slices", "parallel", "model", "timeline", "memory")


def register(app: typer.Typer) -> None:
    """Add this family's commands to ``app``."""
    app.command()(report)
    app.command()(plot)


def report(
    experiment: ExperimentArgument,
    file: Annotated[Path | None, typer.Option("--output", "-o", help="Where to; report.html in its folder.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write summary, pictures and trials as one HTML file that works offline."""
    from raytune_suite.report import write

    _say(write(_load(experiment), file), show)


def plot(
    experiment: ExperimentArgument,
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"One of {', '.join(KINDS)}.")],
    file: Annotated[Path | None, typer.Option("--output", "-o", help="Where to; KIND.html here.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write one picture of an experiment as an HTML file that works offline."""
    from raytune_suite.plots import draw, save

    _say(save(draw(_load(experiment), kind), file or Path(f"{kind}.html")), show)


def _say(path: Path, show: bool) -> None:
    typer.echo(str(path))
    if show:
        typer.launch(path.resolve().as_uri())
