"""Commands that read results: ``list``, ``show``, ``best``, ``export``, ``tensorboard``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raytune_suite.errors import ExperimentError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from raytune_suite.analysis import Experiment

STORAGE = Path("experiments")
"""Where studies put their experiments unless they say otherwise."""

ExperimentArgument = Annotated[
    Path, typer.Argument(metavar="EXPERIMENT", help="Folder of an experiment, or its name in ./experiments.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Rule(StrEnum):
    """What makes a trial the best: its best value at any iteration, its last, or its last if it completed."""

    BEST = "best"
    LAST = "last"
    FINAL = "final"


def register(app: typer.Typer) -> None:
    """Add this family's commands to ``app``."""
    app.command("list")(list_)
    app.command()(show)
    app.command()(best)
    app.command()(export)
    app.command()(tensorboard)


def list_(
    condition: Annotated[
        str | None,
        typer.Argument(metavar="FILTER", help="As 'state == \"completed\" and config.lr < 0.01': list its trials."),
    ] = None,
    storage: Annotated[Path, typer.Option(help="The folder the experiments lie in.")] = STORAGE,
    as_json: JsonOption = False,
) -> None:
    """List experiments, or with a filter the trials of all of them for which it holds."""
    from raytune_suite import tables

    found, damaged = tables.experiments(storage)
    if condition is None:
        data: list[Any] = [tables.experiment_data(experiment) for experiment in found]
        _print([tables.experiments_table(found)], data, as_json)
    else:
        pairs = tables.matching(found, condition)
        closing = "no trial" if not pairs else f"{len(pairs)} trial{'s' if len(pairs) > 1 else ''}"
        _print(
            [tables.trials_table(pairs, _console().width), closing],
            [tables.trial_data(*pair) for pair in pairs],
            as_json,
        )
    for error in damaged:
        typer.secho(f"Not listed: {error}", fg="red", err=True)
    if damaged:
        raise typer.Exit(2)


def show(
    experiment: ExperimentArgument,
    trial: Annotated[str | None, typer.Argument(metavar="[TRIAL]", help="The number of a trial.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show an experiment, or what happened to one of its trials and why."""
    from raytune_suite import tables

    read = _load(experiment)
    if trial is None:
        trials = [tables.trial_data(read, one) for _, one in sorted(read.record.trials.items())]
        data = {**tables.experiment_data(read), "trials": trials}
        _print(tables.experiment_view(read, _console().width), data, as_json)
    else:
        one = tables.trial_of(read, trial)
        _print(tables.trial_view(read, one), tables.story_data(read, one), as_json)


def best(
    experiment: ExperimentArgument,
    rule: Annotated[
        Rule, typer.Option(help="Compare best, last, or final (completed trials' last) values.")
    ] = Rule.BEST,
    as_json: JsonOption = False,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="Print YAML.")] = False,
) -> None:
    """Show the best trial, its config and its checkpoint."""
    from raytune_suite import tables

    read = _load(experiment)
    if as_yaml and as_json:
        raise ExperimentError("--json and --yaml exclude each other: leave out one.")
    if as_yaml:
        import yaml

        typer.echo(yaml.safe_dump(tables.best_data(read, rule.value), sort_keys=False), nl=False)
    else:
        _print(tables.best_view(read, rule.value), tables.best_data(read, rule.value), as_json)


def export(
    experiment: ExperimentArgument,
    file: Annotated[Path, typer.Argument(help="The table to write: .csv or .parquet.")],
    history: Annotated[bool, typer.Option("--history", help="A row a reported number, not a row a trial.")] = False,
) -> None:
    """Write the trials, or everything they reported, as a table."""
    written = _load(experiment).export(file, "history" if history else "trials")
    typer.echo(f"wrote {written}")


def tensorboard(
    folder: Annotated[
        Path, typer.Argument(metavar="EXPERIMENT_OR_STORAGE", help="An experiment, or a folder of several.")
    ] = STORAGE,
    port: Annotated[int | None, typer.Option(help="The port; 6006 or a free one if not given.")] = None,
) -> None:
    """Open TensorBoard on an experiment, or on all of a storage folder (on this machine only)."""
    from raytune_suite.viewer import serve

    serve(folder_of(folder), port)


def folder_of(given: Path, *, checkpoints: bool = False) -> Path:
    """A folder as it is named, or by an experiment's name in the default storage folder; a remote one is fetched.

    ``checkpoints``: those too.
    """
    from raytune_suite.remote import name_of, uri_of

    if (uri := uri_of(given)) is not None:
        from raytune_suite.copies import fetch

        return fetch(uri, STORAGE / name_of(uri), checkpoints=checkpoints, say=lambda text: typer.echo(text, err=True))
    inside = STORAGE / given
    return inside if not given.exists() and inside.exists() else given


def _load(given: Path) -> Experiment:
    from raytune_suite.analysis import load

    return load(folder_of(given))


def _console() -> Console:
    """The terminal, or lines as long as they need to be for a file or a pipe."""
    from rich.console import Console

    made = Console(highlight=False, emoji=False)
    return made if made.is_terminal else Console(highlight=False, width=1000, emoji=False)


def _print(shown: Iterable[Any], data: Any, as_json: bool) -> None:
    if as_json:
        import json

        from raytune_suite.tables import jsonable

        typer.echo(json.dumps(jsonable(data), indent=2, allow_nan=False))
        return
    console = _console()
    for part in shown:
        console.print(part, markup=False)
