"""Where the time of the slots went: training, starting, waiting, lost to failures, idle. Counted from the journal.

The unit is a slot, or a GPU where the study has some: a trial with a quarter of a GPU takes a quarter of its time.
Between a trial's ``start`` and its next end, retry or pause its part is taken:

* *training*: the seconds its steps took, as its reports tell;
* *starting*: the rest of the time until its first report: process, imports, data, model;
* *between steps*: the rest: checkpoints, decisions, messages;
* *lost*: what was trained, started or begun in vain: all of a trial that failed in the end, and, where one failed and
  went on, what had to be done again.

What nobody took while a session ran is *idle*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from raytune_suite.states import State

Event = Mapping[str, Any]
KINDS = ("training", "starting", "between", "lost", "idle")
_WORDS = {"training": "training", "starting": "starting", "between": "between steps", "lost": "lost to failures"}
_FAILED = frozenset({State.FAILED, State.OOM, State.TIMED_OUT})


@dataclass
class _Trial:
    """A trial that has not ended: the seconds of each kind it took, times its part; where its training stands."""

    spent: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("training", "starting", "between", "lost"), 0.0)
    )
    part: float = 1.0
    since: float | None = None  # when what is now unaccounted for began; None while it has no worker
    fresh: bool = False  # no report since the start
    spare: float = 0.0  # seconds before its last report in which no step was seen yet
    source: str = "between"  # what they have been counted as
    elapsed: dict[int, float] = field(default_factory=dict)  # seconds of training up to each iteration


class Usage:
    """Counts event by event; events come in the order of the journal. Times are unix seconds."""

    def __init__(self) -> None:
        self.capacity = 0.0
        """Slots, or GPUs, of the session at hand."""
        self.unit = "slot"
        self._spent = dict.fromkeys(KINDS, 0.0)
        self._trials: dict[int, _Trial] = {}
        self._offered = 0.0
        self._began: float | None = None
        self._latest = 0.0
        self._share = 1.0

    def apply(self, event: Event) -> None:
        """Count one event."""
        kind, number, now = event["event"], event.get("number"), float(event.get("time") or self._latest)
        if kind == "session":
            self._session(event, now)
        elif kind == "close":
            self._end_session(now)
        elif kind == "start" and number is not None:
            begun = self._trials.setdefault(number, _Trial())
            self._leave(begun, self._latest)
            begun.since, begun.fresh, begun.part = now, True, self._share
        elif (trial := self._trials.get(-1 if number is None else number)) is not None:
            self._of_trial(kind, event, trial, now)
        self._latest = max(self._latest, now)

    def seconds(self) -> dict[str, float]:
        """Seconds of each kind so far, times slots or GPUs; together what was there."""
        found = dict(self._spent)
        for trial in self._trials.values():
            for kind, amount in trial.spent.items():
                found[kind] += amount
            if trial.since is not None:
                found["starting" if trial.fresh else "between"] += (self._latest - trial.since) * trial.part
        offered = self._offered + self._running() * self.capacity
        found["idle"] = max(0.0, offered - sum(found.values()))
        return found

    @property
    def taken(self) -> float:
        """Slots, or GPUs, that trials have now."""
        return sum(trial.part for trial in self._trials.values() if trial.since is not None)

    def shares(self) -> dict[str, float]:
        """The part of the time that went into each of :data:`KINDS`; empty before any has passed."""
        found = self.seconds()
        total = sum(found.values())
        return {kind: amount / total for kind, amount in found.items()} if total > 0 else {}

    def describe(self) -> str:
        """In one line, as in ``81% training, 9% starting, 2% between steps, 3% lost to failures, 5% idle``."""
        shares = self.shares()
        words = [f"{share:.0%} {_WORDS.get(kind, kind)}" for kind, share in shares.items() if share >= 0.005]
        return ", ".join(words)

    # -- events --------------------------------------------------------------------------------------------------

    def _session(self, event: Event, now: float) -> None:
        self._end_session(self._latest)
        share, gpus = float((event.get("resources") or {}).get("gpu") or 0), float(event.get("gpus") or 0)
        on_gpus = share > 0 and gpus > 0
        self.unit, self._share = ("GPU", share) if on_gpus else ("slot", 1.0)
        self.capacity = gpus if on_gpus else float(event.get("slots") or 0)
        self._began = now

    def _end_session(self, when: float) -> None:
        for trial in self._trials.values():
            self._leave(trial, when)
        if self._began is not None:
            self._offered += max(0.0, when - self._began) * self.capacity
        self._began = None

    def _running(self) -> float:
        return max(0.0, self._latest - self._began) if self._began is not None else 0.0

    def _of_trial(self, kind: str, event: Event, trial: _Trial, now: float) -> None:
        if kind == "worker" and self.unit == "GPU" and event.get("gpu"):
            trial.part = float(event["gpu"])
        elif kind == "report" and trial.since is not None:
            self._report(trial, int(event["iteration"]), event.get("elapsed"), now)
        elif kind == "retry":
            self._lose_time(trial, now, failed=State(event.get("state", State.FAILED)) in _FAILED)
        elif kind == "decision" and event.get("action") == "pause":
            self._leave(trial, now)
        elif kind == "end":
            self._end(int(event["number"]), trial, State(event["state"]), now)

    def _report(self, trial: _Trial, iteration: int, elapsed: float | None, now: float) -> None:
        """Part the time since the last report, or the start, into training and the rest.

        Reports of quick steps arrive several at a time: those behind the first take from the time before it.
        """
        passed = max(0.0, now - (trial.since or now))
        last = next(reversed(trial.elapsed), 0)
        if last >= iteration:
            last = self._go_back(trial, iteration)
        before = trial.elapsed.get(last, 0.0)
        if trial.fresh or passed > trial.spare:
            trial.spare, trial.source = 0.0, "starting" if trial.fresh else "between"
        available = passed + trial.spare
        trained = passed if elapsed is None else min(available, max(0.0, elapsed - before))
        trial.elapsed[iteration] = before + trained if elapsed is None else elapsed
        trial.spent["training"] += trained * trial.part
        trial.spent[trial.source] += (passed - trained) * trial.part
        trial.spare = available - trained
        trial.since, trial.fresh = now, False

    def _go_back(self, trial: _Trial, iteration: int) -> int:
        """It goes on from before ``iteration``: what it trained after that was in vain. Returns where it stands."""
        reached = next(reversed(trial.elapsed.values()))
        for known in [known for known in trial.elapsed if known >= iteration]:
            del trial.elapsed[known]
        last = next(reversed(trial.elapsed), 0)
        wasted = min((reached - trial.elapsed.get(last, 0.0)) * trial.part, trial.spent["training"])
        trial.spent["training"] -= wasted
        trial.spent["lost"] += wasted
        return last

    def _lose_time(self, trial: _Trial, now: float, failed: bool) -> None:
        """An attempt failed: what it did since its last report was in vain, be it starting or training."""
        if trial.since is not None:
            trial.spent["lost" if failed else "between"] += max(0.0, now - trial.since) * trial.part
        trial.since = None

    def _leave(self, trial: _Trial, now: float) -> None:
        """It gives up its worker without having failed."""
        if trial.since is not None:
            trial.spent["starting" if trial.fresh else "between"] += max(0.0, now - trial.since) * trial.part
        trial.since = None

    def _end(self, number: int, trial: _Trial, state: State, now: float) -> None:
        self._leave(trial, now)
        if not state.ended:
            return  # it goes on in another session
        del self._trials[number]
        for kind, amount in trial.spent.items():
            self._spent["lost" if state in _FAILED else kind] += amount


def usage_of(events: Iterable[Event]) -> Usage:
    """Where the time went, by the events of a journal."""
    usage = Usage()
    for event in events:
        usage.apply(event)
    return usage
