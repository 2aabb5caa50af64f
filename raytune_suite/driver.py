"""What happens between Ray Tune and the parts of the suite, in the one order that makes the record trustworthy.

Tune calls the adapters (``adapters.py``); they call the :class:`Driver`, which for every event first writes the
journal, then tells the searcher, the scheduler and the stoppers, and then answers. Nothing here knows Ray: the whole
of a study's logic can be run, and is tested, without it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from raytune_suite import ladder
from raytune_suite.errors import RaytuneError, SpaceExhaustedError, StudyError, TrainableError
from raytune_suite.failures import Failure
from raytune_suite.firstfailures import FirstFailures
from raytune_suite.hostmemory import Kills
from raytune_suite.live import CONTINUE, PAUSE, RETURNED, STOP, Decide, Live, Log, NewTrial, Report, trial_id
from raytune_suite.memory.allotment import Allotment
from raytune_suite.metrics import check_report, std_error, value_of
from raytune_suite.resources import Request
from raytune_suite.schedulers.core import Explanation, Scheduler
from raytune_suite.search.ahead import Forecast
from raytune_suite.search.core import Observation, Searcher
from raytune_suite.search.suggestions import Launch, Making, Suggestions, at_once
from raytune_suite.seeds import repeat_seeds, trial_seed
from raytune_suite.states import State
from raytune_suite.stoppers import Stopped, Stoppers
from raytune_suite.study import Study

logger = logging.getLogger("raytune_suite")


class Driver:
    """The course of one study: gives out trials, takes reports, decides, and writes all of it down.

    ``on_environment`` is called with the facts of every environment not seen before, ``launch`` has the searcher
    asked: at once, or in the background while trials train. ``allotment`` says what each trial is given of a GPU.
    """

    def __init__(
        self,
        study: Study,
        journal: Log,
        searcher: Searcher,
        scheduler: Scheduler,
        stoppers: Stoppers,
        *,
        num_trials: int | None,
        on_environment: Callable[[dict[str, Any]], None] | None = None,
        launch: Launch = at_once,
        allotment: Allotment | None = None,
    ) -> None:
        self.study, self.journal = study, journal
        self.searcher, self.scheduler, self.stoppers = searcher, scheduler, stoppers
        self.allotment, self.forecast = allotment, Forecast()
        self.suggestions = Suggestions(searcher, launch, allotment.foresee_point if allotment is not None else None)
        self.num_trials = num_trials
        #: Bytes of main memory of the machine that has most; what tells of kills, if all is on this machine.
        self.most_memory = 0.0
        self.kills: Kills | None = None
        #: Of a whole trial: the study's, but less while a session is lived through that had less.
        self.max_iterations = study.max_iterations
        seeds = repeat_seeds(study.seed, study.repeats)
        self._repeats = {"repeat_seeds": list(seeds)} if seeds else {}
        self.live: dict[int, Live] = {}
        #: Trials of an earlier session that have not ended: given out again before any new one.
        self.waiting: dict[int, Live] = {}
        self.first_failures = FirstFailures(study.stop.first_failures)
        self.stopped: Stopped | None = None
        self.error: BaseException | None = None
        self._on_environment = on_environment
        self._next_number = 0
        self._exhausted = False
        self._environments: set[str] = set()
        self._checked = False
        #: The last event of the journal that the parts have been told of.
        self.seq = 0

    # -- giving out trials ---------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """No further trial will be given out."""
        over = self.num_trials is not None and self._next_number >= self.num_trials
        return self.stopping or ((over or self._exhausted) and not self.waiting)

    @property
    def stopping(self) -> bool:
        """The study is being ended: by a stopper, a signal or an error."""
        return self.stopped is not None or self.error is not None

    def next_trial(self, patience_s: float = 0.0) -> NewTrial | None:
        """The next trial to run; None if there is none (see :attr:`finished`), or not within ``patience_s``."""
        while not self.finished:
            if self.waiting:
                return self._again(min(self.waiting, key=self._turn))
            if not self.suggestions.open:
                self.suggestions.begin(self._next_number, self.seq)
            if not self.suggestions.wait(patience_s, unless=lambda: self.stopping):
                return None
            if (new := self._made(self.suggestions.take())) is not None:
                return new
        return None

    def _turn(self, number: int) -> tuple[bool, int]:
        """Who waits at a rung takes no slot, and its scheduler must know it before any other gets there."""
        return not self.scheduler.holds(trial_id(number)), number

    def look_ahead(self) -> None:
        """No slot is free: begin the next suggestion all the same if one soon is, and would have to wait for it."""
        if self.suggestions.open or self.finished or self.waiting:
            return
        if self.forecast.worth(self.suggestions.expected_s):
            self.suggestions.begin(self._next_number, self.seq)

    def _made(self, making: Making) -> NewTrial | None:
        suggestion, number = making.suggestion, making.number
        if making.error is not None:
            self._cannot_suggest(making.error)
            return None
        if suggestion is None:
            self._exhausted = True
            return None
        self._next_number += 1
        config = self.study.search_space.config(suggestion.point)
        given, refusal = self.allotment.facts(config) if self.allotment is not None else ({}, "")
        self._write(
            "trial",
            number=number,
            trial_id=trial_id(number),
            config=config,
            point=suggestion.point,
            seed=trial_seed(self.study.seed, number),
            **self._repeats,
            origin=suggestion.origin,
            seen=making.seen,
            note=suggestion.note,
            **({"resources": given} if given else {}),
        )
        trial = self.live[number] = Live(suggestion.point, config)
        self._tell(number, trial, State.PENDING)  # as after a restart, so that the searcher knows the same
        if refusal:
            self.conclude(number, trial, Stopped("gpu_memory", refusal, State.INFEASIBLE))
            return None
        return NewTrial(number, trial_id(number), config)

    def _cannot_suggest(self, error: BaseException) -> None:
        if not isinstance(error, SpaceExhaustedError):
            logger.error("the searcher failed", exc_info=error)
        self.fail(error)

    def _again(self, number: int) -> NewTrial:
        """A trial of an earlier session; its worker goes on from its last checkpoint."""
        trial = self.live[number] = self.waiting.pop(number)
        return NewTrial(number, trial_id(number), trial.config, trial.given)

    def adopt(self, number: int, trial: Live) -> None:
        """Take over a trial that was made in an earlier session: the searcher is told, not asked."""
        self._next_number = max(self._next_number, number + 1)
        self.live[number] = trial
        self._tell(number, trial, State.PENDING)

    def reopen(self, unfinished: Mapping[int, Live]) -> None:
        """Begin another session: what ended the last one is over, ``unfinished`` trials wait for their turn.

        A trial whose end was decided and not yet written stays live.
        """
        self.stopped = self.error = None
        self._checked = False
        self.first_failures.again()
        undecided = {number: trial for number, trial in self.live.items() if trial.ending is None}
        self.waiting |= {**undecided, **unfinished}
        self.live = {number: trial for number, trial in self.live.items() if trial.ending is not None}

    def started(self, number: int) -> None:
        """A worker has taken the trial."""
        self.forecast.began(number)
        self._write("start", number=number, attempt=self.live[number].attempt)

    # -- taking reports ------------------------------------------------------------------------------------------

    def report(self, number: int, report: Report, decide: Decide) -> str:
        """Write a report down and decide what the trial does next."""
        iteration, metrics, elapsed, facts = report
        trial = self.live.get(number)
        if trial is None:
            return STOP
        self._write_facts(number, facts)
        if facts.get("repeated") and iteration <= trial.iteration:
            return self._known(number, trial, metrics, decide)
        if not metrics:
            trial.ending = trial.ending or self._returned(trial)
            return STOP
        trial.iteration, trial.seconds = iteration, elapsed
        self._write("report", number=number, iteration=iteration, metrics=metrics, elapsed=elapsed)
        if not self._checked and not self._check(metrics):
            return STOP
        value = value_of(metrics, self.study.metric)
        self._remember(trial, value)
        if self._repeats:
            trial.error = value_of(metrics, std_error(self.study.metric))
        self._tell(number, trial, State.RUNNING)
        stopped = self.stoppers.report(number, iteration, value, elapsed)
        decision = self._scheduled(number, trial, value, decide)
        self.stopped = self.stopped or self.stoppers.study()
        if facts.get("finished") or iteration >= self.max_iterations:
            trial.ending = Stopped("", "", State.COMPLETED)
            return STOP
        if stopped is not None:
            return self._stop(number, trial, stopped)
        return decision

    def _known(self, number: int, trial: Live, metrics: Mapping[str, Any], decide: Decide) -> str:
        """A report that is on record already; only a scheduler that cannot be rebuilt needs to hear it again."""
        value = value_of(metrics, self.study.metric)
        if self.scheduler.replayable or self.scheduler.population:
            return CONTINUE
        return self._scheduled(number, trial, value, decide)

    def _scheduled(self, number: int, trial: Live, value: float | None, decide: Decide) -> str:
        if value is None:
            return CONTINUE  # no metric this time (validated every few iterations): nothing to judge by
        decision = decide(value)
        if decision == PAUSE:
            self.forecast.left(number)
        why = self.scheduler.explain(trial_id(number), trial.iteration, value, decision)
        if why is not None:
            self._explained(number, why)
        for other, explanation in self.scheduler.others():
            self._explained(int(other), explanation)
        if decision == STOP:
            by = self.scheduler.name
            trial.ending = Stopped(by, why.text if why is not None else f"stopped by {by}")
        return decision

    def _explained(self, number: int, why: Explanation) -> None:
        self._decision(number, why.iteration, why.action, why.by, why.reason, why.text)

    def _stop(self, number: int, trial: Live, stopped: Stopped) -> str:
        self._decision(number, trial.iteration, "stop", stopped.by, stopped.reason, stopped.text)
        trial.ending = stopped
        return STOP

    def _remember(self, trial: Live, value: float | None) -> None:
        if value is None:
            return
        trial.value = value
        better = trial.best is None or (value < trial.best) == (self.study.mode == "min")
        if math.isfinite(value) and better:
            trial.best = value

    def _returned(self, trial: Live) -> Stopped:
        if trial.iteration:
            return Stopped("", RETURNED, State.COMPLETED)
        return Stopped("", "the trainable returned without reporting anything", State.FAILED)

    def _check(self, metrics: Mapping[str, Any]) -> bool:
        self._checked = True
        problems = check_report(self.study, dict(metrics))
        if problems:
            self.error = StudyError(problems, source="the first report")
        return not problems

    # -- ends ----------------------------------------------------------------------------------------------------

    def retry(self, number: int, failure: Failure, had: Request | None = None) -> bool:
        """Whether a failed trial, which ``had`` so much, is to be started again, from its last checkpoint."""
        trial = self.live.get(number)
        if trial is None or self.stopping:
            return False
        budgets = self.study.retries
        allowed = {
            State.FAILED: budgets.failed,
            State.OOM: budgets.oom,
            State.PREEMPTED: math.inf if budgets.preempted == "unlimited" else budgets.preempted,
        }
        spent = trial.spent.get(failure.state, 0)
        if spent >= allowed.get(failure.state, 0):
            return False
        step = None
        if failure.state is State.OOM and had is not None:
            step = ladder.climb(had, trial.given, failure, self.most_memory)
            if step is None:
                return False
            trial.given = step.given
        trial.spent[failure.state] = spent + 1
        trial.attempt += 1
        more = {"step": step.name, "given": step.given.as_dict(), "text": step.text} if step is not None else {}
        attempt, state = trial.attempt, failure.state.value
        self._write("retry", number=number, attempt=attempt, state=state, error=failure.as_dict(), **more)
        return True

    def ended(self, number: int, failure: Failure | None = None) -> None:
        """The trial is over: with a failure, as decided at its last report, or with the whole study."""
        trial = self.live.pop(number, None)
        if trial is None:
            return
        if failure is not None:
            ending = Stopped("", f"{failure.kind}: {failure.message}", failure.state)
            if failure.kind == TrainableError.__name__ and not self._checked:
                self.fail(TrainableError(failure.message))  # no other trial could fare better
        else:
            ending = trial.ending or self._cut_short(number, trial)
        self.conclude(number, trial, ending, failure.as_dict() if failure is not None else None)

    def conclude(self, number: int, trial: Live, ending: Stopped, error: Mapping[str, Any] | None = None) -> None:
        """Write a trial's end down and tell of it; an interrupted trial stays pending to the searcher."""
        self.live.pop(number, None)
        self.forecast.left(number)
        self._write(
            "end",
            number=number,
            state=ending.state.value,
            by=ending.by or None,
            reason=ending.text or None,
            iteration=trial.iteration,
            value=trial.value,
            best=trial.best,
            error=error,
            attempt=trial.attempt,
        )
        if ending.state is not State.INTERRUPTED:
            self._tell(number, trial, ending.state)
            self.stoppers.end(number, trial.value if ending.state.succeeded else None)
            self._count_failure(number, trial, ending.state, error)
        self.stopped = self.stopped or self.stoppers.study()

    def _count_failure(self, number: int, trial: Live, state: State, error: Mapping[str, Any] | None) -> None:
        alive = {other: live.iteration for other, live in self.live.items() if live.best is not None}
        if state is State.INFEASIBLE:
            return  # nothing has failed: it was never started
        failed = not state.succeeded or trial.best is None
        self.first_failures.ended(number, error, failed=failed, iteration=trial.iteration, alive=alive)
        if not self.stopping and (verdict := self.first_failures.verdict()) is not None:
            self.fail(verdict)

    def _cut_short(self, number: int, trial: Live) -> Stopped:
        """Why a trial ends that was not told to at its last report."""
        if self.error is not None:
            return Stopped("", str(self.error).splitlines()[0], State.INTERRUPTED)
        if self.stopped is not None:
            return self.stopped
        why = self.scheduler.explain(trial_id(number), trial.iteration, trial.value, STOP)
        if why is not None:
            self._explained(number, why)
        return Stopped(self.scheduler.name, why.text if why is not None else f"stopped by {self.scheduler.name}")

    def interrupt(self, text: str) -> None:
        """End the study as soon as possible; its running trials are interrupted and can be resumed."""
        self.stopped = Stopped("signal", text, State.INTERRUPTED)

    def fail(self, error: BaseException) -> None:
        """End the study because of an error in it, keeping what was found."""
        self.error = self.error or error

    def abandon_live(self) -> None:
        """Write an end for every trial that is still open."""
        for number in list(self.live):
            self.ended(number)

    # -- writing -------------------------------------------------------------------------------------------------

    def _write_facts(self, number: int, facts: Mapping[str, Any]) -> None:
        if "environment" in facts:
            self._new_environment(*facts["environment"])
        if (worker := facts.get("worker")) is not None:
            self._write("worker", number=number, **worker)
        for broken in facts.get("broken", ()):
            logger.warning("trial %d: the checkpoint %s is broken: %s", number, broken["path"], broken["reason"])
            self._write("broken", number=number, **broken)
        if (saved := facts.get("checkpoint")) is not None:
            self._write("checkpoint", number=number, **saved)

    def _new_environment(self, key: str, facts: dict[str, Any]) -> None:
        if key in self._environments:
            return
        self._environments.add(key)
        self._write("environment", id=key, facts=facts)
        try:
            if self._on_environment is not None:
                self._on_environment(facts)
        except RaytuneError as error:
            self.fail(error)

    def _decision(self, number: int, iteration: int, action: str, by: str, reason: dict[str, Any], text: str) -> None:
        self._write("decision", number=number, iteration=iteration, action=action, by=by, reason=reason, text=text)

    def _tell(self, number: int, trial: Live, state: State) -> None:
        told = Observation(number, trial.point, trial.value, trial.iteration, state, trial.error, trial.seconds)
        self.suggestions.tell(told)

    def _write(self, kind: str, **fields: Any) -> None:
        self.seq = self.journal.append(kind, **fields)
