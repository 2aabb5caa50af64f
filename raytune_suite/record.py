"""The record: what a journal says about an experiment and its trials, kept up to date event by event."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from raytune_suite.journal import broken
from raytune_suite.states import State

Event = dict[str, Any]


class Report(NamedTuple):
    """One result: flat ``metrics``; ``time`` in unix seconds; ``elapsed`` seconds of training so far."""

    iteration: int
    metrics: dict[str, Any]
    time: float
    elapsed: float | None


class Best(NamedTuple):
    """A value and the iteration that reached it; ``error``: the standard error of a mean over repeats."""

    iteration: int
    value: float
    error: float | None = None


@dataclass
class Run:
    """One stay of a trial on a worker; ``ended`` is None while it lasts."""

    attempt: int
    started: float
    ended: float | None = None
    state: State = State.RUNNING
    node: str | None = None
    ip: str | None = None
    pid: int | None = None
    gpu_ids: list[Any] = field(default_factory=list)
    environment: str | None = None
    restored: int | None = None
    worker_trials: int | None = None


@dataclass(repr=False)
class TrialRecord:
    """What is known about one trial. ``metric`` and ``mode`` are the study's; times are unix seconds."""

    number: int
    trial_id: str
    config: dict[str, Any]
    point: dict[str, Any]
    seed: int | None = None
    origin: str = ""
    seen: int | None = None
    note: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    created_at: float = 0.0
    state: State = State.PENDING
    attempt: int = 0
    reports: list[Report] = field(default_factory=list)
    decisions: list[Event] = field(default_factory=list)
    checkpoints: list[tuple[int, str]] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)
    given: dict[str, Any] = field(default_factory=dict)
    by: str | None = None
    reason: str | None = None
    value: float | None = None
    error: dict[str, Any] | None = None
    ended_at: float | None = None
    test: dict[str, Any] | None = None
    metric: str = ""
    mode: str = "min"
    keep_reports: bool = True
    last_report: Report | None = None
    _bests: list[Best] = field(default_factory=list)

    def __repr__(self) -> str:
        best = self.best()
        value = f", {self.metric} {best.value:.6g} at iteration {best.iteration}" if best else ""
        return f"<Trial {self.number}: {self.state}{value}, config {self.config}>"

    @property
    def iteration(self) -> int:
        """The last iteration reported, 0 before the first."""
        return self.last_report.iteration if self.last_report else 0

    @property
    def started_at(self) -> float | None:
        """When it was first started."""
        return self.runs[0].started if self.runs else None

    @property
    def seconds(self) -> float | None:
        """Seconds spent on workers, all attempts together; a run that lasts counts up to its last report."""
        if not self.runs:
            return None
        latest = self.last_report.time if self.last_report else 0.0
        return sum(max(0.0, (latest if run.ended is None else run.ended) - run.started) for run in self.runs)

    @property
    def node(self) -> str | None:
        """Where it runs, or ran last."""
        return self.runs[-1].node if self.runs else None

    @property
    def gpu_ids(self) -> list[Any]:
        """The GPUs it has, or had last."""
        return self.runs[-1].gpu_ids if self.runs else []

    @property
    def environment(self) -> str | None:
        """The fingerprint of the software it runs in, or ran in last."""
        return self.runs[-1].environment if self.runs else None

    @property
    def diverged(self) -> bool:
        """The last report of the study's metric is NaN or infinite."""
        value = self.last(self.metric)
        return isinstance(value, float) and not math.isfinite(value)

    def last(self, metric: str | None = None) -> Any:
        """The last value reported for a metric (the study's own by default), None if it never was."""
        name = metric or self.metric
        if not self.keep_reports:
            return self.last_report.metrics.get(name) if self.last_report else None
        return next((r.metrics[name] for r in reversed(self.reports) if name in r.metrics), None)

    def best(self, metric: str | None = None, mode: str | None = None) -> Best | None:
        """The best value over all iterations and where it was reached; None without a finite number.

        NaN and infinities never win; of equal values the first counts. Without kept reports only the study's
        own metric can be asked for (ValueError otherwise).
        """
        name, mode = metric or self.metric, mode or self.mode
        if (name, mode) == (self.metric, self.mode):
            return self._bests[-1] if self._bests else None
        if not self.keep_reports:
            raise ValueError(f"this record keeps only {self.metric!r}: read the journal again for {name!r}")
        best: Best | None = None
        for report in self.reports:
            best = _better(best, report.iteration, report.metrics.get(name), mode) or best
        return best

    def _report(self, report: Report) -> None:
        if self.last_report and report.iteration <= self.last_report.iteration:
            self._rewind(report.iteration)
        if self.keep_reports:
            self.reports.append(report)
        self.last_report = report
        better = _better(
            self._bests[-1] if self._bests else None,
            report.iteration,
            report.metrics.get(self.metric),
            self.mode,
        )
        if better:
            self._bests.append(better._replace(error=report.metrics.get(f"{self.metric}/std_error")))

    def _rewind(self, iteration: int) -> None:
        """Training went back to before ``iteration``: what came after it is no longer part of the trial."""
        while self.reports and self.reports[-1].iteration >= iteration:
            self.reports.pop()
        while self._bests and self._bests[-1].iteration >= iteration:
            self._bests.pop()
        self.checkpoints = [entry for entry in self.checkpoints if entry[0] < iteration]


class Record:
    """The state of an experiment after the events applied so far.

    With ``keep_reports=False`` a trial keeps its last report, decision and best value only, so a driver's memory
    does not grow with the number of reports. Unknown events and fields are ignored.
    """

    def __init__(self, *, keep_reports: bool = True) -> None:
        self.keep_reports = keep_reports
        self.trials: dict[int, TrialRecord] = {}
        self.sessions: list[Event] = []
        self.environments: dict[str, dict[str, Any]] = {}
        self.closed: Event | None = None
        self.experiment: Event = {}
        self.started_at: float | None = None
        self.updated_at: float | None = None
        self.seq = 0
        self._apply = {
            "experiment": self._on_experiment,
            "session": self._on_session,
            "environment": self._on_environment,
            "trial": self._on_trial,
            "start": self._on_start,
            "worker": self._on_worker,
            "report": self._on_report,
            "checkpoint": self._on_checkpoint,
            "broken": self._on_broken,
            "decision": self._on_decision,
            "end": self._on_end,
            "retry": self._on_retry,
            "test": self._on_test,
            "close": self._on_close,
        }

    @property
    def name(self) -> str:
        """The experiment's name."""
        return str(self.experiment.get("name", ""))

    @property
    def metric(self) -> str:
        """The metric the study optimises."""
        return str(self.experiment.get("metric", ""))

    @property
    def mode(self) -> str:
        """ "min" or "max"."""
        return str(self.experiment.get("mode", "min"))

    @property
    def num_trials(self) -> int | None:
        """How many configurations the study asks for, as last extended; None if that follows from its grid."""
        planned = self.sessions[-1].get("planned") if self.sessions else None
        return planned if planned is not None else self.experiment.get("num_trials")

    @property
    def max_iterations(self) -> int | None:
        """How many iterations a trial may have, as last extended."""
        lately = self.sessions[-1].get("max_iterations") if self.sessions else None
        return lately if lately is not None else self.experiment.get("max_iterations")

    @property
    def space(self) -> list[dict[str, Any]]:
        """The parameters, as ``Space.describe`` gives them."""
        return list(self.experiment.get("space") or [])

    @property
    def constants(self) -> dict[str, Any]:
        """What every config holds beside the parameters, dotted names."""
        return dict(self.experiment.get("constants") or {})

    def counts(self) -> dict[State, int]:
        """How many trials are in each state; states nobody is in are left out."""
        found: dict[State, int] = {}
        for trial in self.trials.values():
            found[trial.state] = found.get(trial.state, 0) + 1
        return {state: found[state] for state in State if state in found}

    def best(self) -> TrialRecord | None:
        """The trial with the best value over any iteration among those that did not fail; ties by number."""
        ranked = [(self._rank(t), t.number) for t in self.trials.values() if not t.state.failure and t.best()]
        return self.trials[min(ranked)[1]] if ranked else None

    def apply(self, event: Event) -> None:
        """Take one event into account; events come in the order of the journal. Raises JournalError for a wrong one."""
        self.seq = event.get("seq", self.seq)
        self.updated_at = event.get("time", self.updated_at)
        if handler := self._apply.get(event["event"]):
            try:
                handler(event)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                raise broken(event, error) from error

    def _rank(self, trial: TrialRecord) -> float:
        best = trial.best()
        value = best.value if best else math.inf
        return -value if self.mode == "max" and best else value

    def _on_experiment(self, event: Event) -> None:
        self.experiment = event
        self.started_at = event.get("time")

    def interrupt(self) -> None:
        """Mark what seems to be running as interrupted: its driver died without a word."""
        for trial in self.trials.values():
            if trial.state is State.RUNNING:
                heard = trial.last_report.time if trial.last_report else 0.0
                self._finish_run(trial, max(heard, trial.runs[-1].started), State.INTERRUPTED)
                trial.state = State.INTERRUPTED

    def _on_session(self, event: Event) -> None:
        if self.sessions:
            self.interrupt()
        self.sessions.append(event)
        self.closed = None

    def _on_environment(self, event: Event) -> None:
        self.environments[event["id"]] = event.get("facts") or {}

    def _on_trial(self, event: Event) -> None:
        self.trials[event["number"]] = TrialRecord(
            number=event["number"],
            trial_id=event.get("trial_id") or f"{event['number']:05d}",
            config=event.get("config") or {},
            point=event.get("point") or {},
            seed=event.get("seed"),
            origin=event.get("origin") or "",
            seen=event.get("seen"),
            note=event.get("note") or {},
            resources=event.get("resources") or {},
            created_at=event.get("time", 0.0),
            metric=self.metric,
            mode=self.mode,
            keep_reports=self.keep_reports,
        )

    def _on_start(self, event: Event) -> None:
        trial = self.trials[event["number"]]
        self._finish_run(trial, event["time"], trial.state)
        trial.state, trial.attempt = State.RUNNING, event.get("attempt", trial.attempt)
        trial.by = trial.reason = trial.error = trial.ended_at = None
        names = ("node", "ip", "pid", "environment", "restored", "worker_trials")
        facts: dict[str, Any] = {name: event.get(name) for name in names}
        trial.runs.append(Run(trial.attempt, event["time"], gpu_ids=event.get("gpu_ids") or [], **facts))

    def _on_worker(self, event: Event) -> None:
        """Where a start led to: known only when the worker speaks for the first time."""
        trial = self.trials[event["number"]]
        if not trial.runs:
            return
        for name in ("node", "ip", "pid", "environment", "restored", "worker_trials", "gpu_ids"):
            if event.get(name) is not None:
                setattr(trial.runs[-1], name, event[name])

    def _on_report(self, event: Event) -> None:
        trial = self.trials[event["number"]]
        trial.state = State.RUNNING
        trial._report(Report(event["iteration"], event["metrics"], event["time"], event.get("elapsed")))

    def _on_checkpoint(self, event: Event) -> None:
        trial = self.trials[event["number"]]
        kept = [entry for entry in trial.checkpoints if entry[0] != event["iteration"]]
        trial.checkpoints = [*kept, (event["iteration"], event["path"])]
        if not self.keep_reports:
            trial.checkpoints = trial.checkpoints[-2:]

    def _on_broken(self, event: Event) -> None:
        trial = self.trials[event["number"]]
        trial.checkpoints = [entry for entry in trial.checkpoints if entry[1] != event["path"]]

    def _on_decision(self, event: Event) -> None:
        trial = self.trials[event["number"]]
        if not self.keep_reports:
            trial.decisions.clear()
        trial.decisions.append(event)
        if event.get("action") == "exploit":
            trial.config = (event.get("reason") or {}).get("config") or trial.config
        if event.get("action") == "pause":
            trial.state = State.PAUSED
            self._finish_run(trial, event["time"], State.PAUSED)

    def _on_end(self, event: Event) -> None:
        trial = self.trials[event["number"]]
        trial.state = State(event["state"])
        trial.by, trial.reason, trial.error = event.get("by"), event.get("reason"), event.get("error")
        trial.value, trial.attempt = event.get("value"), event.get("attempt", trial.attempt)
        trial.ended_at = event["time"]
        self._finish_run(trial, event["time"], trial.state)
        if trial.state.succeeded and not self.keep_reports:
            del trial._bests[:-1]  # it will not go back any more

    def _on_retry(self, event: Event) -> None:
        trial = self.trials[event["number"]]
        why = State(event["state"])
        trial.retries.append(why.value)
        trial.given = event.get("given", {} if event.get("by") == "user" else trial.given)
        trial.state, trial.attempt = State.PENDING, event["attempt"]
        trial.ended_at = None
        self._finish_run(trial, event["time"], why)

    def _on_test(self, event: Event) -> None:
        self.trials[event["number"]].test = event["metrics"]

    def _on_close(self, event: Event) -> None:
        self.closed = event

    def _finish_run(self, trial: TrialRecord, when: float, state: State) -> None:
        if trial.runs and trial.runs[-1].ended is None:
            trial.runs[-1].ended, trial.runs[-1].state = when, state


def fold(events: Iterable[Event], *, keep_reports: bool = True) -> Record:
    """The record after all of ``events``, which come in the order of the journal."""
    record = Record(keep_reports=keep_reports)
    for event in events:
        record.apply(event)
    return record


def _better(best: Best | None, iteration: int, value: object, mode: str) -> Best | None:
    """The new best if ``value`` beats the one so far, None otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if best is not None and (value >= best.value if mode == "min" else value <= best.value):
        return None
    return Best(iteration, float(value))
