"""Runs a study: the only place that starts Ray and hands the study to Ray Tune.

The order: the folder and its journal, Ray, the plan, the search, the held-out test of the winner and the default,
the end. Whatever stops it in between, the journal is closed and the folder is a readable experiment.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from raytune_suite import (
    __version__,
    copies,
    density,
    environment,
    final,
    lease,
    opening,
    plan,
    progress,
    ray_runtime,
    schedulers,
    search,
    stoppers,
    warmstart,
)
from raytune_suite.analysis import Experiment, load
from raytune_suite.checkpoints import TrialCheckpoints
from raytune_suite.driver import Driver
from raytune_suite.engine import choice, running
from raytune_suite.errors import EnvironmentMismatchError, RaytuneError
from raytune_suite.journal import Journal, read
from raytune_suite.judging import judging
from raytune_suite.logfile import written_to
from raytune_suite.memory.allotment import Allotment, allotment
from raytune_suite.mirror import Mirror
from raytune_suite.plan import Plan
from raytune_suite.record import Record
from raytune_suite.resolve import resolve
from raytune_suite.resources import Cluster, Request, asks_memory
from raytune_suite.retention import Retention
from raytune_suite.schedulers.core import Scheduler
from raytune_suite.search.core import Searcher
from raytune_suite.search.preparation import Preparation
from raytune_suite.search.suggestions import Background, Launch, at_once
from raytune_suite.signals import exit_code, handled
from raytune_suite.silence import Silence
from raytune_suite.slots import PackedSlots, Slots
from raytune_suite.states import State
from raytune_suite.study import Study
from raytune_suite.tensorboard import TensorBoardWriter

logger = logging.getLogger("raytune_suite")


@dataclass(frozen=True)
class Results:
    """What a run leaves: its folder, the experiment in it, which is read when asked for, and how the run ended."""

    folder: Path
    state: str
    exit_code: int

    @cached_property
    def experiment(self) -> Experiment:
        """The record, with tables and curves."""
        return load(self.folder)

    @property
    def best_config(self) -> dict[str, Any]:
        """The configuration of the best trial."""
        return self.experiment.best_config


def run(
    study: Study,
    *,
    address: str | None = None,
    verbosity: int = 0,
    console: Any = None,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    engine: str | None = None,
    copy_to: str | None = None,
) -> Results:
    """Run a study to its end and return what was found.

    ``address`` joins a running Ray cluster (``auto`` finds the one this machine belongs to); without it Ray is used
    if this process has started it, or else started here, on the loopback address, with ``num_cpus`` and ``num_gpus``
    as it finds them. ``verbosity``: -1 only the summary, 0 a line per trial or a live view, 1 workers' output too.
    ``engine``: ``pool`` keeps a few workers for all trials, ``tune`` leaves them to Ray Tune; None is what
    ``$RAYTUNE_ENGINE`` says, else the usual one. ``copy_to``: the URI of a copy, where the storage is a local folder.

    Raises a RaytuneError if the study cannot be started; a study that has started always returns.
    """
    folder, sources = opening.new_folder(study), warmstart.take(study)
    uri = study.remote or copy_to
    with lease.held(uri) as mine, ray_runtime.environment(address):
        if uri is not None:
            copies.must_be_new(uri)
        with Journal.create(folder) as journal:
            made = Run(study, folder, journal, verbosity, console, None, sources, engine, mine)
            return made.all(address, num_cpus, num_gpus)


class History(Protocol):
    """What earlier sessions of an experiment left, for :class:`Run` to go on from."""

    elapsed: float

    def restore(self, driver: Driver, record: Record) -> list[str]:
        """Bring driver and record to where the last session stopped; returns lines for the plan."""
        ...

    def settle(self, driver: Driver) -> None:
        """Finish what the last session had begun, now that a new one is on record."""
        ...


class Run:
    """One run of a study, first to last line; ``past``: what came before, ``sources``: what its searcher is given."""

    def __init__(
        self,
        study: Study,
        folder: Path,
        journal: Journal,
        verbosity: int,
        console: Any,
        past: History | None = None,
        sources: Sequence[warmstart.Source] = (),
        engine: str | None = None,
        mine: lease.Lease | None = None,
    ) -> None:
        self.study, self.folder, self.journal, self.past, self.lease = study, folder, journal, past, mine
        self.verbosity, self.console, self.sources = verbosity, console, sources
        self.scratch = folder / ".scratch"
        self.wanted, self.engine = engine, choice.USUAL
        self.allotment: Allotment | None = None

    def all(self, address: str | None, num_cpus: float | None, num_gpus: float | None) -> Results:
        """Start Ray where there is none, run, and leave no scratch files behind."""
        try:
            self.engine = choice.choose(self.wanted)
            if self.past is None:
                (self.folder / "study.yaml").write_text(self.study.dump())
            with (
                ray_runtime.connected(address, self.verbosity, num_cpus, num_gpus),
                written_to(self.folder / "driver.log"),
            ):
                return self._with_ray()
        except BaseException as error:
            if self.journal.seq == 0:
                self.journal.close()
                shutil.rmtree(self.folder, ignore_errors=True)
            elif not isinstance(error, RaytuneError):
                logger.exception("the run broke off")
            raise
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _with_ray(self) -> Results:
        cluster = Cluster.of_ray(gpu_memory=asks_memory(self.study))
        self.allotment = allotment(self.study, cluster)
        try:
            return self._with_shares(cluster)
        finally:
            if self.allotment is not None:
                self.allotment.close()

    def _with_shares(self, cluster: Cluster) -> Results:
        typical = None
        if self.allotment is not None:
            for event in read(self.folder) if self.past is not None else ():
                self.allotment.needs.apply(event)
            self.journal.subscribe(self.allotment.needs.apply)
            typical = self.allotment.typical()
        made = plan.make(self.study, cluster, typical)
        past = read(self.folder) if self.past is not None else ()
        self.density = density.of_study(self.study, made.request, cluster, past)
        if self.density is not None:
            self.journal.subscribe(self.density.apply)
        code = {"project": str(self.study.project), "trainable": self.study.trainable}
        below = running.engine(self.engine, Slots(made, None) if not self._packs else None, code)
        try:
            if not made.cluster.autoscaling:  # else as trials come, so that it grows no faster than they do
                below.begin(made.request, min(made.slots, made.num_trials))
            return self._run(made, below)
        finally:
            below.close()

    def _run(self, made: Plan, below: running.Engine) -> Results:
        logger.info("raytune_suite %s runs %s in %s", __version__, self.study.name, self.folder)
        searcher = search.build(self.study, [source.earlier for source in self.sources])
        made = replace(made, folder=self.folder, earlier=warmstart.lines(self.sources, searcher))
        scheduler, background = schedulers.build(self.study), Background("searcher")
        aside = searcher.learns or self.allotment is not None
        driver = self._driver(made, searcher, scheduler, background if aside else at_once)
        record = Record(keep_reports=False)
        restored = self.past.restore(driver, record) if self.past is not None else []
        view = progress.Progress(record, [*made.lines(), *restored], self.console, self.verbosity, folder=self.folder)
        board = TensorBoardWriter(self.folder, self.study)
        preparation = Preparation(searcher)
        retention = Retention(self.study, self.folder, record, population=scheduler.population is not None)
        copy = Mirror(self.lease.uri, self.folder, self.lease.check) if self.lease is not None else None
        for listener in (record.apply, board.apply, view.apply, preparation, retention):
            self.journal.subscribe(listener)
        if copy is not None:
            self.journal.subscribe(copy)
        try:
            self._announce(made)
            view.start()
            if self.past is not None:
                self.past.settle(driver)
                retention.take_over()
            with handled(driver):
                if not driver.finished:
                    self._search(driver, made, below)
            self._test(driver, record, made, below)
            for notice in retention.close():
                self._notice(notice)
            state, code = self._close(driver, record)
        finally:
            retention.close()
            preparation.close()
            background.close()
            board.close()
            view.stop()
            if copy is not None and self.lease is not None:
                hurried = driver.stopped is not None and driver.stopped.state is State.INTERRUPTED
                copy.finish(hurried=hurried)
                self.lease.patience_s = 0.2 if hurried else self.lease.patience_s
        if driver.error is not None and isinstance(driver.error, RaytuneError):
            raise driver.error
        self.journal.close()  # read while it is open, the experiment would still be running
        return Results(self.folder, state, code)

    def _driver(self, made: Plan, searcher: Searcher, scheduler: Scheduler, launch: Launch) -> Driver:
        return Driver(
            self.study,
            self.journal,
            searcher,
            scheduler,
            stoppers.Stoppers(self.study, elapsed_before=self.past.elapsed if self.past else 0.0),
            num_trials=made.num_trials,
            on_environment=_Comparison(self.study),
            launch=launch,
            allotment=self.allotment,
        )

    def _notice(self, text: str) -> None:
        logger.warning(text)
        self.journal.append("notice", text=text)

    def _announce(self, made: Plan) -> None:
        if self.past is None:
            opening.announce_experiment(self.journal, self.study, made)
            for source in self.sources:
                self.journal.append("earlier", **source.event())
        opening.announce_session(self.journal, self.study, made)

    def _search(self, driver: Driver, made: Plan, below: running.Engine) -> None:
        """Let Ray Tune run the trials; returns when all have ended or the study was stopped."""
        from ray import tune

        from raytune_suite import adapters, asking, callbacks
        from raytune_suite.worker import worker_class

        scheduler = driver.scheduler
        if scheduler.pauses:
            os.environ.pop("TUNE_RESULT_BUFFER_LENGTH", None)  # every result must be judged before the next
        waiting = max(made.slots, scheduler.population or 0) + 1
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(waiting + below.ahead)
        inbox: dict[str, Any] = {}
        silence = Silence(self.study.stop.step_time)
        self.journal.subscribe(silence)
        # Population based training may clone any checkpoint of any trial, so all are kept until the end.
        worker = worker_class(self._settings(scheduler))
        resources = asking.Asking(self.study, made.cluster, self.allotment, self.density, self.journal)
        driver.most_memory, driver.kills = resources.most_memory, resources.kills
        with below.in_place(worker, scheduler, driver.searcher.learns, self.journal):
            trials = adapters.SearchAdapter(driver, worker, self.folder, lambda: slots() + below.more(), resources)
            slots = self._slots(made, scheduler, trials.requests)
            try:
                tune.run(
                    worker,
                    name="tune",
                    storage_path=str(self.scratch),
                    search_alg=trials,
                    scheduler=adapters.SchedulerAdapter(driver, scheduler, inbox),
                    stop=adapters.StopAdapter(driver, inbox, trials.end_workers),
                    callbacks=[
                        callbacks.StartCallback(driver),
                        callbacks.SilenceCallback(silence, self._notice),
                        *(self._callbacks() or callbacks.forgetting(scheduler)),
                    ],
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    reuse_actors=below.reuses,
                    raise_on_failed_trial=False,
                    verbose=0,
                )
            except Exception as error:
                logger.exception("Ray Tune's loop broke off")
                driver.fail(error)
            trials.close()
        driver.abandon_live()
        if not driver.stopping or (driver.stopped is not None and driver.stopped.state is State.STOPPED):
            self._prune(scheduler.keeps(self.study.checkpoint.keep) != list(self.study.checkpoint.keep))
        if self.journal.failure is None:
            self.journal.sync()

    @property
    def _packs(self) -> bool:
        """Whether trials may ask for different shares of a GPU."""
        return self.allotment is not None or self.density is not None

    def _slots(self, made: Plan, scheduler: Scheduler, asked: Callable[[], Sequence[Request]]) -> Callable[[], int]:
        if not self._packs or scheduler.population:
            return Slots(made, scheduler.population)
        return PackedSlots(made, asked)

    def _prune(self, kept_all: bool) -> None:
        folders = (self.folder / "checkpoints").glob("*") if kept_all else ()
        for folder in folders:
            TrialCheckpoints(folder, self.study.checkpoint.keep, self.study.mode).prune()

    def _settings(self, scheduler: Scheduler) -> dict[str, Any]:
        """What a worker must know about the study, as plain values."""
        study = self.study
        return {
            "project": str(study.project),
            "trainable": study.trainable,
            "folder": str(self.folder),
            "scratch": str(self.scratch),
            "data_dir": str(data_dir()),
            "seed": study.seed,
            "repeats": study.repeats,
            "checkpoint_every": study.checkpoint.every,
            "keep": scheduler.keeps(study.checkpoint.keep),
            "trial_time": study.stop.trial_time,
            "step_time": study.stop.step_time,
            **judging(study, scheduler),
        }

    def _callbacks(self) -> list[Any]:
        found = []
        for spec in self.study.callbacks:
            made = resolve(spec, self.study.project)
            found.append(made() if isinstance(made, type) else made)
        return found

    def _test(self, driver: Driver, record: Record, made: Plan, below: running.Engine) -> None:
        """The held-out evaluation of the winner and of the default, if the study ended in order."""
        if driver.error is not None or (driver.stopped and driver.stopped.state is State.INTERRUPTED):
            return
        settings = self._settings(driver.scheduler)
        asks = (lambda _: made.request) if self.allotment is None else self.allotment.request
        for number, metrics in final.test(settings, record, asks, below.run):
            self.journal.append("test", number=number, metrics=metrics)

    def _close(self, driver: Driver, record: Record) -> tuple[str, int]:
        reason = driver.stopped.text if driver.stopped is not None else None
        state, code = "finished", 0 if record.best() is not None else 1
        if driver.error is not None:
            state, code, reason = "failed", 2, str(driver.error)
        elif driver.stopped is not None and driver.stopped.state is State.INTERRUPTED:
            state, code = "interrupted", exit_code(driver.stopped.text)
        self.journal.append("close", state=state, reason=reason, exit_code=code)
        self.journal.sync()
        return state, code


class _Comparison:
    """Compares each environment a worker reports with the driver's own, as the study's policy says."""

    def __init__(self, study: Study) -> None:
        self._policy = study.environment.policy
        self._own = environment.capture(study.project)

    def __call__(self, facts: dict[str, Any]) -> None:
        if self._policy == "ignore" or not (found := environment.compare(self._own, facts)):
            return
        table = environment.table(found)
        if self._policy == "strict":
            raise EnvironmentMismatchError(f"a worker's environment differs from the driver's:\n{table}")
        sys.stderr.write(f"A worker's environment differs from the driver's:\n{table}\n")


def data_dir() -> Path:
    """Where prepared data is kept on each node: ``$RAYTUNE_DATA_DIR``, or a folder in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("RAYTUNE_DATA_DIR") or Path(cache) / "raytune_suite")
