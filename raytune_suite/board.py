"""What TensorBoard shows of an experiment: the journal's events, each turned into summaries."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raytune_suite import hparams, journal
from raytune_suite.eventfiles import MAX_OPEN, EventFiles, markdown, scalars, together
from raytune_suite.occupation import Occupation
from raytune_suite.states import State

FOLDER = "tensorboard"

Event = dict[str, Any]


@dataclass
class _Session:
    """What is needed of a trial while it is not over."""

    run: str
    when: float
    iteration: int = 0
    elapsed: float = 0.0
    state: State = State.PENDING
    bests: list[tuple[int, float]] = field(default_factory=list)  # every improvement: training may go back
    shown: dict[str, float] = field(default_factory=dict)


class Board:
    """Writes the TensorBoard files of one experiment; it gets the journal's events in order."""

    def __init__(self, folder: Path, study: Any = None, *, max_open: int = MAX_OPEN) -> None:
        self.folder = Path(folder)
        self.files = EventFiles(self.folder / FOLDER, max_open=max_open)
        self.seq = 0
        self._study = study
        self._experiment: Event = {}
        self._metric, self._mode = "", "min"
        self._announced = False
        self._columns = hparams.Columns()
        self._rungs: list[int] = []
        self._open: dict[int, _Session] = {}
        self._over: dict[int, int] = {}  # the last iteration of each trial that has ended
        self._best: float | None = None
        self._occupation = Occupation()
        self._apply = {
            "experiment": self._on_experiment,
            "session": self._on_session,
            "trial": self._on_trial,
            "start": self._on_start,
            "report": self._on_report,
            "decision": self._on_decision,
            "end": self._on_end,
            "retry": self._on_retry,
            "test": self._on_test,
        }

    def apply(self, event: Event) -> None:
        """Write what one event adds."""
        if self.seq == 0:
            self.files.remove_all()  # what an earlier run left may lack its last seconds
        self.seq = event.get("seq", self.seq + 1)
        handler = self._apply.get(event["event"])
        if handler:
            handler(event)
        if (point := self._occupation.apply(event)) is not None:
            self.files.write("", scalars(point[1]), point[0], event["time"])

    def flush(self) -> None:
        """Bring the metric columns of the running trials up to date and let readers see everything."""
        for session in self._open.values():
            self._show(session)
        self.files.flush()

    def close(self) -> None:
        """Write what is left and close all files."""
        self.flush()
        self.files.close()

    def _on_experiment(self, event: Event) -> None:
        self._experiment = event
        self._metric, self._mode = event.get("metric", ""), event.get("mode", "min")
        self._columns = hparams.Columns.of(event.get("space") or [], event.get("constants") or {})

    def _on_session(self, event: Event) -> None:
        self._rungs = sorted(event.get("rungs") or [])
        for session in self._open.values():  # a driver before this one died without a word
            if session.state is State.RUNNING:
                session.state = State.INTERRUPTED
        self._announce(event)

    def _announce(self, event: Event) -> None:
        """The experiment summary: once, before the first trial, when the rungs are known."""
        if self._announced:
            return
        self._announced = True
        facts = self._experiment
        summary = hparams.experiment(
            self._columns,
            name=facts.get("name", ""),
            metric=self._metric,
            mode=self._mode,
            created=float(facts.get("time") or event["time"]),
            rungs=bool(self._rungs),
        )
        self.files.write("", summary, 0, event["time"])
        if (text := self._study_text()) is not None:
            self.files.write("", markdown("study", _fenced(text, "yaml")), 0, event["time"])

    def _study_text(self) -> str | None:
        path = self.folder / "study.yaml"
        if self._study is not None:
            return str(self._study.dump())
        return path.read_text() if path.exists() else None

    def _on_trial(self, event: Event) -> None:
        self._announce(event)
        number = event["number"]
        session = self._open[number] = _Session(run_of(number), event["time"])
        values = self._columns.values(event.get("point") or {})
        begun = hparams.session_start(values, event["time"]), markdown("trial/config", _config_text(event))
        self._show(session, *begun)

    def _on_start(self, event: Event) -> None:
        number = event["number"]
        if number in self._over:
            self._begin_again(number, event["seq"])
        session = self._open.get(number)
        if session is None:
            return
        session.state, session.when = State.RUNNING, event["time"]  # shown with the next flush: many are over by then

    def _begin_again(self, number: int, before: int) -> None:
        """A trial that had ended goes on. TensorBoard keeps the first end it sees: the file is made anew."""
        self.files.remove(run_of(number))
        del self._over[number]
        for event in events_of(self.folder):
            if event["seq"] >= before:
                break
            if event.get("number") == number and event["event"] != "end":
                self._apply.get(event["event"], _ignore)(event)

    def _on_report(self, event: Event) -> None:
        session = self._open.get(event["number"])
        if session is None:
            return
        iteration, metrics, session.when = event["iteration"], event["metrics"], event["time"]
        if iteration <= session.iteration:
            self._rewind(session, iteration)
        session.iteration, session.state = iteration, State.RUNNING
        session.elapsed = event.get("elapsed") or session.elapsed
        found = {tag: value for tag, value in metrics.items() if isinstance(value, int | float)}
        value = found.get(self._metric)
        if better(value, session.bests[-1][1] if session.bests else None, self._mode):
            session.bests.append((iteration, float(value or 0)))
            found[hparams.BEST] = session.bests[-1][1]
        if found:
            self.files.write(session.run, scalars(found), iteration, event["time"])

    def _rewind(self, session: _Session, step: int) -> None:
        """Training continues from before ``step``: nothing from there on is part of the trial any more."""
        self.files.purge(session.run, step, session.when)
        session.bests = [best for best in session.bests if best[0] < step]
        session.iteration = step - 1
        session.shown.clear()
        if session.bests:  # a reader that does not purge drops later points when it sees an earlier one
            iteration, value = session.bests[-1]
            self.files.write(session.run, scalars({hparams.BEST: value}), iteration, session.when)
        self._show(session)

    def _show(self, session: _Session, *more: Any) -> None:
        """The metric columns beside the metric itself, as far as they have changed, and further summaries."""
        columns = {
            hparams.STATE: hparams.STATE_CODES[session.state],
            hparams.EPOCHS: session.iteration,
            hparams.SECONDS: session.elapsed,
        }
        if self._rungs:
            below = bisect_right(self._rungs, session.iteration)
            columns[hparams.RUNG] = self._rungs[below - 1] if below else 0
        changed = {tag: value for tag, value in columns.items() if session.shown.get(tag) != value}
        if changed or more:
            self.files.write(session.run, together(scalars(changed), *more), session.iteration, session.when)
            session.shown = columns

    def _on_decision(self, event: Event) -> None:
        session = self._open.get(event["number"])
        if session is None:
            return
        if event.get("action") == "pause":
            session.state = State.PAUSED
        summary = markdown("trial/decisions", _decision_text(event))
        self.files.write(session.run, summary, event.get("iteration") or session.iteration, event["time"])

    def _on_retry(self, event: Event) -> None:
        session = self._open.get(event["number"])
        if session is not None:
            session.state, session.when = State.PENDING, event["time"]
            how = f", {event['text']}" if event.get("text") else ""
            text = f"attempt {event['attempt']} follows{how}: {event.get('state', 'failed')}"
            self.files.write(session.run, markdown("trial/retries", text), session.iteration, event["time"])

    def _on_end(self, event: Event) -> None:
        number, state = event["number"], State(event["state"])
        session = self._open.get(number)
        if session is None:
            return
        session.state, session.when = state, event["time"]
        summary = hparams.session_end(state, event["time"])
        self._show(session, markdown("trial/end", _end_text(event)), *([summary] if summary is not None else []))
        if summary is None:  # it can be resumed: its row stays open
            return
        self._over[number] = session.iteration
        del self._open[number]
        self._follow_best(session, state, event["time"])

    def _follow_best(self, session: _Session, state: State, when: float) -> None:
        """The study's own curve: the best value so far over the number of trials that have ended."""
        if session.bests and state.succeeded and better(session.bests[-1][1], self._best, self._mode):
            self._best = session.bests[-1][1]
        if self._best is not None:
            self.files.write("", scalars({"study/best": self._best}), len(self._over), when)

    def _on_test(self, event: Event) -> None:
        found = {
            tag if tag.startswith("test/") else f"test/{tag}": value
            for tag, value in (event.get("metrics") or {}).items()
            if isinstance(value, int | float)
        }
        if found:
            number = event["number"]
            self.files.write(run_of(number), scalars(found), self._over.get(number, 0), event["time"])


def run_of(number: int) -> str:
    """The name of a trial's run in TensorBoard, and of its folder."""
    return f"{number:05d}"


def events_of(folder: Path) -> Iterator[Event]:
    """The events of a folder's journal, none if there is no journal."""
    return journal.read(folder) if (folder / journal.FILE).exists() else iter(())


def better(value: Any, than: float | None, mode: str) -> bool:
    """Whether ``value`` is a finite number that beats ``than``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return than is None or (value < than if mode == "min" else value > than)


def _ignore(event: Event) -> None:
    """For events that put nothing into a trial's file."""


def _fenced(text: str, language: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def _config_text(event: Event) -> str:
    config = json.dumps(event.get("config") or {}, indent=2, ensure_ascii=False)
    origin = event.get("origin") or "unknown"
    return f"Trial {event['number']}, origin: {origin}, seed: {event.get('seed')}\n\n{_fenced(config, 'json')}"


def _decision_text(event: Event) -> str:
    reason = event.get("reason") or {}
    facts = "\n".join(f"- {name}: `{value}`" for name, value in reason.items())
    return f"**{event.get('action')}** by {event.get('by')}: {event.get('text') or ''}\n\n{facts}"


def _end_text(event: Event) -> str:
    by = f" by {event['by']}" if event.get("by") else ""
    lines = [f"**{event['state']}**{by} at iteration {event.get('iteration') or 0}. {event.get('reason') or ''}"]
    error = event.get("error") or {}
    if error:
        lines += [
            f"{error.get('type')}: {error.get('message')}",
            _fenced(error.get("traceback") or "", "text"),
        ]
    return "\n\n".join(lines)
