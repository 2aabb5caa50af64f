"""A study and the facts of a cluster, decided into a plan that can be printed. Nothing is started here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from raytune_suite import resources
from raytune_suite.errors import PlanError
from raytune_suite.resources import Cluster, Request

if TYPE_CHECKING:
    from pathlib import Path

    from raytune_suite.study import Study

WASTE = 0.1
"""A share that leaves more of every GPU idle than this is worth a line."""


@dataclass(frozen=True)
class Plan:
    """What a run will do, before it does it.

    ``num_trials`` is what will be made: fewer than asked for where the space has fewer points.
    ``earliest_stop`` is the first iteration after which the scheduler may stop a trial; None if it never does.
    ``earlier`` says what other experiments give to the searcher.
    """

    study: Study
    cluster: Cluster
    request: Request
    slots: int
    rungs: tuple[int, ...]
    num_trials: int
    grid_points: int | None
    earliest_stop: int | None
    folder: Path
    scheduler: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The plan in a few lines, as ``check`` and ``run`` print it."""
        rows = [
            ("study", f"{self.study.name}: {self.study.mode} {self.study.metric}, seed {self.study.seed}"),
            ("search", self._search()),
            *zip(("from", *[""] * len(self.earlier)), self.earlier, strict=False),
            *zip(("scheduler", *[""] * len(self.scheduler)), self._scheduler(), strict=False),
            ("slots", self._slots()),
            ("a trial", self._trial()),
            *([("repeats", self._repeats())] if self.study.repeats > 1 else []),
            ("cluster", self.cluster.describe()),
            ("folder", str(self.folder)),
            *(("note", note) for note in self.notes()),
        ]
        return [f"{name:<10} {text}" for name, text in rows]

    def notes(self) -> list[str]:
        """What deserves a second look, though nothing is wrong."""
        return [note for note in (self._wasted(), self._cpu_torch(), self._single_wave(), _uv_run()) if note]

    def _search(self) -> str:
        trials = f"{self.study.search.name}, {self.num_trials} trial{'s' if self.num_trials != 1 else ''}"
        if self.grid_points is not None:
            trials += f" of a grid of {self.grid_points} points"
        elif self.study.num_trials is not None and self.num_trials < self.study.num_trials:
            trials += f" (the space has no more points; {self.study.num_trials} were asked for)"
        return f"{trials}, at most {self.study.max_iterations} iterations each"

    def _scheduler(self) -> list[str]:
        lines = [*self.scheduler] or [self.study.scheduler.name]
        if self.earliest_stop is not None and not any("earliest stop" in line for line in lines):
            lines[0] += f"; earliest stop after iteration {self.earliest_stop}"
        return lines

    def _slots(self) -> str:
        text = f"{self.slots} trial{'s' if self.slots != 1 else ''} at once"
        ceiling = self.study.max_concurrent
        if ceiling is not None and ceiling <= self.slots:
            return f"{text} (max_concurrent)"
        idle = resources.left_over(self.request, self.cluster)
        return text + (f", idle: {', '.join(f'{n:g} {kind}' for kind, n in idle.items())}" if idle else "")

    def _trial(self) -> str:
        threads = f"{self.request.threads} torch thread{'s' if self.request.threads != 1 else ''}"
        asked = self.study.resources
        if isinstance(asked, str):
            return f"{self.request.describe()}, {threads} (by {asked}, for the default configuration)"
        if asked.gpu == "auto" and asked.trials_per_gpu is None:
            return f"{self.request.describe()}, {threads} ({self._auto()})"
        return f"{self.request.describe()}, {threads}"

    def _repeats(self) -> str:
        return f"{self.study.repeats} trainings of each configuration, side by side in a trial's process and memory"

    def _auto(self) -> str:
        return "gpu: auto = one whole GPU each" if self.request.gpu else "gpu: auto = CPU, no GPU here"

    def _wasted(self) -> str:
        gpu = self.request.gpu
        together = int(1 / gpu + 1e-9) if 0 < gpu < 1 else 0
        if not together or 1 - together * gpu <= WASTE:
            return ""
        trials = f"{together} trial{'s' if together > 1 else ''} of {gpu:g} GPU"
        way_out = f"trials_per_gpu: {together} or {together + 1} uses it whole"
        return f"{trials} leave {1 - together * gpu:.0%} of every GPU idle: {way_out}"

    def _cpu_torch(self) -> str:
        try:
            torch = version("torch")
        except PackageNotFoundError:
            return ""
        if self.request.gpu and torch.endswith("+cpu"):
            return f"torch {torch} is built for CPU only: the GPU would stay unused; install a CUDA build"
        return ""

    def _single_wave(self) -> str:
        if self.study.search.name != "bayesian" or self.slots < self.num_trials or self.num_trials == 1:
            return ""
        return "all trials start at once, so the searcher learns nothing in between: lower max_concurrent"


def make(study: Study, cluster: Cluster) -> Plan:
    """Decide how ``study`` runs on ``cluster``.

    Raises:
        PlanError: the request fits no node, or the scheduler's options cannot work.
    """
    from raytune_suite import schedulers

    if problems := schedulers.check(study):
        raise PlanError("\n".join(["the study cannot run as it is:", *(f"  - {p}" for p in problems)]))
    request = resources.request(study, cluster)
    slots = resources.slots(request, cluster, study.max_concurrent)
    rungs = schedulers.rungs(study)
    trials, grid = _trials(study)
    return Plan(
        study=study,
        cluster=cluster,
        request=request,
        slots=min(slots, max(trials, 1)),
        rungs=tuple(rungs),
        num_trials=trials,
        grid_points=grid,
        earliest_stop=min(rungs, default=None),
        folder=study.folder,
        scheduler=tuple(schedulers.describe(study)),
    )


def _uv_run(environ: Mapping[str, str] = os.environ) -> str:
    if "UV_RUN_RECURSION_DEPTH" not in environ or environ.get("RAY_ENABLE_UV_RUN_RUNTIME_ENV") == "0":
        return ""
    return "under uv run Ray's workers run in an environment of uv's making: see docs/cluster.md for the way out"


def _trials(study: Study) -> tuple[int, int | None]:
    """How many trials there will be, and the number of points of a grid."""
    from raytune_suite import search

    if study.search.name == "grid":
        total = search.build(study).total or 0
        return (total if study.num_trials is None else min(total, study.num_trials)), _grid_points(study, total)
    asked = study.num_trials or 0
    size = study.search_space.size()
    return (asked if size is None else min(asked, size)), None


def _grid_points(study: Study, total: int) -> int:
    size = study.search_space.size()
    return total if size is None else size
