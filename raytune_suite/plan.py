"""A study and the facts of a cluster, decided into a plan that can be printed. Nothing is started here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Protocol

from raytune_suite import resources, shares
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
    ``earlier`` says what other experiments give to the searcher, ``forecast`` what ``gpu: auto`` became.
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
    forecast: str = ""

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
            *zip(("gpus", *[""] * len(self.cluster.kinds)), self._gpus(), strict=False),
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
        if asked.gpu_memory is not None:
            need = f"{shares.gib(asked.gpu_memory)} and {shares.gib(shares.CONTEXT)} for its CUDA context"
            return f"{self.request.describe()}, {threads} ({need})"
        if asked.trials_per_gpu == "auto" and self.request.gpu:
            return f"{self.request.describe()}, {threads} (alone at first, then as many as get most done together)"
        if asked.gpu == "auto" and asked.trials_per_gpu in (None, "auto"):
            return f"{self.request.describe()}, {threads} ({self._auto()})"
        return f"{self.request.describe()}, {threads}"

    def _repeats(self) -> str:
        return f"{self.study.repeats} trainings of each configuration, side by side in a trial's process and memory"

    def _auto(self) -> str:
        if not self.request.gpu:
            return "gpu: auto = CPU, no GPU here"
        return self.forecast or "gpu: auto = one whole GPU each"

    def _gpus(self) -> list[str]:
        """A line for each kind of GPU: what a trial gets there, and what no trial can use."""
        gpu, lines = self.request.gpu, []
        for kind in self.cluster.kinds:
            if self.request.accelerator_type not in (None, kind.accelerator_type) or not gpu:
                lines.append(f"{kind.describe()}: not used")
                continue
            trials = shares.trials_on_one(gpu) if gpu < 1 else 1
            text = f"{kind.describe()}: {trials} trial{'s' if trials > 1 else ''} on "
            text += "each" if gpu <= 1 else f"every {gpu:g}"
            if kind.memory:
                text += f", {shares.gib(shares.allocatable(gpu, kind.memory))} for the tensors of one"
                left = (1 - trials * gpu) * kind.memory if gpu < 1 else 0
                text += f", {shares.gib(left)} left over" if left > kind.memory / 1000 else ""
            lines.append(text)
        return lines

    def _wasted(self) -> str:
        wasteful = not resources.is_auto(self.study) and _idle(self.request) > WASTE
        return _waste(self.request) if wasteful else ""

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


class Foreseen(Protocol):
    """What a typical trial allocates on a GPU, in bytes; None if nobody can say. ``text``: the same in words."""

    @property
    def bytes(self) -> int | None:
        """Bytes of its tensors."""
        ...

    @property
    def text(self) -> str:
        """For the plan."""
        ...


def make(study: Study, cluster: Cluster, foreseen: Foreseen | None = None) -> Plan:
    """Decide how ``study`` runs on ``cluster``; ``foreseen``: what ``gpu: auto`` goes by.

    Raises:
        PlanError: the request fits no node or wastes too much of each GPU, or the scheduler's options cannot work.
    """
    from raytune_suite import schedulers

    if problems := schedulers.check(study):
        raise PlanError("\n".join(["the study cannot run as it is:", *(f"  - {p}" for p in problems)]))
    request = resources.request(study, cluster, forecast=foreseen.bytes if foreseen is not None else None)
    refuse_waste(study, request)
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
        forecast=foreseen.text if foreseen is not None else "",
    )


def _idle(request: Request) -> float:
    """The part of every GPU that equal shares leave over."""
    return 1 - shares.trials_on_one(request.gpu) * request.gpu if 0 < request.gpu < 1 else 0.0


def _waste(request: Request) -> str:
    together = shares.trials_on_one(request.gpu)
    trials = f"{together} trial{'s' if together > 1 else ''} of {request.gpu:g} GPU"
    way_out = f"trials_per_gpu: {together} or {together + 1} uses it whole"
    return f"{trials} leave{'' if together > 1 else 's'} {_idle(request):.0%} of every GPU idle: {way_out}"


def refuse_waste(study: Study, request: Request) -> None:
    """Raise PlanError if equal shares leave more of a GPU idle than the study allows."""
    asked = study.resources
    if not isinstance(asked, str) and asked.gpu != "auto" and _idle(request) > asked.max_waste + 1e-3:
        rule = f"max_waste is {asked.max_waste:g}; resources: {{max_waste: 1}} allows it"
        raise PlanError(f"{_waste(request)} ({rule})")


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
