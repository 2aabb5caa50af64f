"""The commands that put results to the test by training again: ``reproduce``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raytune_suite.reproduction import Watch

Experiment = Annotated[
    Path, typer.Argument(metavar="EXPERIMENT", help="Folder of an experiment, or its name in ./experiments.")
]
Project = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where the training code is, if it is not where it was.")
]


def register(app: typer.Typer) -> None:
    """Add this family's commands to ``app``."""
    app.command()(reproduce)


def reproduce(
    experiment: Experiment,
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="The number of a trial.")],
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0, help="Relative difference to allow; none on the same kind of CPU, torch and threads, else 0.01."
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Metrics not to compare, as 'wall_*'; repeatable.")
    ] = None,
    save: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Keep the final checkpoint there.")] = None,
    project: Project = None,
) -> None:
    """Train one trial again from its recorded seed and configuration and compare the curve with the journal."""
    from raytune_suite.cli.results import _load, folder_of
    from raytune_suite.reproduction import reproduce as again
    from raytune_suite.tables import trial_of

    number = trial_of(_load(experiment), trial).number
    with _progress(f"trial {number}") as (watch, done):
        try:
            options = {"tolerance": tolerance, "ignore": ignore or (), "save": save, "project": project}
            outcome = again(folder_of(experiment), number, watch=watch, **options)  # type: ignore[arg-type]
        except KeyboardInterrupt:
            typer.secho(f"Ended after {done[0]} of {done[1]} iterations, all equal so far.", fg="red", err=True)
            raise
    typer.echo("\n".join(outcome.lines()))
    raise typer.Exit(0 if outcome.reproduced else 1)


@contextmanager
def _progress(title: str) -> Iterator[tuple[Watch, list[int]]]:
    """Show a bar in a terminal; yields what to call after each iteration, and how far it is."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    done = [0, 0]
    console = Console(stderr=True, highlight=False)
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)

        def watch(count: int, total: int, _: Mapping[str, Any]) -> None:
            done[:] = count, total
            bar.update(task, completed=count, total=total)

        yield watch, done
