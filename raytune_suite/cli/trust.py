"""The commands that put results to the test by training again: ``reproduce``, ``confirm``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raytune_suite.cli.run import Address, Below, Experiment, Project, Quiet, Verbose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raytune_suite.reproduction import Watch


class Counts(StrEnum):
    """What of a training counts."""

    BEST = "best"
    LAST = "last"


def register(app: typer.Typer) -> None:
    """Add this family's commands to ``app``."""
    app.command()(reproduce)
    app.command()(confirm)


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

    folder = folder_of(experiment)
    number = trial_of(_load(folder), trial).number
    with _progress(f"trial {number}") as (watch, done):
        try:
            options = {"tolerance": tolerance, "ignore": ignore or (), "save": save, "project": project}
            outcome = again(folder, number, watch=watch, **options)  # type: ignore[arg-type]
        except KeyboardInterrupt:
            typer.secho(f"Ended after {done[0]} of {done[1]} iterations, all equal so far.", fg="red", err=True)
            raise
    typer.echo("\n".join(outcome.lines()))
    raise typer.Exit(0 if outcome.reproduced else 1)


def confirm(
    experiment: Experiment,
    top: Annotated[
        int | None, typer.Option(min=1, help="How many of the best configurations, beside the default (5).")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=2, help="How many fresh seeds for each (5).")] = None,
    rule: Annotated[
        Counts | None, typer.Option(help="What of a training counts: its best value (best), or its last.")
    ] = None,
    project: Project = None,
    address: Address = None,
    engine: Below = None,
    verbose: Verbose = 0,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Train the best configurations and the default again on fresh seeds: how probably is the winner the best?

    A confirmation that was interrupted is gone on with.
    """
    from raytune_suite.cli.results import _print, folder_of
    from raytune_suite.confirmation import confirm as again
    from raytune_suite.tables import verdict_view

    options: dict[str, Any] = {"top": top, "seeds": seeds, "rule": None if rule is None else rule.value}
    options |= {"project": project, "address": address, "engine": engine, "verbosity": -1 if quiet else verbose}
    if as_json:
        from rich.console import Console

        options["console"] = Console(stderr=True)
    folder = folder_of(experiment)
    outcome = again(folder, **options)
    if outcome.verdict is not None:
        _print(verdict_view(outcome.verdict), outcome.verdict.data(), as_json)
    else:
        typer.secho(f"Not confirmed yet: raytune confirm {folder} goes on.", fg="red", err=True)
    from raytune_suite.signals import leave

    raise typer.Exit(leave(outcome.results.exit_code))


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
