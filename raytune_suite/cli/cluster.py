"""The commands about where studies run: ``env``, ``submit``, ``jobs``, ``follow``, ``stop``."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from raytune_suite.jobs import Job, Submission

Address = Annotated[
    str | None,
    typer.Option(help="The cluster's dashboard; RAY_API_SERVER_ADDRESS or http://127.0.0.1:8265 otherwise."),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Allow another machine without encryption and token.")]
JobId = Annotated[str, typer.Argument(help="The job's id, as submit and jobs print it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add this family's commands to ``app``."""
    for command in (env, submit, jobs, follow, stop):
        app.command()(command)


def env(
    experiment: Annotated[
        Path | None, typer.Argument(help="An experiment: what its workers ran with, compared with this machine.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the environment: Python, packages, torch, GPUs, git commit, flags that change numbers."""
    from raytune_suite import environment
    from raytune_suite.cli.results import folder_of

    here = environment.capture(Path.cwd())
    if experiment is None:
        typer.echo(json.dumps(here, indent=2) if as_json else "\n".join(environment.describe(here)))
        return
    recorded = environment.recorded(folder_of(experiment))
    if as_json:
        typer.echo(json.dumps(recorded, indent=2))
        return
    if not recorded:
        typer.echo(f"no worker of {experiment} has reported its environment")
    for key, facts in recorded.items():
        typer.echo("\n".join([f"environment {key}", *environment.describe(facts)]))
        found = environment.compare(facts, here)
        typer.echo(environment.table(found, "recorded", "here") if found else "the same as here")


def submit(
    study: Annotated[Path, typer.Argument(help="The study file; its project folder is uploaded.")],
    address: Address = None,
    follow: Annotated[bool, typer.Option(help="Show the log and wait for the end.")] = True,
    storage: Annotated[
        str | None, typer.Option(help="Folder on the cluster for results; ~/ is the home there.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As for raytune run. Repeatable.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Leave these files here. Repeatable.")
    ] = None,
    variable: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="Set for the job; no secrets. Repeatable.")
    ] = None,
    max_upload: Annotated[float, typer.Option(metavar="MEBIBYTES", help="Refuse to upload more.")] = 100,
    python: Annotated[str, typer.Option(help="The Python command on the cluster.")] = "python",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be uploaded.")] = False,
    insecure: Insecure = False,
) -> None:
    """Run a study on a cluster: upload its project, start raytune run there, follow it to the end."""
    from raytune_suite import dashboard
    from raytune_suite import jobs as work

    what = work.Submission(
        study=study,
        storage=storage,
        options=[word for change in changes or () for word in ("--set", change)],
        excludes=exclude or (),
        variables=_variables(variable or ()),
        limit=round(max_upload * 2**20),
        python=python,
    )
    typer.echo("\n".join(_manifest(what)))
    if dry_run:
        return
    client = dashboard.connect(address, insecure=insecure, warn=sys.stderr.write)
    job = work.submit(what, client)
    typer.echo(f"{job.id} submitted; results go to {job.folder} there")
    if follow:
        raise typer.Exit(_follow(client, job.id))


def jobs(address: Address = None, insecure: Insecure = False, as_json: AsJson = False) -> None:
    """List the jobs of a cluster, the newest first."""
    from dataclasses import asdict

    from raytune_suite import dashboard
    from raytune_suite import jobs as work

    found = work.jobs(dashboard.connect(address, insecure=insecure, warn=sys.stderr.write))
    if as_json:
        typer.echo(json.dumps([asdict(job) for job in found], indent=2))
        return
    for job in found:
        typer.echo(f"{job.status:<10} {_when(job):<26} {job.id}  {job.folder}")
    if not found:
        typer.echo("no jobs yet: raytune submit STUDY starts one")


def follow(job: JobId, address: Address = None, insecure: Insecure = False) -> None:
    """Show a job's log until the job ends; exit with what its status says."""
    from raytune_suite import dashboard

    client = dashboard.connect(address, insecure=insecure, warn=sys.stderr.write)
    raise typer.Exit(_follow(client, job))


def stop(
    job: JobId,
    address: Address = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for its end.")] = 90,
    insecure: Insecure = False,
) -> None:
    """Stop a job gracefully: running trials are interrupted, everything so far is kept."""
    from raytune_suite import dashboard
    from raytune_suite import jobs as work

    ended = work.stop(dashboard.connect(address, insecure=insecure, warn=sys.stderr.write), job, wait=wait)
    typer.echo(f"{ended.id} {ended.status.lower()}{_remains(ended)}")


def _follow(client: Any, job_id: str) -> int:
    from raytune_suite import jobs as work

    try:
        ended = work.follow(client, job_id, _write)
    except KeyboardInterrupt:
        typer.echo(f"\nThe job goes on. raytune follow {job_id} shows it again, raytune stop {job_id} ends it.")
        return 130
    why = f": {ended.message}" if ended.status == "FAILED" and ended.message else ""
    typer.echo(f"{ended.id} {ended.status.lower()}{why}{_remains(ended)}")
    return ended.exit_code


def _remains(job: Job) -> str:
    return f"; its record is in {job.folder} there" if job.folder else ""


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _when(job: Job) -> str:
    if job.started is None:
        return "not started"
    seconds = round((job.ended or time.time()) - job.started)
    spent = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(job.started))} {spent:>9}"


def _manifest(what: Submission) -> list[str]:
    from raytune_suite import jobs as work
    from raytune_suite.study import Study

    return work.checked_manifest(what, Study.load(what.study)).lines()


def _variables(given: list[str] | tuple[str, ...]) -> dict[str, str]:
    import os

    found = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals and name not in os.environ:
            raise typer.BadParameter(f"{name} is not set here: give {name}=VALUE", param_hint="--env")
        found[name] = value if equals else os.environ[name]
    return found
