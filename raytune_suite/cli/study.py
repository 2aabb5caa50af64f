"""Commands about a study before it runs: ``init``, ``check``, ``schema``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raytune_suite.cli.run import Changes
from raytune_suite.errors import ExperimentError

if TYPE_CHECKING:
    from raytune_suite.cli.checklist import Item

SCHEMA = "study.schema.json"
"""The name the header comment of a study file points its editor to."""


def register(app: typer.Typer) -> None:
    """Add this family's commands to ``app``."""
    app.command()(init)
    app.command()(check)
    app.command()(schema)


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder to write into; made if missing.")
    ] = Path(),
) -> None:
    """Write a commented study file and a small trainable to start from."""
    files = {**_templates(), SCHEMA: schema_text()}
    if taken := [name for name in files if (directory / name).exists()]:
        raise ExperimentError(f"{directory} already has {', '.join(taken)}: choose another folder, or move them away")
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)
        typer.echo(f"wrote {directory / name}")
    study = next(directory / name for name in files if name.endswith(".yaml"))
    typer.echo(f"\nNext: raytune check {study}\n      raytune run {study}")


def check(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study file.")],
    changes: Changes = None,
    step: Annotated[bool, typer.Option(help="Try one real step of the trainable in a child process.")] = True,
) -> None:
    """Validate everything a study needs without starting a trial, and print the plan."""
    from raytune_suite.cli.checklist import checklist
    from raytune_suite.cli.overrides import load

    items = list(_shown(checklist(load(study, changes=changes or ()), step=step)))
    if problems := sum(len(item.problems) for item in items):
        typer.secho(f"\n{problems} problem{'s' if problems > 1 else ''} to mend.", fg="red", err=True)
        raise typer.Exit(2)
    typer.echo("\n" + "\n".join(line for item in items for line in item.found.below))
    typer.echo(f"\nReady: raytune run {study}")


def schema() -> None:
    """Print the JSON schema of a study file, for editors that complete and check YAML."""
    typer.echo(schema_text(), nl=False)


def schema_text() -> str:
    """The schema as it is printed and as it lies in studies/."""
    import json

    from raytune_suite.study import study_schema

    return json.dumps(study_schema(), indent=2) + "\n"


def _templates() -> dict[str, str]:
    """The files a newcomer starts from, by name."""
    folder = files("raytune_suite") / "templates"
    return {
        item.name: item.read_text()
        for item in sorted(folder.iterdir(), key=lambda item: item.name)
        if item.is_file() and not item.name.startswith("__")
    }


def _shown(items: Iterable[Item]) -> Iterator[Item]:
    """Print each item as it comes, with a mark, and pass it on."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for item in items:
        mark, style = ("✗", "red") if item.problems else ("✓", "green")
        for number, line in enumerate(item.problems or (item.found.line,)):
            console.print(f"[{style}]{mark}[/] {item.name:10}" if number == 0 else " " * 12, end=" ")
            console.print(line, markup=False)
        yield item
