"""The command that plays a study in virtual time: ``simulate``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

Study = Annotated[Path, typer.Argument(metavar="STUDY", help="The study file.")]
After = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="EXPERIMENT",
        help="The experiment whose curves the simulated trials follow; else the study's first trials are trained.",
    ),
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
    after: After = None,
    compare: Compare = None,
    replications: Annotated[int, typer.Option(min=1, help="How often to play it, with other seeds.")] = 20,
    slots: Annotated[int | None, typer.Option(min=1, help="Trials at a time; as many as fit here otherwise.")] = None,
    budget: Annotated[float, typer.Option(min=0, help="End after so many seconds, without what is under way.")] = 60.0,
    price: Annotated[float | None, typer.Option(min=0, help="Of a GPU-hour, or CPU-hour without GPUs.")] = None,
    probes: Annotated[
        int | None, typer.Option(min=5, help="Without --from: how many trials to train first; 8, or those there are.")
    ] = None,
    changes: Changes = None,
) -> None:
    """Play a study without training: how many epochs, how long, how good, under which early stopping."""
    from raytune_suite.cli.overrides import load
    from raytune_suite.probing import probe, whole
    from raytune_suite.simulate import Terms, forecast, variants

    loaded = load(study, {}, changes or ())
    played = variants(loaded, (compare or "").replace(",", " ").split())
    terms = Terms(replications, slots, budget, price)
    if after is not None:
        _print(forecast(loaded, after, played, terms))
        return
    results = probe(loaded, probes)
    if results.exit_code:
        raise typer.Exit(results.exit_code)
    keep = None if whole(loaded) else results.folder
    _print(forecast(loaded, results.folder, played, terms, keep))
    if keep is not None:
        typer.echo("The probes are the beginning of the study: raytune run goes on from them, with the same options.")


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        typer.echo(line)
