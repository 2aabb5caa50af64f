"""A study in virtual time: Ray Tune's controller, the real scheduler, the real searcher; a model plays the trials.

The model is an earlier experiment: a simulated trial follows the curve of a recorded one whose configuration is near.
Curves that ended early are carried on by what those that went on did from there; for a searcher that learns, the new
trial is as far off the trend over the space as the recorded one (``trend.py``). What comes out is how much a study
would train and how long it would take, and which early stopping would be the best here, as intervals over replications
that differ in their seed. Not counted are the starting of workers and the searcher's thinking.
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
import numpy.typing as npt

from raytune_suite import foreseen, formats, plan, ray_runtime, schedulers, search
from raytune_suite.driver import Driver
from raytune_suite.errors import ExperimentError, PlanError
from raytune_suite.judging import judging
from raytune_suite.pace import Pace
from raytune_suite.record import Record
from raytune_suite.resources import Cluster, Request
from raytune_suite.states import State
from raytune_suite.stoppers import Stoppers
from raytune_suite.study import Study
from raytune_suite.trend import FEWEST, Trend

if TYPE_CHECKING:
    from raytune_suite.engine.virtual import Model, VirtualWorkers
    from raytune_suite.schedulers.core import Scheduler

NEAR = 5
SUPPORTED = ("fifo", "asha", "median", "hyperband")

Array = npt.NDArray[np.float64]


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


class Recorded:
    """Plays trials after those of an earlier experiment; ``seed`` decides which of the near ones a trial follows."""

    def __init__(self, study: Study, record: Record, seed: int = 0) -> None:
        trials = [t for t in record.trials.values() if _curve(t.reports, study.metric)]
        if len(trials) < NEAR:
            raise ExperimentError(f"{record.name} has {len(trials)} trials with a curve: {NEAR} are needed")
        self._space, self._seed = study.search_space, seed
        known = set(self._space.names)
        self._units = np.array([self._unit({k: v for k, v in t.point.items() if k in known}) for t in trials])
        curves = [_curve(t.reports, study.metric) for t in trials]
        self._curves = carried_on(curves, max(study.max_iterations, max(map(len, curves))))
        self._pace = Pace.of(trials)
        self._follows: dict[str, int] = {}
        self._played: dict[str, Array] = {}
        ahead = len(trials) >= FEWEST and search.learns(study.search.name, study.project)
        self._trend = Trend(self._units, self._curves) if ahead else None

    def _unit(self, point: Mapping[str, Any]) -> Array:
        unit: Array = np.nan_to_num(np.asarray(self._space.to_unit(point), dtype=float), nan=0.5)
        return unit

    def begin(self, trial_id: str, config: Mapping[str, Any]) -> None:
        """Choose the recorded trial that this one follows, the nearer the likelier; a trial that goes on keeps it."""
        if trial_id in self._follows:
            return
        unit = self._unit(self._space.point(dict(config)))
        distance = np.sqrt(np.square(self._units - unit).sum(axis=1))
        near = np.argsort(distance, kind="stable")[:NEAR]
        weights = 1.0 / (distance[near] + 1e-3)
        rng = np.random.default_rng([self._seed, int(trial_id)])
        followed = self._follows[trial_id] = int(rng.choice(near, p=weights / weights.sum()))
        self._played[trial_id] = self._curves[followed] if self._trend is None else self._trend.curve(unit, followed)

    def step(self, trial_id: str, iteration: int) -> tuple[float, float]:
        """See :class:`raytune_suite.engine.virtual.Model`."""
        followed = self._follows[trial_id]
        beside = self._pace.beside if iteration == 1 else 0.0
        return float(self._played[trial_id][iteration - 1]), self._pace.seconds[followed] + beside


def carried_on(curves: Sequence[Sequence[float]], length: int) -> Array:
    """Curves of one ``length``: each that ended before goes on by the median step of those that did not.

    Of those, the half that stood nearest to it where it ended count. Shape (curves, ``length``).
    """
    table = np.full((len(curves), length), np.nan)
    for curve, own in zip(curves, table, strict=True):
        own[: len(curve)] = curve[:length]
    for at in range(1, length):
        here, before = table[:, at], table[:, at - 1]
        went_on = np.flatnonzero(~np.isnan(here))
        for row in np.flatnonzero(np.isnan(here)):
            if not len(went_on):
                table[row, at] = before[row]
                continue
            nearest = went_on[np.argsort(np.abs(before[went_on] - before[row]), kind="stable")]
            alike = nearest[: max(1, len(nearest) // 2)]
            table[row, at] = before[row] + np.median(table[alike, at] - before[alike])
    return table


def _curve(reports: Sequence[Any], metric: str) -> list[float]:
    """The metric at iterations 1, 2, ..., a missing value taken from before it; up to the first that is not finite."""
    values: list[float] = []
    for report in reports:
        value = report.metrics.get(metric, values[-1] if values else None)
        if not isinstance(value, (int, float)) or not np.isfinite(value):
            break
        values += [float(value)] * max(0, report.iteration - len(values))
    return values


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
        PlanError: the study's scheduler moves checkpoints between trials, which no model can play.
        OutOfTimeError: it was not over at ``until``.
    """
    if study.scheduler.name not in SUPPORTED:
        raise PlanError(f"{study.scheduler.name} cannot be simulated: choose one of {', '.join(SUPPORTED)}")
    from raytune_suite.engine.virtual import VirtualWorkers

    with ray_runtime.environment(), tempfile.TemporaryDirectory(prefix="rv-") as folder:
        scheduler = schedulers.build(study)
        if scheduler.pauses:
            os.environ.pop("TUNE_RESULT_BUFFER_LENGTH", None)
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots + 1)
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
    trials = adapters.SearchAdapter(driver, hosted, Path(folder), lambda: workers.slots, lambda *_: asks)
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
    counted = [*scheduler.rungs, study.max_iterations]
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
        PlanError: that is the first one.
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
            raise PlanError(
                f"{formats.number(budget_s)} s are too few to play {once}: {cut}. Give it more with --budget, "
                f"or play fewer trials (--set num_trials=...) or a quicker searcher (--set search=random)"
            ) from None


@dataclass(frozen=True)
class Terms:
    """How a forecast is made: ``count`` replications on ``slots`` (None: as many as fit here), those done within
    ``budget_s`` seconds, at a ``price`` per GPU-hour (per CPU-hour for trials without a GPU; None: not asked)."""

    count: int = 20
    slots: int | None = None
    budget_s: float = 60.0
    price: float | None = None


def forecast(study: Study, after: Path, names: Sequence[str], terms: Terms, keep: Path | None = None) -> Iterator[str]:
    """Play the study, and again under each scheduler of ``names``; yields a table, line by line.

    ``keep``: the folder in which the intervals of the study itself are kept, to be compared with what comes.

    Raises:
        PlanError: one of the schedulers cannot be played, or not within the budget, or a trial fits nowhere.
        StudyError: one of them cannot run this study.
        ExperimentError: ``after`` is no experiment, or has too few curves.
    """
    from raytune_suite.analysis import load

    record = load(after).record
    given = study.model_dump(by_alias=True, exclude_unset=True)
    studies = {study.scheduler.name: study}
    for name in names:
        if name not in studies:
            studies[name] = Study.from_dict({**given, "scheduler": name}, study.project)
    made = plan.make(study, Cluster.local())
    slots = terms.slots or made.slots
    yield f"{study.name}: {made.num_trials} trials on {formats.count(slots, 'slot')}, played after {record.name}"
    share = terms.budget_s / len(studies)
    columns = {name: list(replications(one, record, slots, terms.count, share)) for name, one in studies.items()}
    yield from table(study, columns, Bill(slots, made.request.gpu, made.request.cpu, terms.price))
    if any(len(played) < terms.count for played in columns.values()):
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
