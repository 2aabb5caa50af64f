"""Commands about a study before it runs: ``init``, ``check``, ``schema``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raytune_suite.cli.run import Changes
from raytune_suite.errors import ExperimentError

if TYPE_CHECKING:
    from raytune_suite.cli.checklist import Found
    from raytune_suite.study import Study

STUDY, TRAINABLE = "study.yaml", "trainable.py"  # in raytune_suite/templates
SCHEMA = "study.schema.json"  # where the first line of a study file points an editor to


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
    texts = _starters(directory)
    if taken := [name for name in texts if (directory / name).exists()]:
        raise ExperimentError(f"{directory} already has {', '.join(taken)}. Choose another folder.")
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (directory / name).write_text(text)
        typer.echo(f"wrote {directory / name}")
    typer.echo(f"\nNext: raytune check {directory / STUDY}\n      raytune run {directory / STUDY}")


def check(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study file.")],
    changes: Changes = None,
    step: Annotated[bool, typer.Option(help="Try one real step of the trainable in a child process.")] = True,
) -> None:
    """Validate everything a study needs without starting a trial, and print the plan."""
    from raytune_suite.cli.checklist import checklist
    from raytune_suite.cli.overrides import load
    from raytune_suite.memory.allotment import foreseen
    from raytune_suite.plan import make
    from raytune_suite.resources import Cluster
    from raytune_suite.search import build
    from raytune_suite.warmstart import lines, take

    loaded = load(study, changes=changes or ())
    items = [_shown(*item) for item in checklist(loaded, step=step)]
    if problems := sum(len(found.problems) for found in items):
        typer.secho(f"\n{problems} problem{'s' if problems > 1 else ''} to mend.", fg="red", err=True)
        raise typer.Exit(2)
    cluster = Cluster.local()
    made = make(loaded, cluster, foreseen(loaded, cluster) if step else None)
    made = replace(made, earlier=lines(take(loaded), build(loaded)))
    typer.echo("\n" + "\n".join(made.lines()))
    typer.echo(f"\nReady: {_command(study, loaded, changes or ())}")


def _command(file: Path, study: Study, changes: Sequence[str]) -> str:
    """The command line that runs what was checked."""
    from raytune_suite.cli.checklist import is_taken

    words = ["raytune", "run", str(file), *(word for change in changes for word in ("--set", change))]
    return shlex.join([*words, "--name", f"{study.name}-2"] if is_taken(study) else words)


def schema() -> None:
    """Print the JSON schema of a study file, for editors that complete and check YAML."""
    typer.echo(schema_text(), nl=False)


def schema_text() -> str:
    """The schema as it is printed and as it lies in studies/."""
    import json

    from raytune_suite.study import study_schema

    return json.dumps(study_schema(), indent=2) + "\n"


def _starters(directory: Path) -> dict[str, str]:
    """The files a newcomer starts from, by name; the study names its trainable from the project's folder."""
    from raytune_suite.resolve import find_project

    templates = files("raytune_suite") / "templates"
    texts = {name: (templates / name).read_text() for name in (STUDY, TRAINABLE)}
    place = directory.resolve().relative_to(find_project(directory / STUDY)).parts
    if odd := [part for part in place if not part.isidentifier()]:
        raise ExperimentError(
            f"{directory} lies in a project (pyproject.toml or .git), where its code is imported as "
            f"{'.'.join(place)}, and {odd[0]!r} is no name for a package. Choose another folder."
        )
    module = ".".join([*place, Path(TRAINABLE).stem])
    texts[STUDY] = re.sub(r"^trainable: \w+:", f"trainable: {module}:", texts[STUDY], flags=re.M)
    return {**texts, SCHEMA: schema_text()}


def _shown(name: str, found: Found) -> Found:
    """Print an item as soon as it is known, with a mark."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True, emoji=False)
    mark, style = ("✗", "red") if found.problems else ("✓", "green")
    for number, line in enumerate(found.problems or (found.line,)):
        console.print(f"[{style}]{mark}[/] {name:10}" if number == 0 else " " * 12, end=" ")
        console.print(line, markup=False)
    for line in found.trace:
        console.print(f"  {line}", markup=False, style="dim")
    return found
