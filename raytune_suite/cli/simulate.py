"""The command that plays a study in virtual time: ``simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Study = Annotated[Path, typer.Argument(metavar="STUDY", help="The study file.")]
After = Annotated[
    Path, typer.Option("--from", metavar="EXPERIMENT", help="The experiment whose curves the simulated trials follow.")
]
Compare = Annotated[
    str | None, typer.Option(metavar="NAMES", help="Schedulers to play as well, as asha,hyperband,fifo: same searcher.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change any key of the study; may be repeated."),
]


def register(app: typer.Typer) -> None:
    """Add this family's commands to ``app``."""
    app.command()(simulate)


def simulate(
    study: Study,
    after: After,
    compare: Compare = None,
    replications: Annotated[int, typer.Option(min=1, help="How often to play it, with other seeds.")] = 20,
    slots: Annotated[int | None, typer.Option(min=1, help="Trials at a time; as many as fit here otherwise.")] = None,
    budget: Annotated[float, typer.Option(help="Begin no replication after so many seconds.")] = 60.0,
    changes: Changes = None,
) -> None:
    """Play a study without training: how many epochs, how long, how good, under which early stopping."""
    from raytune_suite.cli.overrides import load
    from raytune_suite.simulate import forecast

    names = [name.strip() for name in compare.split(",") if name.strip()] if compare else []
    for line in forecast(load(study, {}, changes or ()), after, names, replications, slots, budget):
        typer.echo(line)
