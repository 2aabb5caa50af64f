"""The command that forecasts GPU memory: ``memory``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raytune_suite.cli.run import Changes

if TYPE_CHECKING:
    from raytune_suite.resources import Cluster

_MANY = 10_000  # CPUs of a machine that is only thought of: they are not what counts


def register(app: typer.Typer) -> None:
    """Add this family's commands to ``app``."""
    app.command()(memory)


def memory(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The study file.")],
    configurations: Annotated[int, typer.Option(min=2, help="How many to forecast.")] = 40,
    gpus: Annotated[int | None, typer.Option(min=1, help="Pack for so many GPUs instead of those here.")] = None,
    gpu_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The memory of each of them, as 24GiB.")
    ] = None,
    after: Annotated[
        Path | None, typer.Option("--from", metavar="EXPERIMENT", help="Calibrate by what its trials reported.")
    ] = None,
    changes: Changes = None,
) -> None:
    """Forecast the GPU memory of a study's configurations, what it depends on, and how trials would pack."""
    from raytune_suite.cli.overrides import load
    from raytune_suite.cli.results import folder_of
    from raytune_suite.journal import read
    from raytune_suite.memory.forecaster import Forecaster
    from raytune_suite.memory.survey import lines, take

    loaded, cluster = load(study, {}, changes or ()), _cluster(gpus, gpu_memory)
    past = read(folder_of(after)) if after is not None else ()
    forecaster = Forecaster(loaded)
    try:
        for line in lines(take(loaded, forecaster, configurations, past), cluster):
            typer.echo(line)
    finally:
        forecaster.close()


def _cluster(gpus: int | None, gpu_memory: str | None) -> Cluster:
    """The machine that is asked about: this one, or one with these GPUs and no lack of anything else."""
    from raytune_suite.errors import PlanError
    from raytune_suite.nodes import Node
    from raytune_suite.resources import Cluster
    from raytune_suite.space import DeclarationError
    from raytune_suite.study.settings import parse_size

    here = Cluster.local()
    if gpus is None and gpu_memory is None:
        return here
    if gpu_memory is None:
        size = here.nodes[0].gpu_memory
        if size is None:
            raise PlanError("--gpus needs --gpu-memory where no GPU is: as --gpu-memory 24GiB")
    else:
        try:
            size = parse_size(gpu_memory)
        except DeclarationError as error:
            raise PlanError(f"--gpu-memory {error}, got {gpu_memory!r}: as in 24GiB") from error
    return Cluster((Node(cpu=_MANY, gpu=gpus or 1, gpu_memory=size),))
