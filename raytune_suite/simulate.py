"""A study in virtual time: Ray Tune's controller, the real scheduler, the real searcher; a model plays the trials.

The model is an earlier experiment (``recorded.py``). What comes out is how much a study would train and how long it
would take, and which early stopping would be the best here, as intervals over replications that differ in their seed.
Not counted are the starting of workers and the searcher's thinking.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from raytune_suite import foreseen, formats, plan, ray_runtime, schedulers, search
from raytune_suite.driver import Driver
from raytune_suite.errors import PlanError, StudyError
from raytune_suite.judging import judging
from raytune_suite.logfile import written_to
from raytune_suite.record import Record
from raytune_suite.recorded import Recorded, reservations
from raytune_suite.resources import Cluster, Request
from raytune_suite.states import State
from raytune_suite.stoppers import Stoppers
from raytune_suite.study import Study

if TYPE_CHECKING:
    from raytune_suite.engine.virtual import Model, VirtualWorkers
    from raytune_suite.schedulers.core import Scheduler

SUPPORTED = ("fifo", "asha", "median", "hyperband", "pbt", "pb2")


@dataclass(frozen=True)
class Played:
    """One replication: what a study would have done."""

    trials: int
    epochs: int
    wall_s: float
    trained_s: float
    best: float | None
    reached: bool
    rungs: dict[int, int]


class Memory:
    """A journal that is not written down: what happens, at virtual times; ``events`` if it is to be kept."""

    def __init__(self, clock: Callable[[], float], record: Record, events: list[dict[str, Any]] | None = None) -> None:
        self._record, self._events, self._clock, self._seq = record, events, clock, 0

    def append(self, kind: str, **fields: Any) -> int:
        """Fold one event."""
        self._seq += 1
        event = {"event": kind, "seq": self._seq, "time": self._clock(), **fields}
        self._record.apply(event)
        if self._events is not None:
            self._events.append(event)
        return self._seq


class OutOfTimeError(PlanError):
    """A replication was ended before its study was, since the time given for it was over."""


def must_be_supported(study: Study) -> None:
    """Raise PlanError if nobody knows what the study's scheduler asks of trials."""
    if study.scheduler.name not in SUPPORTED:
        raise PlanError(f"{study.scheduler.name} cannot be simulated: choose one of {', '.join(SUPPORTED)}")


def play(study: Study, model: Model, slots: int, until: float = math.inf) -> Played:
    """One replication of a study on so many slots, with a searcher that spares time; raises as :func:`course` does."""
    record = Record(keep_reports=False)
    workers, scheduler = course(study, model, slots, record, spare=True, until=until)
    return _played(study, record, scheduler, workers)


def course(
    study: Study,
    model: Model,
    slots: int,
    record: Record,
    events: list[dict[str, Any]] | None = None,
    *,
    spare: bool = False,
    until: float = math.inf,
) -> tuple[VirtualWorkers, Scheduler]:
    """Let a study take its course in virtual time; ``record``, and ``events`` if given, tell what happened.

    ``spare``: whether suggestions may be made in less time than in earnest, ``until``: when it is ended.

    Raises:
        PlanError: the study's scheduler is none of the suite's, or virtual time cannot be had with this Ray.
        OutOfTimeError: it was not over at ``until``.
    """
    must_be_supported(study)
    from raytune_suite.engine.seam import virtual_differences
    from raytune_suite.engine.virtual import VirtualWorkers

    if found := virtual_differences():
        raise PlanError(f"this version of Ray differs, so that nothing can be simulated with it: {found[0]}")
    with (
        ray_runtime.environment(),
        tempfile.TemporaryDirectory(prefix="rv-") as folder,
        written_to(Path(folder) / "driver.log"),
    ):
        scheduler = schedulers.build(study)
        if scheduler.pauses:
            os.environ.pop("TUNE_RESULT_BUFFER_LENGTH", None)
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(slots, scheduler.population or 0) + 1)
        workers = VirtualWorkers(model, slots, judging(study, scheduler))
        log = Memory(workers.clock, record, events)
        log.append("experiment", name=study.name, metric=study.metric, mode=study.mode, seed=study.seed)
        planned = plan.make(study, Cluster.local()).num_trials
        stop = Stoppers(study, workers.clock)
        searcher = search.build(study)
        if spare:
            searcher.spare()
        driver = Driver(study, log, searcher, scheduler, stop, num_trials=planned)
        over = _run(driver, scheduler, workers, folder, until)
    if driver.error is not None:
        raise driver.error
    if not over:
        raise OutOfTimeError(f"ended after {len(record.trials)} of {formats.count(planned or 0, 'trial')}")
    return workers, scheduler


def _run(driver: Driver, scheduler: Scheduler, workers: VirtualWorkers, folder: str, until: float) -> bool:
    """Returns whether the study was over at ``until``."""
    from raytune_suite import adapters, callbacks
    from raytune_suite.engine import lean, seam
    from raytune_suite.engine.pool import Pool
    from raytune_suite.engine.slots import Limits
    from raytune_suite.worker import worker_class

    hosted = worker_class(workers.settings)
    hosted.pooled = staticmethod(lean.maker({}))  # type: ignore[attr-defined]
    asks = adapters.Asks(Request(cpu=1), ray_runtime.placement(Request(cpu=1)))
    slots = max(workers.slots, scheduler.population or 0)
    trials = adapters.SearchAdapter(driver, hosted, Path(folder), lambda: slots, lambda *_: asks)
    inbox: dict[str, Any] = {}
    with seam.without_ray(folder), seam.installed(lambda: Pool(workers, Limits())):
        controller = seam.controller(
            folder,
            search_alg=trials,
            scheduler=adapters.SchedulerAdapter(driver, scheduler, inbox),
            stopper=adapters.StopAdapter(driver, inbox, lambda: None),
            callbacks=[callbacks.StartCallback(driver), *callbacks.forgetting(scheduler)],
        )
        while not controller.is_finished():
            if time.monotonic() > until:
                return False
            controller.step()
        controller.cleanup()
    return True


def _played(study: Study, record: Record, scheduler: Scheduler, workers: VirtualWorkers) -> Played:
    trials = [trial for trial in record.trials.values() if trial.state is not State.INTERRUPTED]
    winner = record.best()
    best = winner.best() if winner is not None else None
    counted = [*(scheduler.rungs if scheduler.population is None else ()), study.max_iterations]
    return Played(
        trials=len(trials),
        epochs=sum(trial.iteration for trial in trials),
        wall_s=workers.now,
        trained_s=workers.trained_s,
        best=best.value if best is not None else None,
        reached=best is not None and _reaches(study, best.value),
        rungs={rung: sum(trial.iteration >= rung for trial in trials) for rung in counted},
    )


def _reaches(study: Study, value: float) -> bool:
    target = study.stop.target
    return target is not None and (value <= target if study.mode == "min" else value >= target)


def replications(study: Study, record: Record, slots: int, count: int, budget_s: float) -> Iterator[Played]:
    """Play the study again and again, with seeds from its own on, until ``count`` are done or the budget is spent.

    The replication in which it is spent is left out.

    Raises:
        OutOfTimeError: that is the first one.
    """
    until, changed = time.monotonic() + budget_s, study.model_dump(by_alias=True, exclude_unset=True)
    for number in range(count):
        again = Study.from_dict({**changed, "seed": study.seed + number}, study.project)
        try:
            yield play(again, Recorded(again, record, seed=again.seed), slots, until)
        except OutOfTimeError as cut:
            if number:
                return
            once = f"{study.name} once under {study.scheduler.name}"
            learns = search.learns(study.search.name, study.project)
            quicker = " or a quicker searcher (--set search=random)" if learns else ""
            raise OutOfTimeError(
                f"{formats.number(budget_s)} s are too few to play {once}: {cut}. Give it more with --budget, "
                f"or play fewer trials (--set num_trials=...){quicker}"
            ) from None


@dataclass(frozen=True)
class Terms:
    """How a forecast is made: ``count`` replications on ``slots`` (None: as many as fit here), those done within
    ``budget_s`` seconds, at a ``price`` per GPU-hour (per CPU-hour for trials without a GPU; None: not asked)."""

    count: int = 20
    slots: int | None = None
    budget_s: float = 60.0
    price: float | None = None


def variants(study: Study, names: Sequence[str]) -> dict[str, Study]:
    """The study itself, and again under each scheduler of ``names``, by the scheduler's name.

    Raises:
        PlanError: one of the schedulers cannot be played.
        StudyError: one of them cannot run this study.
    """
    given = study.model_dump(by_alias=True, exclude_unset=True)
    found = {study.scheduler.name: study}
    for name in names:
        if name not in found:
            found[name] = Study.from_dict({**given, "scheduler": name}, study.project)
    for name, one in found.items():
        if problems := schedulers.check(one):
            raise StudyError(problems, f"{study.name} under {name}")
        must_be_supported(one)
    return found


def forecast(
    study: Study, after: Path, played: Mapping[str, Study], terms: Terms, keep: Path | None = None
) -> Iterator[str]:
    """Play the study's :func:`variants`; yields a table, line by line.

    ``keep``: the folder in which the intervals of the study itself are kept, to be compared with what comes.

    Raises:
        PlanError: the study cannot be played within the budget, or a trial fits nowhere.
        ExperimentError: ``after`` is no experiment, is one of another space, or has too few curves.
    """
    from raytune_suite.analysis import load

    record = load(after).record
    made = plan.make(study, Cluster.local())
    slots = terms.slots or made.slots
    yield f"{study.name}: {made.num_trials} trials on {formats.count(slots, 'slot')}, played after {record.name}"
    yield from reservations(study, record)
    columns, share = {}, terms.budget_s / len(played)
    for name, one in played.items():
        try:
            columns[name] = list(replications(one, record, slots, terms.count, share))
        except OutOfTimeError as error:
            if one is study:
                raise
            yield f"left out: {error}"
    yield from table(study, columns, Bill(slots, made.request.gpu, made.request.cpu, terms.price))
    if any(len(done) < terms.count for done in columns.values()):
        yield f"{formats.number(terms.budget_s)} s were too few for {terms.count} replications: --budget gives more"
    if keep is not None:
        own = columns[study.scheduler.name]
        walls, epochs = [one.wall_s for one in own], [float(one.epochs) for one in own]
        foreseen.write(keep, {"iterations": _bounds(epochs), "wall_s": _bounds(walls)})


@dataclass(frozen=True)
class Bill:
    """What is paid for: all ``slots`` from the beginning to the end, each with so much ``gpu`` and ``cpu``."""

    slots: int
    gpu: float
    cpu: float
    price: float | None = None

    def rows(self, columns: Mapping[str, Sequence[Played]]) -> Iterator[tuple[str, list[str]]]:
        """Hours of GPUs, or of CPUs where trials use none, and what they cost."""
        each, kind = (self.gpu, "GPU") if self.gpu else (self.cpu, "CPU")
        hours = [[one.wall_s / 3600 * self.slots * each for one in played] for played in columns.values()]
        yield f"{kind}-hours", [_interval(column) for column in hours]
        if self.price is not None:
            yield f"at {self.price:g} an hour", [_interval([h * self.price for h in column]) for column in hours]


def table(study: Study, columns: Mapping[str, Sequence[Played]], bill: Bill | None = None) -> Iterator[str]:
    """Medians over replications, and where four fifths of them lie."""
    rows: list[tuple[str, list[str]]] = [
        ("", list(columns)),
        ("replications", [str(len(played)) for played in columns.values()]),
        ("iterations", [_interval([p.epochs for p in played]) for played in columns.values()]),
        ("training", [_interval([p.trained_s for p in played], formats.duration) for played in columns.values()]),
        ("wall-clock", [_interval([p.wall_s for p in played], formats.duration) for played in columns.values()]),
        (
            f"best {study.metric}",
            [_interval([p.best for p in played if p.best is not None]) for played in columns.values()],
        ),
    ]
    rows += bill.rows(columns) if bill is not None else ()
    if study.stop.target is not None:
        shares = [sum(p.reached for p in played) / len(played) for played in columns.values()]
        rows.append((f"reaches {formats.number(study.stop.target)}", [f"{share:.0%}" for share in shares]))
    rows.append(("trials reaching", ["; ".join(_rungs(played)) for played in columns.values()]))
    name = max(len(title) for title, _ in rows)
    widths = [max(len(cells[at]) for _, cells in rows) for at in range(len(columns))]
    for title, cells in rows:
        yield "  ".join([title.ljust(name), *(cell.ljust(w) for cell, w in zip(cells, widths, strict=True))]).rstrip()


def _rungs(played: Sequence[Played]) -> list[str]:
    return [f"{rung}: {np.median([p.rungs[rung] for p in played]):g}" for rung in played[0].rungs]


def _interval(values: Sequence[float], show: Callable[[float], str] = formats.number) -> str:
    if not values:
        return "-"
    low, middle, high = _bounds(values)
    return f"{show(middle)} ({show(low)} to {show(high)})"


def _bounds(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = (float(value) for value in np.quantile(values, [0.1, 0.5, 0.9]))
    return low, middle, high
