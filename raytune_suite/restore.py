"""Living through a journal again: puts a fresh driver exactly where the one that wrote it stood.

The same code that ran the study runs over its events, with a tape in place of the journal: the searcher is told
instead of asked (or asked, to see whether it would answer the same), the scheduler gets the logged reports in the
logged order, and every decision is compared with the one that was logged. Nothing here knows Ray; its schedulers
are fed with stand-ins for trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from raytune_suite import schedulers
from raytune_suite.driver import Driver
from raytune_suite.errors import ExperimentError
from raytune_suite.live import CONTINUE, RETURNED, STOP, Given, Live, Log
from raytune_suite.recall import Brackets, Population, StandIn, StandInController, memory_of
from raytune_suite.states import State
from raytune_suite.stoppers import OWN_RULES, Stopped
from raytune_suite.tape import Behind, Tape

Event = dict[str, Any]
STOPPERS = OWN_RULES | {"target"}
RESUMABLE = frozenset({State.INTERRUPTED, State.PREEMPTED})
_DECISION = ("number", "iteration", "action", "by")
_BEYOND_REPORTS = frozenset({"trial", "start", "report", "retry", "end"})


class DifferenceError(ExperimentError):
    """What happens when a journal is lived through again is not what it says: ``seq`` names the event."""

    def __init__(self, seq: int, text: str) -> None:
        super().__init__(f"event {seq} of the journal: {text}")
        self.seq = seq


@dataclass
class Counts:
    """How much was derived again and found as logged."""

    suggestions: int = 0
    decisions: int = 0
    trials: int = 0
    reports: int = 0
    not_derived: dict[str, int] = field(default_factory=dict)

    def leave_out(self, what: str) -> None:
        """Count something that is taken as logged."""
        self.not_derived[what] = self.not_derived.get(what, 0) + 1


class Past:
    """A driver on its way through the events of a journal.

    ``ask`` lets the searcher make every suggestion again; otherwise it is told of them. ``strict`` also compares
    the numbers behind a decision. With ``as_logged`` a decision that comes out differently is taken as logged.

    Raises:
        DifferenceError: from :meth:`apply`, naming the first event that does not come out as logged.
    """

    def __init__(self, driver: Driver, *, ask: bool = False, strict: bool = False, as_logged: bool = False) -> None:
        self.driver, self.counts = driver, Counts()
        self.differences: list[DifferenceError] = []
        self._ask, self._strict, self._as_logged = ask, strict, as_logged
        self._log: Log = driver.journal
        self._tape = Tape()
        driver.journal = self._tape
        self._controller = StandInController(self._stopped_from_without)
        self._ended: dict[int, tuple[State, Live]] = {}
        self._num_trials = driver.searcher.num_trials
        self._sessions = self._session = 0
        self._behind = Behind(driver.searcher, self._tape) if ask and driver.searcher.replayable else None
        if self._behind is not None:
            driver.suggestions = self._behind
        self._owed = False
        self._memory = memory_of(driver.scheduler)
        self._feeds = driver.scheduler.replayable or isinstance(self._memory, Brackets)
        #: What kept the scheduler from being reminded of the past: it begins anew.
        self.forgotten: Exception | None = None
        self._handlers: Mapping[str, Callable[[Event], None]] = {
            "experiment": self._on_experiment,
            "session": self._on_session,
            "trial": self._on_trial,
            "start": self._on_start,
            "report": self._on_report,
            "decision": self._on_decision,
            "retry": self._on_retry,
            "end": self._on_end,
        }

    def apply(self, event: Event) -> None:
        """Live through one event; they come in the order of the journal."""
        self._tape.seq = event["seq"]
        if self._memory is not None:
            self._remind(self._memory, event)
            return
        if event["event"] in _BEYOND_REPORTS and self._tape.decisions and not self._owed:
            made = self._tape.decisions[0]
            self._differs(event["seq"], f"before it, {_said(made)} was decided; the journal has no such decision")
            self._tape.decisions.clear()
        self._handle(event)

    def _handle(self, event: Event) -> None:
        handler = self._handlers.get(event["event"])
        if handler is not None:
            handler(event)

    def finish(self) -> Past:
        """Give the driver its journal back and let unfinished trials wait for their turn."""
        self._reopen()
        self._until(self.driver.study.max_iterations)
        if self._memory is not None:  # Ray must not take a stand-in for a trial that it may start
            for trial in self._controller.trials.values():
                trial.status = trial.status if trial.is_finished() else "ABSENT"
        self.driver.journal, self.driver.seq = self._log, self._tape.seq
        self.driver.searcher.num_trials = self._num_trials
        return self

    def settle(self) -> None:
        """Write what the driver before was about to write when it broke off; to be called once a session is open."""
        driver = self.driver
        while self._tape.decisions:
            self._log.append("decision", **self._tape.decisions.popleft())
        for number in list(driver.live):
            self._complete(number)
            driver.ended(number)
        driver.stopped = driver.stopped or driver.stoppers.study()

    # -- a scheduler that is reminded ----------------------------------------------------------------------------

    def _remind(self, memory: Population | Brackets, event: Event) -> None:
        """Handle an event of a scheduler whose decisions are not derived again, but taken as logged."""
        if event["event"] == "report":
            self._tape.decisions.clear()
        try:
            trial = self._controller.trials.get(event.get("number", -1))
            if isinstance(memory, Brackets) and trial is not None:
                memory.apply(event, trial, self.driver.study.metric)
            elif isinstance(memory, Brackets) and event["event"] == "session":
                memory.session(event.get("planned"))
            self._handle(event)
            if isinstance(memory, Population) and event.get("number") is not None:
                trial = self._controller.trials[event["number"]]
                memory.apply(event, trial, self.driver.study.metric)
        except DifferenceError:
            raise
        except Exception as error:  # whatever Ray's code makes of a past that cannot have been
            self._forget(error)
            if event["event"] != "report":
                self._handle(event)

    def _forget(self, error: Exception) -> None:
        self.forgotten, self._memory, self._feeds = error, None, False
        self._tape.decisions.clear()
        name = self.driver.scheduler.name
        self.driver.scheduler = schedulers.build(self.driver.study)
        for trial in (*self.driver.live.values(), *self.driver.waiting.values()):
            if trial.ending is not None and trial.ending.by == name:
                trial.ending = None

    def _stopped_from_without(self, trial: StandIn) -> None:
        """Do as Ray Tune when a scheduler stops a trial that waits."""
        scheduler = self.driver.scheduler
        scheduler.ray.on_trial_remove(self._controller, trial)
        live = self._live(trial.number)
        if live is not None:
            why = scheduler.explain(trial.trial_id, live.iteration, live.value, STOP)
            live.ending = Stopped(scheduler.name, why.text if why is not None else f"stopped by {scheduler.name}")

    # -- the events ----------------------------------------------------------------------------------------------

    def _on_experiment(self, event: Event) -> None:
        self._until(event.get("max_iterations"))

    def _until(self, max_iterations: int | None) -> None:
        """Let trials end where those of the session at hand did; a later one may have been given more."""
        if max_iterations is not None and max_iterations != self.driver.max_iterations:
            self.driver.max_iterations = max_iterations
            self.driver.scheduler.until(max_iterations)

    def _on_session(self, event: Event) -> None:
        self._until(event.get("max_iterations"))
        self._sessions, self._session = self._sessions + 1, event["seq"]
        if event.get("num_trials") is not None:  # a study that was extended asked for fewer at first
            self.driver.searcher.num_trials = event["num_trials"]
        if self._sessions > 1:
            self._reopen()
            self._owed = bool(self._tape.decisions)

    def _reopen(self) -> None:
        unfinished = {number: live for number, (state, live) in self._ended.items() if state in RESUMABLE}
        for number, live in unfinished.items():
            live.ending = None
            (state, _), standin = self._ended.pop(number), self._controller.trials[number]
            standin.status = "PENDING"
            if isinstance(self._memory, Brackets):
                self._memory.reopen(standin)
            if self._feeds and state is State.PREEMPTED:  # to the scheduler it was gone
                self.driver.scheduler.ray.on_trial_add(self._controller, standin)
        self.driver.reopen(unfinished)

    def _on_trial(self, event: Event) -> None:
        number, point = event["number"], event["point"]
        self.counts.trials += 1
        if self._behind is not None:
            self._suggest_again(self._behind, event)
        elif self._ask:
            self.counts.leave_out(f"suggestions of {self.driver.study.search.name}")
        self.driver.adopt(number, Live(point, event["config"]))
        standin = self._controller.trials[number] = StandIn(number, event["config"])
        if self._feeds:
            self.driver.scheduler.ray.on_trial_add(self._controller, standin)

    def _suggest_again(self, behind: Behind, event: Event) -> None:
        if self.driver.max_iterations != self.driver.study.max_iterations and self.driver.searcher.learns:
            self.counts.leave_out("suggestions made for another max_iterations")
            return
        # A session knows all of the earlier ones when it begins; drivers once wrote less into ``seen`` then.
        seen = event["seq"] if event.get("seen") is None else int(event["seen"])
        made = behind.ask(event["number"], max(seen, self._session))
        if made is None:
            self._differs(event["seq"], f"trial {event['number']} was suggested; now there is no further point")
        elif not same(dict(made.point), event["point"]) or made.origin != event["origin"]:
            now, then = f"{made.point} ({made.origin})", f"{event['point']} ({event['origin']})"
            self._differs(event["seq"], f"trial {event['number']} was {then}; now it is {now}")
        else:
            self.counts.suggestions += 1

    def _on_start(self, event: Event) -> None:
        trial = self._live(event["number"])
        if trial is not None:
            trial.attempt = event.get("attempt", trial.attempt)

    def _on_report(self, event: Event) -> None:
        number, iteration = event["number"], event["iteration"]
        self.counts.reports += 1
        if self._live(number) is None:
            return
        standin = self._controller.trials[number]
        standin.last_result = {"training_iteration": iteration}

        def decide(value: float) -> str:
            standin.last_result[self.driver.study.metric] = value
            if not self._feeds:
                return CONTINUE
            return str(self.driver.scheduler.ray.on_trial_result(self._controller, standin, dict(standin.last_result)))

        elapsed = event.get("elapsed") or 0.0
        self.driver.report(number, (iteration, event["metrics"], elapsed, {}), decide)

    def _on_decision(self, event: Event) -> None:
        number, by = event["number"], event["by"]
        if self._memory is not None:
            self._tape.leave(lambda made: by in STOPPERS and made["by"] not in STOPPERS)
            self._tape.leave(lambda made: all(made[key] == event[key] for key in _DECISION) and by not in STOPPERS)
        if by in STOPPERS or (self._feeds and self._memory is None):
            self._compare(event)
        else:
            self.counts.leave_out(f"decisions of {by}")
        trial = self._live(number)
        if trial is None:
            return
        if event["action"] == "exploit":
            trial.config = (event.get("reason") or {}).get("config") or trial.config
        if event["action"] == "stop" and trial.ending is None:
            trial.ending = Stopped(by, event.get("text") or "", reason=event.get("reason") or {})

    def _compare(self, event: Event) -> None:
        if not self._tape.decisions and (left := self.driver.scheduler.leave()) is not None:
            why = vars(left[1])
            self._tape.append("decision", number=int(left[0]), **why)
        if not self._tape.decisions:
            self._differs(event["seq"], f"{_said(event)} was decided; now nothing is")
            return
        made = self._tape.decisions.popleft()
        self._owed = self._owed and bool(self._tape.decisions)
        alike = all(made[key] == event[key] for key in _DECISION)
        if alike and self._strict:
            alike = same(made["reason"], event.get("reason") or {})
        if alike:
            self.counts.decisions += 1
            return
        self._differs(event["seq"], f"{_said(event)} was decided; now it is: {_said(made)}")
        trial = self._live(event["number"])
        if trial is not None and trial.ending is not None and trial.ending.by == made["by"]:
            trial.ending = None

    def _on_retry(self, event: Event) -> None:
        number, state = event["number"], State(event["state"])
        trial = self._live(number)
        if trial is None:  # asked for by the user, after its end
            _, trial = self._ended.pop(number)
            trial.spent, trial.ending = {}, None
            trial.given = Given() if event.get("by") == "user" else trial.given
            self.driver.adopt(number, trial)
        else:
            trial.spent[state] = trial.spent.get(state, 0) + 1
        trial.attempt, trial.ending = event["attempt"], None
        trial.given = Given(**event["given"]) if "given" in event else trial.given
        standin = self._controller.trials[number]
        standin.status = "PENDING"
        if self._feeds:
            self.driver.scheduler.ray.on_trial_error(self._controller, standin)
            self.driver.scheduler.ray.on_trial_add(self._controller, standin)

    def _on_end(self, event: Event) -> None:
        number, state = event["number"], State(event["state"])
        trial = self._live(number)
        if trial is None:
            return
        logged = Stopped(event.get("by") or "", event.get("reason") or "", state)
        if trial.ending is not None and (trial.ending.by, trial.ending.state) != (logged.by, logged.state):
            now = f"{trial.ending.state} by {trial.ending.by or 'nobody'}"
            if state.succeeded:
                then = f"{state} by {logged.by or 'nobody'}"
                self._differs(event["seq"], f"trial {number} ended {then}; now it is {now}")
        if state.succeeded and (trial.ending is not None or state is State.COMPLETED):
            if logged.text == RETURNED:  # its last result was an empty one
                self._controller.trials[number].last_result = {}
            self._complete(number)
        elif self._feeds and state is not State.INTERRUPTED:
            self.driver.scheduler.ray.on_trial_error(self._controller, self._controller.trials[number])
        self._controller.trials[number].status = "TERMINATED"
        self.driver.conclude(number, trial, logged, event.get("error"))
        self._ended[number] = (state, trial)

    def _complete(self, number: int) -> None:
        """Tell the scheduler of an end as Ray Tune's loop does: with the trial's last result."""
        standin = self._controller.trials[number]
        if not self._feeds or standin.is_finished():
            return
        value = standin.last_result.get(self.driver.study.metric)
        ray = self.driver.scheduler.ray
        if isinstance(value, int | float) and not math.isnan(value):
            ray.on_trial_complete(self._controller, standin, dict(standin.last_result))
        else:
            ray.on_trial_remove(self._controller, standin)

    def _live(self, number: int) -> Live | None:
        """A trial that runs, or is the next to be given out again: that leaves no event of its own."""
        if number in self.driver.waiting:
            self.driver.live[number] = self.driver.waiting.pop(number)
        return self.driver.live.get(number)

    def _differs(self, seq: int, text: str) -> None:
        difference = DifferenceError(seq, text)
        self.differences.append(difference)
        if not self._as_logged:
            raise difference


def restore(driver: Driver, events: Iterable[Event], *, as_logged: bool = False) -> Past:
    """Put a fresh driver where the one that wrote ``events`` stood; what was running waits to be given out again.

    Raises:
        DifferenceError: a decision does not come out as logged, unless ``as_logged``.
    """
    past = Past(driver, as_logged=as_logged)
    for event in events:
        past.apply(event)
    return past.finish()


def running_time(events: Iterable[Event]) -> float:
    """Seconds during which a driver ran, all sessions together: what a time budget counts.

    Left out is by how much the clock was set meanwhile, which the journal notes as ``jump``, and the time before a
    session, also where trials were asked for again before it.
    """
    total, latest = 0.0, math.inf
    for event in events:
        began = event["event"] == "session"
        asked = event["event"] == "retry" and "by" in event
        if not began and not asked:
            total += max(event["time"] - event.get("jump", 0.0) - latest, 0.0)
        latest = event["time"] if began or latest < math.inf else latest
    return total


def same(one: Any, other: Any) -> bool:
    """Say whether two JSON values are equal, NaN to NaN, 1 and True apart."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _said(decision: Mapping[str, Any]) -> str:
    return (
        f"{decision['action']} for trial {decision['number']} at iteration {decision['iteration']} by {decision['by']}"
    )
