"""Worker processes in virtual time: no Ray, no training, a clock that jumps from event to event.

The pool above them is the same; so are Tune's controller, the scheduler and the searcher. What a trial would report,
and how long a step would take, a model says.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from raytune_suite.engine.lean import TRIAL_INFO
from raytune_suite.engine.residence import Event, Order, Reply
from raytune_suite.engine.tenants import Process, Task
from raytune_suite.worker import REPORT, TRAINING_ITERATION


class Model(Protocol):
    """What trials would do."""

    def begin(self, trial_id: str, config: Mapping[str, Any]) -> None:
        """A trial begins, or goes on, with this configuration."""
        ...

    def step(self, trial_id: str, iteration: int) -> tuple[float, float]:
        """The metric after this iteration, and the seconds it takes."""
        ...

    def save(self, trial_id: str) -> Any:
        """What a checkpoint of the trial would hold now."""
        ...

    def load(self, trial_id: str, state: Any) -> None:
        """The trial, begun already, goes on from such a checkpoint, which may be another's."""
        ...


class _Trial(NamedTuple):
    """How far a trial has come, in iterations and seconds, and what it told last."""

    iteration: int = 0
    elapsed: float = 0.0
    result: Mapping[str, Any] = {}


class State(NamedTuple):
    """A checkpoint in virtual time."""

    trial: _Trial
    model: Any


@dataclass(frozen=True)
class Saved:
    """What Tune keeps of a trial that was saved, with the names it looks for; another trial may be given it."""

    checkpoint: State
    metrics: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Answer:
    """What a message will have been answered with."""

    value: Any


@dataclass
class VirtualWorkers:
    """At most ``slots`` processes that need ``start_s`` to start; ``settings`` are those of the study's worker.

    ``round_s``: what a message and its answer take.
    """

    model: Model
    slots: int
    settings: Mapping[str, Any]
    start_s: float = 0.0
    round_s: float = 0.0
    now: float = 0.0
    trained_s: float = 0.0
    _count: int = 0
    _trials: dict[str, _Trial] = field(default_factory=dict)
    _named: dict[int, str] = field(default_factory=dict)
    _heap: list[tuple[float, int, Answer]] = field(default_factory=list)

    def clock(self) -> float:
        """Seconds since the beginning."""
        return self.now

    def start(self, request: Any) -> Process:
        """See :class:`~raytune_suite.engine.tenants.Workers`."""
        return Process(request, None)

    def hello(self, process: Process) -> Answer:
        """See :class:`~raytune_suite.engine.tenants.Workers`."""
        return self._answer(self.start_s, "here")

    def turn(self, process: Process, orders: list[Order], tenant: int, task: Task) -> Answer:
        """Train until a decision may fall, or once where every result must be judged before the next."""
        self._obey(orders)
        trial_id, results, seconds = self._named[tenant], [], 0.0
        while True:
            result, cost = self._step(trial_id)
            results.append(result)
            seconds += cost
            if task.method == "train" or seconds >= self.settings["bucket_s"] or self._is_decided_upon(result):
                break
        over = results[-1][TRAINING_ITERATION] >= self.settings["max_iterations"]
        self.trained_s += seconds
        if self.settings["joined"]:
            results = [{**results[-1], REPORT: tuple(report for result in results for report in result[REPORT])}]
        event = Event(tenant, results[0] if task.method == "train" else results, over=over)
        return self._answer(seconds + self.round_s, Reply((event,)))

    def call(
        self,
        process: Process,
        orders: list[Order],
        tenant: int,
        task: Task,
        options: Mapping[str, Any],
    ) -> Answer:
        """Saving and loading take no time but the message's."""
        self._obey(orders)
        trial_id = self._named[tenant]
        if task.method == "restore":
            self._trials[trial_id], model = task.args[0].checkpoint
            self.model.load(trial_id, model)
            return self._answer(self.round_s, None)
        trial = self._trials[trial_id]
        saved = Saved(State(trial, self.model.save(trial_id)), dict(trial.result))
        return self._answer(self.round_s, saved)

    def obey(self, process: Process, orders: list[Order]) -> Answer:
        """See :class:`~raytune_suite.engine.tenants.Workers`."""
        self._obey(orders)
        return self._answer(0.0, Reply())

    def ready(self, references: list[Any], timeout: float | None) -> list[Any]:
        """The next event, at its time: the clock jumps there."""
        wanted = set(references)
        while self._heap:
            at, _, answer = heapq.heappop(self._heap)
            if answer in wanted:  # else nobody waits for it any more
                self.now = max(self.now, at)
                return [answer]
        return []

    def get(self, reference: Any) -> Any:
        """See :class:`~raytune_suite.engine.tenants.Workers`."""
        return reference.value

    def capacity(self, request: Any) -> int:
        """See :class:`~raytune_suite.engine.tenants.Workers`."""
        return self.slots

    def cramped(self, request: Any, held: Mapping[tuple[Any, Any], float]) -> bool:
        """See :class:`~raytune_suite.engine.tenants.Workers`."""
        return False

    def end(self, process: Process, *, at_once: bool = False) -> None:
        """There is nothing to end."""

    def _answer(self, after: float, value: Any) -> Answer:
        self._count += 1
        answer = Answer(value)
        heapq.heappush(self._heap, (self.now + after, self._count, answer))
        return answer

    def _obey(self, orders: list[Order]) -> None:
        for what, *given in orders:
            if what == "enter":
                config = dict(given[2]["config"])
                trial_id = config.pop(TRIAL_INFO).trial_id
                self._named[given[0]] = trial_id
                self._trials.setdefault(trial_id, _Trial())  # it goes on from its last step, as from a checkpoint
                self.model.begin(trial_id, config)
            elif what == "leave":
                self._named.pop(given[0], None)

    def _step(self, trial_id: str) -> tuple[dict[str, Any], float]:
        trial = self._trials[trial_id]
        iteration = trial.iteration + 1
        value, seconds = self.model.step(trial_id, iteration)
        elapsed, metrics = trial.elapsed + seconds, {self.settings["metric"]: value}
        facts: dict[str, Any] = {}
        report = (iteration, metrics, elapsed, facts)
        told = {**metrics, TRAINING_ITERATION: iteration, "time_total_s": elapsed, "time_this_iter_s": seconds}
        self._trials[trial_id] = _Trial(iteration, elapsed, told)
        return {**told, "done": False, REPORT: (report,)}, seconds

    def _is_decided_upon(self, result: Mapping[str, Any]) -> bool:
        s, value = self.settings, result[self.settings["metric"]]
        iteration = result[TRAINING_ITERATION]
        target = s["target"]
        reached = target is not None and (value <= target if s["mode"] == "min" else value >= target)
        return bool(reached or iteration in s["decisions"] or iteration >= s["max_iterations"])
