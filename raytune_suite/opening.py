"""What a driver does first: finds its folder and project, and writes down what runs, where and as what."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from raytune_suite import __version__
from raytune_suite.closing import shown_path
from raytune_suite.errors import ExperimentError
from raytune_suite.journal import Journal
from raytune_suite.plan import Plan
from raytune_suite.resolve import find_project
from raytune_suite.study import Study


def new_folder(study: Study) -> Path:
    """Return the folder of a new experiment.

    Raises:
        ExperimentError: there is one of this name already; the text names both ways out.
    """
    folder = Path(study.folder)
    if folder.exists() and any(folder.iterdir()):
        raise ExperimentError(
            f"{folder} exists already and is never reused. Go on with it: raytune resume {shown_path(folder)}. "
            f"Or give the new one another name: raytune run STUDY --name {study.name}-2"
        )
    return folder


def announce_experiment(journal: Journal, study: Study, made: Plan) -> None:
    """Write the journal's first line: what is searched for."""
    journal.append(
        "experiment",
        version=1,
        name=study.name,
        study_sha256=study.sha256,
        metric=study.metric,
        mode=study.mode,
        seed=study.seed,
        num_trials=made.num_trials,
        max_iterations=study.max_iterations,
        space=study.search_space.describe(),
        constants=study.search_space.constants,
        suite=__version__,
    )


def announce_session(journal: Journal, study: Study, made: Plan) -> None:
    """Write that a driver starts, or starts again, and what it has to work with."""
    journal.append(
        "session",
        pid=os.getpid(),
        host=socket.gethostname(),
        slots=made.slots,
        gpus=sum(node.gpu for node in made.cluster.nodes),
        resources={
            "cpu": made.request.cpu,
            "gpu": made.request.gpu,
            "custom": dict(made.request.custom),
            "accelerator_type": made.request.accelerator_type,
        },
        rungs=list(made.rungs),
        plan=made.lines(),
        num_trials=study.num_trials,
        planned=made.num_trials,
        max_iterations=study.max_iterations,
        project=written_project(study.project, journal.folder),
        study_sha256=study.sha256,
    )


def written_project(project: Path, folder: Path) -> str:
    """Return the project as the journal keeps it: relative to an experiment that lies inside it."""
    project, folder = project.resolve(), folder.resolve()
    return os.path.relpath(project, folder) if folder.is_relative_to(project) else str(project)


def study_of(folder: Path, session: dict[str, Any], project: Path | None = None) -> Study:
    """Return the study of an experiment, its project found where the last session had it.

    Raises:
        ExperimentError: the study file is gone, or its code is nowhere to be found.
    """
    file = folder / "study.yaml"
    if not file.is_file():
        raise ExperimentError(f"{folder} has no study.yaml, so it cannot go on.")
    if project is not None:
        return Study.load(file, project)
    known = [folder / session["project"]] if session.get("project") else []
    study = Study.load(file, find_project(file))
    for candidate in (*known, find_project(file), Path.cwd()):
        if _has_code(candidate, study.trainable):
            return study.with_project(candidate)
    if (known and known[0].is_dir()) or not known:
        return study.with_project(known[0] if known else find_project(file))  # it may be an installed package
    raise ExperimentError(
        f"{study.trainable} was in {session['project']}, which is not there any more: say where the code is "
        f"with --project FOLDER."
    )


def _has_code(project: Path, trainable: str) -> bool:
    top = trainable.partition(":")[0].partition(".")[0]
    return (project / f"{top}.py").is_file() or (project / top).is_dir()
