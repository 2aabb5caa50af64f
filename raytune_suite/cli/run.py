"""The command that runs a study: ``run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raytune_suite.errors import RaytuneError

if TYPE_CHECKING:
    from raytune_suite.study import Study

Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change any key of the study; may be repeated."),
]


def register(app: typer.Typer) -> None:
    """Add this family's commands to ``app``."""
    app.command()(run)


def run(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study file.")],
    name: Annotated[str | None, typer.Option(help="Name of the experiment's folder.")] = None,
    num_trials: Annotated[int | None, typer.Option(help="How many configurations.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    max_concurrent: Annotated[int | None, typer.Option(help="At most so many trials at a time.")] = None,
    changes: Changes = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster; a local one otherwise.")] = None,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Also show what the workers print.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the summary.")] = False,
) -> None:
    """Run a study: search, train, record; prints where everything lies."""
    from raytune_suite.cli.overrides import load

    options = {"name": name, "num_trials": num_trials, "seed": seed, "max_concurrent": max_concurrent}
    loaded = load(study, options, changes or ())
    raise typer.Exit(_start(loaded, address=address, verbosity=-1 if quiet else verbose))


def _start(study: Study, **options: Any) -> int:
    """Run the study; where a crash of ours has left its traceback in the experiment's log, say so."""
    from raytune_suite.runner import run as start

    try:
        return start(study, **options).exit_code
    except RaytuneError:
        raise
    except Exception as error:
        log = Path(study.folder) / "driver.log"
        if log.is_file():
            error.add_note(f"The traceback is in {log}.")
        raise
