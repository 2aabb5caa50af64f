"""The commands that run a study: ``run``, ``resume``, ``retry``; and ``replay``, which runs its decisions again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raytune_suite.errors import RaytuneError

if TYPE_CHECKING:
    from collections.abc import Callable

    from raytune_suite.runner import Results
    from raytune_suite.study import Study

Experiment = Annotated[
    Path, typer.Argument(metavar="EXPERIMENT", help="Folder of an experiment, its name in ./experiments, or a URI.")
]
Project = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where the training code is, if it is not where it was.")
]
Address = Annotated[str | None, typer.Option(help="A running Ray cluster; a local one otherwise.")]
Below = Annotated[
    str | None,
    typer.Option(
        "--engine", help="pool (the usual): a few workers for all trials; tune: Ray Tune's own. [env: RAYTUNE_ENGINE]"
    ),
]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Also show what the workers print.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the summary.")]
AsLogged = Annotated[
    bool, typer.Option("--as-logged", help="Go on even if a logged decision does not come out the same again.")
]
NoCopy = Annotated[
    bool, typer.Option("--no-copy", help="Leave remote storage alone, say if it is gone; raytune sync sends it later.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change any key of the study; may be repeated."),
]


def register(app: typer.Typer) -> None:
    """Add this family's commands to ``app``."""
    app.command()(run)
    app.command()(resume)
    app.command()(retry)
    app.command()(sync)
    app.command()(replay)


def run(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study file.")],
    name: Annotated[str | None, typer.Option(help="Name of the experiment's folder.")] = None,
    num_trials: Annotated[int | None, typer.Option(help="How many configurations.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    max_concurrent: Annotated[int | None, typer.Option(help="At most so many trials at a time.")] = None,
    changes: Changes = None,
    address: Address = None,
    engine: Below = None,
    verbose: Verbose = 0,
    quiet: Quiet = False,
) -> None:
    """Run a study: search, train, record; prints where everything lies."""
    from raytune_suite.cli.overrides import load

    options = {"name": name, "num_trials": num_trials, "seed": seed, "max_concurrent": max_concurrent}
    loaded = load(study, options, changes or ())
    raise typer.Exit(_start(loaded, address=address, engine=engine, verbosity=-1 if quiet else verbose))


def resume(
    experiment: Experiment,
    num_trials: Annotated[
        str | None, typer.Option(metavar="N or +N", help="Extend the study to N configurations, or by N.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a limit of the study, as stop.time=2h; repeatable."),
    ] = None,
    project: Project = None,
    as_logged: AsLogged = False,
    no_copy: NoCopy = False,
    address: Address = None,
    engine: Below = None,
    verbose: Verbose = 0,
    quiet: Quiet = False,
) -> None:
    """Go on with an experiment that was interrupted or crashed; finished trials stay as they are."""
    from raytune_suite.cli.overrides import read_change
    from raytune_suite.cli.results import folder_of
    from raytune_suite.resuming import resume as go_on

    folder = folder_of(experiment, checkpoints=True)
    options: dict[str, Any] = {"num_trials": num_trials, "project": project, "as_logged": as_logged}
    options |= {"changes": dict(map(read_change, changes or ())), "copied": not no_copy}
    verbosity = -1 if quiet else verbose
    raise typer.Exit(
        _logged(folder, lambda: go_on(folder, **options, address=address, engine=engine, verbosity=verbosity))
    )


def retry(
    experiment: Experiment,
    trials: Annotated[list[int] | None, typer.Argument(metavar="[TRIAL]...", help="Only these numbers.")] = None,
    state: Annotated[str, typer.Option(help="Which trials: any of failed, oom, timed_out.")] = "failed,oom,timed_out",
    project: Project = None,
    as_logged: AsLogged = False,
    no_copy: NoCopy = False,
    address: Address = None,
    engine: Below = None,
    verbose: Verbose = 0,
    quiet: Quiet = False,
) -> None:
    """Start failed trials again, from their last checkpoints, and go on with the experiment."""
    from raytune_suite.cli.results import folder_of
    from raytune_suite.resuming import retry as again

    folder = folder_of(experiment, checkpoints=True)
    states = [word.strip() for word in state.split(",") if word.strip()]
    options: dict[str, Any] = {"states": states, "trials": trials or (), "project": project, "as_logged": as_logged}
    options["copied"], verbosity = not no_copy, -1 if quiet else verbose
    raise typer.Exit(
        _logged(folder, lambda: again(folder, **options, address=address, engine=engine, verbosity=verbosity))
    )


def sync(experiment: Experiment) -> None:
    """Send what remote storage lacks of an experiment: after a failure there, or a signal that left no time."""
    from raytune_suite.cli.results import folder_of
    from raytune_suite.copies import sync as send

    folder = folder_of(experiment)
    uri = send(folder, lambda text: typer.echo(text, err=True))
    typer.echo(f"{uri} has all of {folder}")


def replay(experiment: Experiment, project: Project = None) -> None:
    """Derive suggestions and decisions again from the journal alone: identical, or the first that differs."""
    from raytune_suite.cli.results import _load, folder_of
    from raytune_suite.opening import study_of
    from raytune_suite.replay import replay as derive

    folder = folder_of(experiment)
    sessions = _load(experiment).record.sessions
    outcome = derive(folder, study_of(folder, sessions[-1] if sessions else {}, project))
    typer.echo("\n".join(outcome.lines()))
    raise typer.Exit(0 if outcome.identical else 1)


def _start(study: Study, **options: Any) -> int:
    from raytune_suite.probing import begun
    from raytune_suite.resuming import resume as go_on
    from raytune_suite.runner import run as start

    folder = Path(study.folder)
    if begun(study):
        return _logged(folder, lambda: go_on(folder, num_trials=study.num_trials, project=study.project, **options))
    return _logged(folder, lambda: start(study, **options))


def _logged(folder: Path, start: Callable[[], Results]) -> int:
    """Run a study; where a crash of ours has left its traceback in the experiment's log, say so."""
    from raytune_suite.signals import leave

    try:
        return leave(start().exit_code)
    except RaytuneError:
        raise
    except Exception as error:
        log = folder / "driver.log"
        if log.is_file():
            error.add_note(f"The traceback is in {log}.")
        raise
