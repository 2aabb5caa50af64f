"""The joints between Ray Tune's controller and the :class:`~raytune_suite.driver.Driver`.

Tune asks a ``SearchAlgorithm`` for trials, a ``TrialScheduler`` for decisions, a ``Stopper`` whether to end the
experiment, and tells a ``Callback`` what starts. All four are here and do nothing but translate.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search.search_algorithm import SearchAlgorithm
from ray.tune.stopper import Stopper

from raytune_suite.controller import Waiting
from raytune_suite.driver import Driver
from raytune_suite.failures import Failure, classify
from raytune_suite.live import CONTINUE, Given, NewTrial, Report
from raytune_suite.resources import Request
from raytune_suite.schedulers import Scheduler
from raytune_suite.worker import REPORT, TRAINING_ITERATION

_GRACE_S = 1.5  # `ray job stop` kills the driver 3 s after asking it to stop
_WAIT_S = 0.05  # of the loop for the searcher, when no trial runs


class Asks(NamedTuple):
    """What a trial asks for, and Ray's form of it."""

    needs: Request
    placement: Any


Resources = Callable[[dict[str, Any], Given], Asks]
"""What a configuration asks for, with what its trial was given beyond that."""


class SuiteTrial(Trial):  # type: ignore[misc]
    """Tune's trial, without what the suite does itself: state files, running statistics, registry look-ups.

    ``stub=True`` keeps Tune from asking the cluster's key-value store for the trainable, several round trips a trial.
    """

    def __init__(
        self, new: NewTrial, cls: type, driver: Driver, folder: Path, resources: Resources, **kwargs: Any
    ) -> None:
        self._resources, self._asks = resources, resources(new.config, new.given)
        placement = {"placement_group_factory": self._asks.placement, "_setup_default_resource": False}
        super().__init__("raytune", config=new.config, trial_id=new.trial_id, stub=True, **placement, **kwargs)
        self.number = new.number
        self.failure: Failure | None = None
        #: The last report that was decided upon, as a result.
        self.shown: dict[str, Any] = {}
        #: Why the driver has ended its worker.
        self.verdict: Failure | None = None
        self._worker_cls = cls
        self._driver = driver
        self._trial_dir = folder / "trials" / new.trial_id
        self.custom_dirname = new.trial_id

    def __hash__(self) -> int:
        return hash(self.trial_id)

    def __eq__(self, other: object) -> bool:
        """By id: a scheduler may know the trial from an earlier session, through a stand-in."""
        return self is other or getattr(other, "trial_id", None) == self.trial_id

    def __str__(self) -> str:
        """As schedulers write it down."""
        return str(self.trial_id)

    def get_trainable_cls(self) -> type:
        """The worker class, known without asking anyone."""
        return self._worker_cls

    @property
    def latest_checkpoint_result(self) -> Any:
        """What Tune has a worker load; under promotion nothing: the worker goes on from the trial's last checkpoint."""
        return None if self._driver.scheduler.promotes else super().latest_checkpoint_result

    def handle_error(self, exc: BaseException | None = None) -> None:
        """Remember why the trial failed; Tune would pickle the exception into a file."""
        killed = self._driver.kills is not None and self._driver.kills.rose()
        self.failure, self.verdict = self.verdict or classify(exc, self._trial_dir, killed), None

    def should_recover(self) -> bool:
        """Ask the study's own retry budgets, which tell failures apart; the next attempt may be given more."""
        if self.failure is None or not self._driver.retry(self.number, self.failure, self._asks.needs):
            return False
        self._asks = self._resources(self.config, self._driver.live[self.number].given)
        self.placement_group_factory = self._asks.placement
        return True

    def update_last_result(self, result: dict[str, Any]) -> None:
        """Keep the last result only; running statistics of every metric were a quarter of the driver's time."""
        self.run_metadata.last_result = result

    def init_local_path(self) -> None:
        """Name the trial's folder in Tune's storage; nothing is written there, so it need not exist."""
        self.relative_logdir = self.storage.trial_dir_name = self.trial_id

    def set_ray_actor(self, ray_actor: Any) -> None:
        """Note the worker; Tune would also ask it who it is, a message a trial for what the first report says."""
        self.temporary_state.ray_actor = ray_actor

    def get_json_state(self) -> tuple[str, str]:
        """Nothing: the journal is the only record."""
        return "{}", "{}"


class SearchAdapter(SearchAlgorithm):  # type: ignore[misc]
    """Gives Tune the driver's trials, never more than there are slots for, so that each knows all results so far."""

    def __init__(
        self,
        driver: Driver,
        cls: type,
        folder: Path,
        slots: Callable[[], int],
        resources: Resources,
    ) -> None:
        self.driver, self.slots, self.resources = driver, slots, resources
        self._cls, self._folder = cls, folder
        self._live: dict[str, SuiteTrial] = {}
        self._kwargs: dict[str, Any] = {}
        self._waiting = Waiting()
        self._killer: threading.Timer | None = None

    def add_configurations(self, experiments: Any) -> None:
        """Take the storage of the one experiment there is."""
        experiment = experiments[0] if isinstance(experiments, list) else experiments
        self._kwargs = {
            "storage": experiment.storage,
            "checkpoint_config": experiment.checkpoint_config,
            "max_failures": 0,
        }

    @property
    def total_samples(self) -> int:
        """How many trials there will be, as far as that is known."""
        return self.driver.num_trials or 0

    def next_trial(self) -> SuiteTrial | None:
        """The driver's next trial, if a slot is free for it and its suggestion has been made."""
        busy, slots = self._busy() + self._promised(), self.slots()
        if busy >= slots:
            self._waiting.off()
            if slots > 1:  # with one slot, a suggestion made ahead would know nothing of the trial before it
                self.driver.look_ahead()
            return None
        new = self.driver.next_trial(0.0 if busy else self._patience())
        if new is None:
            self._wait(slots)
            return None
        self._waiting.off()
        return self._trial(new)

    def requests(self) -> list[Request]:
        """What the trials that have a slot or wait for one ask for, oldest first."""
        return [trial._asks.needs for trial in self._live.values() if trial.status != Trial.PAUSED]

    def _busy(self) -> int:
        return sum(trial.status != Trial.PAUSED for trial in self._live.values())

    def _promised(self) -> int:
        """How many slots are for trials that the scheduler promoted and that have none yet."""
        waking = (self._live.get(trial_id) for trial_id in self.driver.scheduler.waking())
        return sum(trial is not None and trial.status == Trial.PAUSED for trial in waking)

    def has_room(self) -> bool:
        """Whether a slot is free for a paused trial."""
        return self._busy() < self.slots()

    @property
    def exhausted(self) -> bool:
        """No trial is left to come, in a study that is not being ended."""
        return self.driver.finished and not self.driver.stopping

    def _patience(self) -> float:
        """How long to wait for the searcher when no trial runs: Tune, with none at all, would sleep for a second."""
        return _WAIT_S if self._live else math.inf

    def _wait(self, slots: int) -> None:
        if self.driver.suggestions.open and not self.driver.finished:
            self._waiting.on(list(self._live.values()), slots)
        else:
            self._waiting.off()

    def attach(self, controller: Any) -> None:
        """Take the controller that asks for trials."""
        self._waiting.attach(controller)

    def _trial(self, new: NewTrial) -> SuiteTrial:
        trial = SuiteTrial(new, self._cls, self.driver, self._folder, self.resources, **self._kwargs)
        trial.create_placement_group_factory()
        if self.driver.scheduler.holds(new.trial_id):
            trial.set_status(Trial.PAUSED)  # an earlier session left it at its rung
        self._live[new.trial_id] = trial
        return trial

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune is done with a trial. It would bury an error raised here, and wait for a paused trial for ever."""
        trial = self._live.pop(trial_id, None)
        try:
            if trial is not None:
                self.driver.ended(trial.number, trial.failure if error else None)
        except Exception as problem:
            self.driver.fail(problem)
            raise

    def end_workers(self) -> None:
        """Give the workers that are in the middle of a step a moment to finish it, then end them."""
        actors = [trial.temporary_state.ray_actor for trial in self._live.values()]
        self._killer = threading.Timer(_GRACE_S, _kill, [[actor for actor in actors if actor is not None]])
        self._killer.daemon = True
        self._killer.start()

    def close(self) -> None:
        """Tune is done: nobody is left to be ended, and Ray may be shut down."""
        if self._killer is not None:
            self._killer.cancel()
            self._killer.join()

    def is_finished(self) -> bool:
        """No trial will come any more. Tune would then end idle workers, which promoted trials have a use for."""
        return self._finished or (self.driver.finished and not self._holds_any())

    def _holds_any(self) -> bool:
        promotes = self.driver.scheduler.promotes and not self.driver.stopping
        return promotes and any(trial.status == Trial.PAUSED for trial in self._live.values())


class SchedulerAdapter(TrialScheduler):  # type: ignore[misc]
    """Stands before the scheduler that Ray ships: every report passes the driver first."""

    def __init__(self, driver: Driver, scheduler: Scheduler, inbox: dict[str, Sequence[Report]]) -> None:
        self.driver, self.scheduler, self.inner = driver, scheduler, scheduler.ray
        self._inbox = inbox
        self._metric = driver.study.metric

    @property
    def supports_buffered_results(self) -> bool:
        """A scheduler that pauses trials must see each result before the next one is made."""
        return not self.scheduler.pauses

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """The scheduler has its metric already."""
        return True

    def on_trial_add(self, controller: Any, trial: SuiteTrial) -> None:
        """See ``TrialScheduler``."""
        controller.search_alg.attach(controller)
        self.inner.on_trial_add(controller, trial)

    def on_trial_error(self, controller: Any, trial: SuiteTrial) -> None:
        """See ``TrialScheduler``."""
        self.inner.on_trial_error(controller, trial)

    def on_trial_result(self, controller: Any, trial: SuiteTrial, result: dict[str, Any]) -> str:
        """Each report: journal, searcher, stoppers, then Ray's scheduler; up to the first that is not gone on from."""
        reports = self._inbox.pop(trial.trial_id)

        def decide(value: float) -> str:
            return str(self.inner.on_trial_result(controller, trial, {**trial.shown, self._metric: value}))

        def decided() -> str:
            decision = CONTINUE
            for report in reports:
                trial.shown = {**result, **report[1], TRAINING_ITERATION: report[0]}
                decision = self.driver.report(trial.number, report, decide)
                if decision != CONTINUE:
                    break
            return decision

        return self._guarded(decided)

    def on_trial_complete(self, controller: Any, trial: SuiteTrial, result: dict[str, Any]) -> None:
        """See ``TrialScheduler``; a result without the metric is not shown to the scheduler."""
        result = trial.shown or result
        value = result.get(self._metric)
        if isinstance(value, (int, float)) and value == value:
            self.inner.on_trial_complete(controller, trial, result)
        else:
            self.inner.on_trial_remove(controller, trial)

    def on_trial_remove(self, controller: Any, trial: SuiteTrial) -> None:
        """See ``TrialScheduler``."""
        self.inner.on_trial_remove(controller, trial)

    def choose_trial_to_run(self, controller: Any) -> SuiteTrial | None:
        """The paused trial to wake, for a scheduler that pauses; None leaves pending trials to the controller.

        Naming a pending trial, as Ray's own schedulers do, lets it take the worker of a trial that has just ended
        while its own is still starting: that one is thrown away, and the next trial starts yet another.
        """
        if not (self.scheduler.pauses or self.scheduler.promotes):
            return None
        chosen: SuiteTrial | None = self.inner.choose_trial_to_run(controller)
        if chosen is not None and self.scheduler.promotes and not controller.search_alg.has_room():
            return None
        return chosen

    def debug_string(self) -> str:
        """See ``TrialScheduler``."""
        return str(self.inner.debug_string())

    def _guarded(self, call: Callable[[], str]) -> str:
        """An error in the driver ends the study in order; raised here, Tune would bury it in another."""
        try:
            return call()
        except Exception as error:
            self.driver.fail(error)
            return str(TrialScheduler.STOP)


class StopAdapter(Stopper):  # type: ignore[misc]
    """Ends the experiment when the driver says so, and takes the worker's reports out of each result.

    Tune calls the stopper first, with the result that callbacks will see later; so they never see the reports.
    """

    def __init__(self, driver: Driver, inbox: dict[str, Sequence[Report]], end_workers: Callable[[], None]) -> None:
        self._driver, self._inbox, self._end_workers = driver, inbox, end_workers
        self._ending = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never stop a single trial here."""
        self._inbox[trial_id] = result.pop(REPORT)
        return False

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its stopper into the state it snapshots, which the suite never reads."""
        return {}

    def stop_all(self) -> bool:
        """Whether the whole study ends now; if so, first write down where its running trials stand."""
        if self._driver.stopping and not self._ending:
            self._ending = True
            self._end_workers()
            self._driver.abandon_live()
        return self._ending


def _kill(actors: list[Any]) -> None:
    for actor in actors:
        ray.kill(actor)
