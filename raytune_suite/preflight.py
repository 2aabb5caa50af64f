"""One real step of a study's trainable in a child process, before anything is started.

A crash, an exit or a hang of the user's code ends the child and is told like any other error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from raytune_suite import standalone
from raytune_suite.errors import Problem, is_all_said
from raytune_suite.hardware import DECLARED
from raytune_suite.metrics import Metric, check_report
from raytune_suite.seeds import repeat_seeds, trial_seed

if TYPE_CHECKING:
    from raytune_suite.study import Study

TIMEOUT = 300.0
_OWN = ("raytune_suite/preflight.py",)


@dataclass(frozen=True)
class StepReport:
    """What came of the step.

    Attributes:
        config: the configuration that was tried, nested.
        metrics: what the step reported, flat; empty if it failed.
        setup_seconds: what importing and building the trainable took.
        step_seconds: what the step itself took.
        error: the traceback (or what else is known) if the step failed, else None.
        problems: what is wrong with the study in the light of the report.
    """

    config: dict[str, Any]
    metrics: dict[str, Metric]
    setup_seconds: float = 0.0
    step_seconds: float = 0.0
    error: str | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the step worked and reported what the study needs."""
        return self.error is None and not self.problems


def try_step(study: Study, timeout: float = TIMEOUT) -> StepReport:
    """Train one step of the default configuration (or, without one, of the first that would be drawn).

    Args:
        study: what to try.
        timeout: seconds after which the child is killed, imports and preparing the data included.
    """
    config = first_config(study)
    with tempfile.TemporaryDirectory(prefix="raytune-step-") as folder:
        answer = _ask_child(_job(study, config, Path(folder)), Path(folder), timeout)
    if "wrong" in answer:
        return StepReport(config, {}, problems=(Problem("trainable", answer["wrong"]),))
    if "error" in answer:
        return StepReport(config, {}, error=answer["error"], problems=(_failed(study, answer["error"]),))
    metrics = answer["metrics"]
    problems = check_report(study, metrics) if metrics else [_nothing_reported(study)]
    problems += _too_slow(study, answer["step_seconds"])
    return StepReport(config, metrics, answer["setup_seconds"], answer["step_seconds"], None, tuple(problems))


def first_config(study: Study) -> dict[str, Any]:
    """Return the configuration of trial 0: the default, completed as the searcher completes it."""
    rng = np.random.default_rng(np.random.SeedSequence(study.seed, spawn_key=(0,)))
    space = study.search_space
    return space.config(space.complete(study.default or {}, rng))


def _job(study: Study, config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What the child must know, as plain values."""
    from raytune_suite.resources import Cluster, request

    needs = request(study, Cluster.local(), config)
    return {
        "trainable": study.trainable,
        "project": str(study.project),
        "folder": str(folder),
        "config": config,
        "trial_id": "00000",
        "number": 0,
        "seed": trial_seed(study.seed, 0),
        "repeat_seeds": repeat_seeds(study.seed, study.repeats),
        "cpus": needs.cpu,
        "gpu": 0.0 if os.environ.get(DECLARED) else needs.gpu,  # GPUs that are only said to be there train nothing
        "max_iterations": study.max_iterations,
        "metric": study.metric,
        "mode": study.mode,
    }


def _ask_child(job: dict[str, Any], folder: Path, limit: float) -> dict[str, Any]:
    """Run the step in a process group of its own; whatever happens becomes an answer."""
    (folder / "job.json").write_text(json.dumps(job))
    child = standalone.start("raytune_suite.preflight", folder, job["project"])
    try:
        code = child.wait(limit)
    except subprocess.TimeoutExpired:
        return {"error": f"the step did not end within {limit:g} s\n{standalone.printed(folder)}".rstrip()}
    finally:
        standalone.end_group(child)
    answer = folder / "answer.json"
    if answer.exists():
        return dict(json.loads(answer.read_text()))
    early = " before the step was done" if code >= 0 else ""
    return {"error": f"the process {standalone.ending(code)}{early}\n{standalone.printed(folder)}".rstrip()}


def _failed(study: Study, error: str) -> Problem:
    """The last line of a traceback is what people look for first."""
    lines = [line for line in error.splitlines() if line.strip()]
    last = lines[-1] if error.startswith("Traceback") else lines[0]
    return Problem("trainable", f"{study.trainable} failed: {last}")


def _nothing_reported(study: Study) -> Problem:
    fix = f"Report at least {study.metric}."
    return Problem("trainable", f"{study.trainable} ended without reporting a result", None, fix)


def _too_slow(study: Study, seconds: float) -> list[Problem]:
    limits = {"stop.step_time": study.stop.step_time, "stop.trial_time": study.stop.trial_time}
    fix = "Give it more time, or make a step smaller."
    return [
        Problem(where, f"one step took {seconds:.1f} s, no trial would get past it", limit, fix)
        for where, limit in limits.items()
        if limit is not None and seconds > limit
    ]


# --- in the child


def _child(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    try:
        answer = _step(job)
    except (Exception, SystemExit) as error:
        # what the suite refuses says all there is to say; a traceback of ours would only bury it
        answer = {"wrong": str(error)} if is_all_said(error) else {"error": standalone.user_trace(error, _OWN)}
    written = folder / "answer.part"
    written.write_text(json.dumps(answer))
    written.replace(folder / "answer.json")


def _step(job: Mapping[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    host = standalone.host(job)
    built = time.monotonic()
    metrics = host.step()
    ended = time.monotonic()
    host.close()
    return {"metrics": metrics, "setup_seconds": built - started, "step_seconds": ended - built}


if __name__ == "__main__":
    _child(Path(sys.argv[1]))
