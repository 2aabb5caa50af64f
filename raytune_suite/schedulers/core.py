"""The scheduler the driver holds, why it decided what it decided, and the options a family takes.

A family (fifo, asha, ...) is one pure file beside this one, which knows options, checks and plan lines, and
at most one in ``onray/``, which holds the subclass of Ray's scheduler and is the only place that imports ray.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pydantic

from raytune_suite.errors import Problem
from raytune_suite.nearest import nearest
from raytune_suite.study.problems import from_pydantic

if TYPE_CHECKING:
    from raytune_suite.study import Study

# What Ray's schedulers take as arguments and a study says elsewhere, once for everything.
ELSEWHERE = {
    "metric": "it is the study's metric",
    "mode": "it is the study's mode",
    "time_attr": "it is always the iteration",
    "max_t": "it is the study's max_iterations",
    "stop_last_trials": "trials always end at max_iterations",
    "log_config": "the journal holds every exploit",
    "require_attrs": "a report may lack the metric",
    "custom_explore_fn": "a function cannot be written down in a study",
}


@dataclass(frozen=True)
class Explanation:
    """One decision: by whom, what (stop, pause, continue, exploit), the facts, and the sentence a user reads.

    ``reason`` holds the numbers the scheduler really compared, in the user's sign.
    """

    by: str
    action: str
    reason: dict[str, Any]
    text: str
    iteration: int = 0


@dataclass
class Ledger:
    """Where a scheduler notes its decisions while it takes them, and how it treats the yardstick.

    ``protected`` is the id of the trial that is never stopped early, if there is one.
    """

    by: str
    protected: str | None = None
    notes: dict[str, Explanation] = field(default_factory=dict)

    def note(self, trial_id: str, iteration: int, action: str, reason: dict[str, Any], text: str) -> None:
        """Remember one decision until it is asked for; a later one about the same trial replaces it."""
        self.notes[trial_id] = Explanation(self.by, action, reason, text, iteration)


class Options(pydantic.BaseModel):
    """Base of a family's options: unknown names and wrong types are errors."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class Scheduler:
    """A scheduler of Ray's, set up for one study, that can say why.

    Attributes:
        ray: the ``ray.tune.schedulers.TrialScheduler``; metric, mode and time attribute are set.
        name: as in the study file.
        rungs: iterations at which it compares trials, ascending, below ``max_iterations``.
        pauses: it pauses trials: each result must reach it before the next step, and trials need checkpoints.
        promotes: it pauses trials at rungs only, and resumes some of them, each from its own last checkpoint, before
            new trials get a slot.
        population: trials that must exist from the start; None if they may come one by one.
        replayable: the same reports in the same order give the same decisions.
        checkpoint_every: iterations between the checkpoints it depends on; None if it needs none.
        every_report: it may decide at every report from ``grace_for`` on, not only at rungs.
    """

    def __init__(
        self,
        name: str,
        ray: Any,
        ledger: Ledger,
        *,
        max_iterations: int,
        rungs: Iterable[int] = (),
        pauses: bool = False,
        promotes: bool = False,
        population: int | None = None,
        replayable: bool = False,
        checkpoint_every: int | None = None,
        every_report: bool = False,
        grace: Callable[[str], int] | None = None,
    ) -> None:
        self.name, self.ray = name, ray
        self.rungs = sorted(set(rungs))
        self.pauses, self.promotes, self.population, self.replayable = pauses, promotes, population, replayable
        self.checkpoint_every, self.every_report = checkpoint_every, every_report
        self._ledger, self._max_iterations, self._grace = ledger, max_iterations, grace

    def until(self, max_iterations: int) -> None:
        """Let trials end at another iteration: a session that is lived through may have had a lower limit."""
        self._max_iterations = max_iterations
        if hasattr(self.ray, "until"):
            self.ray.until(max_iterations)

    def protects(self, number: int) -> bool:
        """Say whether this trial is never stopped early: trial 0 of a study with a ``default``."""
        return trial_id(number) == self._ledger.protected

    def grace_for(self, trial_id: str) -> int:
        """Return the first iteration at which this trial may be stopped (``max_iterations``: never early)."""
        if self._grace is None or trial_id == self._ledger.protected:
            return self._max_iterations
        return min(self._grace(trial_id), self._max_iterations)

    def explain(
        self,
        trial_id: str,
        iteration: int,
        value: float | None,
        decision: str,
    ) -> Explanation | None:
        """Return why, right after ``ray.on_trial_result`` gave ``decision``; None if nothing was decided.

        Also to be asked when the scheduler stops a trial that did not report (hyperband stops paused ones).
        """
        note = self._ledger.notes.pop(trial_id, None)
        if note is not None or decision not in ("STOP", "PAUSE") or iteration >= self._max_iterations:
            return note
        action, done = ("stop", "stopped") if decision == "STOP" else ("pause", "paused")
        text = f"{done} at iteration {iteration} by {self._ledger.by}, which gives no reason"
        return Explanation(self._ledger.by, action, {}, text, iteration)

    def others(self) -> list[tuple[str, Explanation]]:
        """Return, and forget, what the last call decided about trials other than the one explained."""
        notes = list(self._ledger.notes.items())
        self._ledger.notes.clear()
        return notes

    def holds(self, trial_id: str) -> bool:
        """Say whether the trial waits at a rung, also one that an earlier session left there, and needs no slot."""
        holds = getattr(self.ray, "holds", None)
        return holds is not None and bool(holds(trial_id))

    def waking(self) -> list[str]:
        """Return the trials that were promoted and are not known to train again: free slots are for those paused."""
        return list(self.ray.waking()) if self.promotes else []

    def leave(self) -> tuple[str, Explanation] | None:
        """Return a trial to stop where it waits, now that no other is left to come or to run, and why."""
        trial_id = self.ray.leave() if self.promotes else None
        return (trial_id, self._ledger.notes.pop(trial_id)) if trial_id is not None else None

    def keeps(self, wanted: Sequence[str]) -> list[str]:
        """Return which checkpoints must be kept while the study runs, if ``wanted`` are to be kept for good."""
        if self.population is not None:
            return ["all"]  # any checkpoint of any trial may be taken over
        last = (self.pauses or self.promotes) and not {"last", "all"} & set(wanted)
        return [*wanted, *(["last"] if last else [])]

    def pinned(self) -> list[str]:
        """Return the paths of the checkpoints a later decision may still load: they must not be deleted."""
        paths = getattr(self.ray, "pinned", None)
        return list(paths()) if callable(paths) else []


@dataclass(frozen=True)
class Family:
    """One name of the table: its options, and what can be done with a study that chose it.

    ``check`` and ``describe`` and ``rungs`` import no ray; ``build`` does.
    """

    name: str
    options: type[Options]
    check: Callable[[Study, Any], list[Problem]]
    describe: Callable[[Study, Any], list[str]]
    rungs: Callable[[Study, Any], list[int]]
    build: Callable[[Study, Any, Ledger], Scheduler]


def read_options(model: type[Options], given: Mapping[str, Any], name: str) -> tuple[Options | None, list[Problem]]:
    """Return the options and no problems, or None and every problem; unknown names with near misses."""
    allowed = list(model.model_fields)
    unknown = [key for key in given if key not in allowed]
    problems = [_unknown(key, given[key], allowed, name) for key in unknown]
    known = {key: value for key, value in given.items() if key in allowed}
    try:
        options = model(**known)
    except pydantic.ValidationError as error:
        return None, [*problems, *from_pydantic(error, model, ["scheduler"])]
    return (None if problems else options), problems


def _unknown(key: str, value: Any, allowed: Sequence[str], name: str) -> Problem:
    where = f"scheduler.{key}"
    if key in ELSEWHERE:
        return Problem(where, f"{key} is no option here: {ELSEWHERE[key]}", value, "Remove it.")
    near = nearest(key, allowed)
    known = f"{name} takes {', '.join(allowed)}" if allowed else f"{name} takes no options"
    fix = f"Did you mean {near}? " if near else ""
    return Problem(where, f"{name} has no option {key}", value, f"{fix}{known[0].upper()}{known[1:]}.")


def protected_trial(study: Study) -> str | None:
    """Return the id of the trial that no scheduler may stop: the default configuration's."""
    return trial_id(0) if study.default is not None else None


def trial_id(number: int) -> str:
    """Return the id of trial ``number``: ``00007``."""
    return f"{number:05d}"


def share(factor: float) -> str:
    """Return one part in ``factor`` as a person writes it: ``1/3``, ``67%``."""
    inverse = Fraction(1 / factor).limit_denominator(100)
    return f"1/{inverse.denominator}" if inverse.numerator == 1 else f"{1 / factor:.0%}"


def count(number: int, noun: str) -> str:
    """Return ``1 trial`` or ``7 trials``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listing(numbers: Iterable[float]) -> str:
    """Return ``1, 3 and 9``."""
    words = [f"{number:g}" for number in numbers]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def finite(value: Any) -> bool:
    """Say whether a reported value can be compared at all."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def trials_of(study: Study) -> int | None:
    """Return how many trials the study will have: ``num_trials``, less if its space has less; None if unknown."""
    numbers = [n for n in (study.num_trials, study.search_space.size()) if n is not None]
    return min(numbers, default=None)
