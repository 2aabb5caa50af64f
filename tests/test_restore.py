"""A journal lived through again: a study that breaks off anywhere goes on as if nothing had happened."""

from __future__ import annotations

import itertools
import json
import math
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytune_suite import schedulers, search
from raytune_suite.driver import Driver
from raytune_suite.failures import Failure
from raytune_suite.journal import Journal, read
from raytune_suite.live import STOP
from raytune_suite.recall import StandIn, StandInController
from raytune_suite.record import Record, fold
from raytune_suite.replay import replay
from raytune_suite.restore import DifferenceError, restore, running_time
from raytune_suite.search.suggestions import at_once
from raytune_suite.states import State
from raytune_suite.stoppers import Stoppers
from raytune_suite.study import Study

Event = dict[str, Any]
SPACE = {"x": {"uniform": [0, 1]}, "y": {"loguniform": [1e-3, 1.0]}, "kind": {"choice": ["a", "b"]}}
GRID = {"x": {"grid": [0.1, 0.3, 0.5, 0.7]}, "kind": {"choice": ["a", "b", "c"]}}
BASE: Event = {
    "name": "course",
    "trainable": "anything:Model",
    "metric": "loss",
    "num_trials": 12,
    "max_iterations": 9,
    "space": SPACE,
    "search": "random",
}


class Killed(Exception):
    """The driver's process is gone."""


class Breaking:
    """A journal whose process is killed right after event ``last`` was written."""

    def __init__(self, journal: Journal, last: float = math.inf) -> None:
        self.journal, self.last = journal, last

    def append(self, kind: str, **fields: Any) -> int:
        if self.journal.seq >= self.last:
            raise Killed
        return self.journal.append(kind, **fields)


def loss(config: Event, iteration: int) -> float:
    """What a trial reports: a curve of its configuration alone, which diverges for some."""
    if config["x"] > 0.97:
        return math.nan
    rough = math.sin(1000 * config["x"]) / 10
    distance = float(config["x"] - 0.3)
    return distance**2 + {"a": 0.0, "b": 0.1, "c": 0.2}[config["kind"]] + (1 + rough) / iteration


class Later:
    """A background whose work is done when the test says so."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def __call__(self, work: Callable[[], None]) -> None:
        self.work.append(work)

    def run(self) -> None:
        self.work.pop()()


class Session:
    """One driver with a controller small enough to read: as Ray Tune's, its calls come one at a time.

    ``later``: suggestions are made in the background, of several slots also ahead, at moments drawn by ``rng``.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        *,
        slots: int,
        fails: dict[int, int],
        last: float = math.inf,
        later: Later | None = None,
    ) -> None:
        self.study, self.slots, self.fails, self.later = study, slots, fails, later
        resumed = (folder / "journal.jsonl").exists()
        self.journal = Journal.open(folder) if resumed else Journal.create(folder)
        self.log = Breaking(self.journal, last)
        self.scheduler = schedulers.build(study)
        self.controller = StandInController()
        self.driver = Driver(
            study,
            self.log,
            search.build(study),
            self.scheduler,
            Stoppers(study),
            num_trials=study.num_trials,
            launch=later or at_once,
        )
        self.running: dict[int, StandIn] = {}
        self.iterations: dict[int, int] = {}
        self.checkpoints = self._checkpoints(folder)
        past = restore(self.driver, read(folder)) if resumed else None
        if not resumed:
            head = {"metric": study.metric, "mode": study.mode, "max_iterations": study.max_iterations}
            self.log.append("experiment", version=1, num_trials=study.num_trials, **head)
        self.log.append("session", pid=1, num_trials=study.num_trials, max_iterations=study.max_iterations)
        if past is not None:
            past.settle()

    def _checkpoints(self, folder: Path) -> dict[int, int]:
        """The iteration each trial has a checkpoint of: every second one that is on record."""
        if self.journal.seq == 0:
            return {}
        return {n: trial.iteration // 2 * 2 for n, trial in fold(read(folder)).trials.items()}

    def run(self, rng: random.Random) -> Session:
        try:
            while not (self.driver.finished and not self.driver.live):
                self._fill()
                if self._think(rng):
                    continue
                if not self.running:
                    break
                self._step(rng.choice(sorted(self.running)))
                if self.driver.stopping:
                    self.driver.abandon_live()
        finally:
            self.journal.close()
        return self

    def _think(self, rng: random.Random) -> bool:
        """Let the searcher come to an end, now and then, and at any rate when nothing else can go on."""
        if self.later is None:
            return False
        if len(self.running) == self.slots > 1 and rng.random() < 0.2:
            self.driver.forecast.worth = lambda seconds: True  # type: ignore[method-assign]
            self.driver.look_ahead()
        if self.later.work and (not self.running or rng.random() < 0.3):
            self.later.run()
            return True
        return False

    def _fill(self) -> None:
        while len(self.running) < self.slots and (new := self.driver.next_trial()) is not None:
            trial = self.running[new.number] = StandIn(new.number, new.config)
            self.scheduler.ray.on_trial_add(self.controller, trial)
            self.iterations[new.number] = self.checkpoints.get(new.number, 0)
            self.driver.started(new.number)

    def _step(self, number: int) -> None:
        trial = self.running[number]
        iteration = self.iterations[number] = self.iterations[number] + 1
        if self.fails.get(number) == iteration:
            self._fail(trial)
            return
        metrics = {"loss": loss(trial.config, iteration)}

        def decide(value: float) -> str:
            result = {"training_iteration": iteration, "loss": value}
            return str(self.scheduler.ray.on_trial_result(self.controller, trial, result))

        if self.driver.report(number, (iteration, metrics, float(iteration), {}), decide) == STOP:
            del self.running[number]
            if math.isnan(metrics["loss"]):
                self.scheduler.ray.on_trial_remove(self.controller, trial)
            else:
                result = {"training_iteration": iteration, **metrics}
                self.scheduler.ray.on_trial_complete(self.controller, trial, result)
            self.driver.ended(number)

    def _fail(self, trial: StandIn) -> None:
        """Fail; a retry goes on from the checkpoint and fails no more."""
        failure = Failure(State.FAILED, "ValueError", "no")
        self.scheduler.ray.on_trial_error(self.controller, trial)
        if self.driver.retry(trial.number, failure):
            self.fails = {n: i for n, i in self.fails.items() if n != trial.number}
            self.scheduler.ray.on_trial_add(self.controller, trial)
            self.iterations[trial.number] = (self.iterations[trial.number] - 1) // 2 * 2
            self.driver.started(trial.number)
        else:
            del self.running[trial.number]
            self.driver.ended(trial.number, failure)


def study(folder: Path, **changes: Any) -> Study:
    return Study.from_dict({**BASE, **changes}, project=folder)


def outcome(folder: Path) -> dict[str, Any]:
    """What became of a study, without the times and the sessions it took."""
    record = fold(read(folder))
    return {
        "points": {n: t.point for n, t in record.trials.items()},
        "curves": {n: [(r.iteration, repr(r.metrics)) for r in t.reports] for n, t in record.trials.items()},
        "states": {n: (t.state, t.by, t.iteration) for n, t in record.trials.items()},
        "decisions": [
            (e["number"], e["iteration"], e["action"], e["by"], repr(e["reason"]))
            for e in read(folder)
            if e["event"] == "decision"
        ],
    }


SEARCHES: list[Any] = ["random", {"name": "random", "sampling": "sobol"}, "grid", "bayesian"]
SCHEDULERS: list[Any] = [
    "fifo",
    {"name": "asha", "reduction_factor": 3},
    {"name": "asha", "reduction_factor": 2, "brackets": 2},
    {"name": "median", "min_samples_required": 2},
]


def random_study(rng: random.Random, folder: Path) -> tuple[Study, dict[int, int]]:
    named = rng.choices(SEARCHES, weights=[3, 3, 3, 1])[0]
    changes: Event = {"search": named, "scheduler": rng.choice(SCHEDULERS), "seed": rng.randrange(100)}
    if named == "grid":
        changes |= {"space": GRID}
    if rng.random() < 0.3:
        changes |= {"default": {"x": 0.5, "kind": "a"}}
    if rng.random() < 0.3:
        changes |= {"stop": {"trial_plateau": {"patience": 3}}}
    changes |= {"retries": {"failed": rng.choice([0, 1])}}
    fails = {rng.randrange(12): rng.randrange(1, 6) for _ in range(rng.choice([0, 0, 2]))}
    return study(folder, **changes), fails


@pytest.mark.parametrize(("seed", "background"), [(seed, seed >= 8) for seed in range(16)])
def test_a_sequential_study_that_is_killed_anywhere_ends_as_if_it_had_not_been(
    seed: int, background: bool, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    made, fails = random_study(rng, tmp_path)
    Session(made, tmp_path / "whole", slots=1, fails=fails).run(random.Random(0))
    events = len(list(read(tmp_path / "whole")))
    expected = outcome(tmp_path / "whole")
    for attempt in range(4):
        folder = tmp_path / f"broken-{attempt}"
        broken(made, folder, fails, 1, [rng.randrange(3, events)], background)
        later = Later() if background else None
        Session(made, folder, slots=1, fails=left(fails, folder), later=later).run(random.Random(0))
        assert outcome(folder) == expected
        assert replay(folder, made).identical


@pytest.mark.parametrize("last", [25, 40, 52, 61])
def test_a_sequential_bayesian_study_suggests_after_a_kill_what_it_would_have(tmp_path: Path, last: int) -> None:
    made = study(tmp_path, search={"name": "bayesian", "initial_points": 3}, max_iterations=4, seed=2)
    Session(made, tmp_path / "whole", slots=1, fails={}).run(random.Random(0))
    broken(made, tmp_path / "broken", {}, 1, [last], background=True)
    assert len(fold(read(tmp_path / "broken")).trials) < 12
    Session(made, tmp_path / "broken", slots=1, fails={}, later=Later()).run(random.Random(1))
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")
    origins = [e["origin"] for e in read(tmp_path / "broken") if e["event"] == "trial"]
    assert origins.count("model") == 9


@pytest.mark.parametrize(("seed", "background"), [(seed, seed >= 8) for seed in range(16)])
def test_a_parallel_study_that_is_killed_twice_loses_and_repeats_nothing(
    seed: int, background: bool, tmp_path: Path
) -> None:
    rng = random.Random(100 + seed)
    made, fails = random_study(rng, tmp_path)
    slots = rng.choice([2, 3, 5])
    folder = tmp_path / "broken"
    broken(made, folder, fails, slots, [rng.randrange(3, 60), rng.randrange(70, 110)], background)
    before = fold(read(folder))
    later = Later() if background else None
    Session(made, folder, slots=slots, fails=left(fails, folder), later=later).run(rng)
    after = fold(read(folder))
    assert all(trial.state.ended for trial in after.trials.values())
    assert len(after.trials) == 12
    finished = {n: trial for n, trial in before.trials.items() if trial.state.ended}
    for number, trial in finished.items():
        assert [run.started for run in after.trials[number].runs] == [run.started for run in trial.runs]
        assert (after.trials[number].state, after.trials[number].value) == (trial.state, trial.value) or math.isnan(
            trial.value or 0
        )
    ends = [event["number"] for event in read(folder) if event["event"] == "end"]
    assert sorted(ends) == list(range(12))
    derived = replay(folder, made)
    assert derived.identical, derived.lines()
    assert derived.counts.suggestions == 12


def broken(
    made: Study, folder: Path, fails: dict[int, int], slots: int, lasts: list[int], background: bool = False
) -> None:
    """A study whose driver is killed after each of the events ``lasts``, and resumed in between."""
    for last in lasts:
        try:
            later = Later() if background else None
            session = Session(made, folder, slots=slots, fails=left(fails, folder), last=last, later=later)
            session.run(random.Random(last))
        except Killed:
            continue


@pytest.mark.parametrize("seed", range(6))
def test_what_was_suggested_while_trials_trained_is_derived_again(seed: int, tmp_path: Path) -> None:
    rng = random.Random(200 + seed)
    named = {"name": "bayesian", "initial_points": 3} if seed % 2 else {"name": "random", "sampling": "sobol"}
    made = study(tmp_path, search=named, scheduler=rng.choice(SCHEDULERS), seed=seed)
    Session(made, tmp_path / "course", slots=rng.choice([2, 4]), fails={}, later=Later()).run(rng)
    trials = [event for event in read(tmp_path / "course") if event["event"] == "trial"]
    assert any(event["seen"] < event["seq"] - 1 for event in trials)  # something happened while it was made
    assert all(one["seq"] <= other["seen"] for one, other in itertools.pairwise(trials))
    derived = replay(tmp_path / "course", made)
    assert derived.identical, derived.lines()
    assert derived.counts.suggestions == 12


def test_a_suggestion_that_claims_to_have_seen_something_else_is_found_by_replay(tmp_path: Path) -> None:
    made = study(tmp_path, search={"name": "bayesian", "initial_points": 3}, seed=5)
    folder = tmp_path / "course"
    Session(made, folder, slots=3, fails={}, later=Later()).run(random.Random(5))
    events = list(read(folder))
    model = [e for e in events if e["event"] == "trial" and e["origin"] == "model"]
    event = next(e for e in model if any(r["event"] == "report" for r in events[e["seen"] : e["seq"]]))
    event["seen"] = event["seq"] - 1
    (folder / "journal.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    assert replay(folder, made).lines()[0].startswith(f"different: event {event['seq']} ")


def test_a_journal_whose_resumed_driver_wrote_too_little_into_seen_is_derived_again(tmp_path: Path) -> None:
    made = study(tmp_path, search={"name": "bayesian", "initial_points": 3}, seed=5)
    Session(made, tmp_path / "whole", slots=1, fails={}).run(random.Random(0))
    last = [event["seq"] for event in read(tmp_path / "whole") if event["event"] == "end"][6]
    folder = tmp_path / "course"
    broken(made, folder, {}, 1, [last])
    Session(made, folder, slots=1, fails={}).run(random.Random(0))
    events = list(read(folder))
    assert [event["event"] for event in events[last : last + 2]] == ["session", "trial"]
    events[last + 1]["seen"] = 0
    (folder / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    assert replay(folder, made).identical


def left(fails: dict[int, int], folder: Path) -> dict[int, int]:
    """The failures that are still to come: one whose retry is on record does not come again."""
    if not (folder / "journal.jsonl").exists():
        return fails
    retried = {event["number"] for event in read(folder) if event["event"] == "retry"}
    return {number: iteration for number, iteration in fails.items() if number not in retried}


# -- single cases --------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Study, Path]:
    """A whole sequential study under ASHA."""
    made = study(tmp_path, scheduler={"name": "asha", "reduction_factor": 3})
    Session(made, tmp_path / "course", slots=1, fails={}).run(random.Random(0))
    return made, tmp_path / "course"


def fresh(made: Study, folder: Path) -> Driver:
    log = Journal.create(folder / "unused")
    return Driver(made, log, search.build(made), schedulers.build(made), Stoppers(made), num_trials=made.num_trials)


def test_rungs_are_rebuilt_exactly(finished: tuple[Study, Path], tmp_path: Path) -> None:
    made, folder = finished
    events = list(read(folder))
    driver = fresh(made, tmp_path)
    restore(driver, events)
    rungs = {m: dict(recorded) for bracket in driver.scheduler.ray._brackets for m, recorded in bracket._rungs}
    reports = {(e["number"], e["iteration"]): e["metrics"]["loss"] for e in events if e["event"] == "report"}
    assert rungs[1] == {f"{n:05d}": -value for (n, i), value in reports.items() if i == 1 and not math.isnan(value)}
    assert rungs[3] == {f"{n:05d}": -value for (n, i), value in reports.items() if i == 3}


def medians(session: Session) -> dict[str, list[tuple[int, float]]]:
    """What Ray's median rule has noted of each trial."""
    results = session.scheduler.ray._results
    return {t.trial_id: [(r["training_iteration"], r["loss"]) for r in found] for t, found in results.items()}


@pytest.mark.parametrize("last", [31, 40, 50, 63])
def test_the_median_rule_knows_every_report_once(tmp_path: Path, last: int) -> None:
    made = study(tmp_path, scheduler={"name": "median", "min_samples_required": 2}, seed=4)
    whole = Session(made, tmp_path / "whole", slots=1, fails={}).run(random.Random(0))
    broken(made, tmp_path / "broken", {}, 1, [last])
    again = Session(made, tmp_path / "broken", slots=1, fails={}).run(random.Random(0))
    assert medians(again) == medians(whole)


def test_a_decision_that_does_not_come_out_again_is_named(finished: tuple[Study, Path], tmp_path: Path) -> None:
    made, folder = finished
    events = list(read(folder))
    changed = next(e for e in events if e["event"] == "decision" and e["action"] == "stop")
    changed["action"] = "continue"
    with pytest.raises(DifferenceError, match=f"event {changed['seq']} .*continue for trial"):
        restore(fresh(made, tmp_path), events)


def test_what_is_on_record_wins_if_asked_for(finished: tuple[Study, Path], tmp_path: Path) -> None:
    made, folder = finished
    events = list(read(folder))
    changed = next(i for i, e in enumerate(events) if e["event"] == "decision" and e["action"] == "stop")
    events[changed]["action"] = "continue"
    driver = fresh(made, tmp_path)
    past = restore(driver, events[: changed + 1], as_logged=True)
    assert len(past.differences) == 1
    assert list(driver.waiting) == [events[changed]["number"]]


def test_a_changed_report_is_found_by_replay(finished: tuple[Study, Path]) -> None:
    made, folder = finished
    assert replay(folder, made).identical
    lines = (folder / "journal.jsonl").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if '"event":"report"' in line and '"number":3' in line)
    event = json.loads(lines[at])
    event["metrics"]["loss"] -= 5
    lines[at] = json.dumps(event)
    (folder / "journal.jsonl").write_text("\n".join(lines) + "\n")
    derived = replay(folder, made)
    assert not derived.identical
    assert derived.lines()[0].startswith(f"different: event {at + 2} ")


def test_another_seed_is_found_by_replay(finished: tuple[Study, Path], tmp_path: Path) -> None:
    folder = finished[1]
    other = study(tmp_path, scheduler={"name": "asha", "reduction_factor": 3}, seed=1)
    assert "trial 0 was" in replay(folder, other).lines()[0]


@pytest.mark.parametrize("name", ["hyperband", "pbt"])
def test_what_cannot_be_derived_again_is_counted(name: str, tmp_path: Path) -> None:
    made = study(tmp_path, scheduler=name)
    events: list[Event] = [
        {"event": "experiment", "version": 1},
        {"event": "session"},
        {"event": "trial", "number": 0, "config": {}, "point": search.build(made).ask(0).point, "origin": "random"},  # type: ignore[union-attr]
        {"event": "report", "number": 0, "iteration": 1, "metrics": {"loss": 0.5}, "elapsed": 1.0},
        {"event": "decision", "number": 0, "iteration": 1, "action": "pause", "by": name, "reason": {}, "text": ""},
    ]
    journal = Journal.create(tmp_path / "other")
    for event in events:
        journal.append(event.pop("event"), **event)
    journal.close()
    derived = replay(tmp_path / "other", made)
    assert derived.identical
    assert derived.counts.not_derived == {f"decisions of {name}": 1}


def test_a_decision_that_was_not_carried_out_is_carried_out_first(tmp_path: Path) -> None:
    made = study(tmp_path, scheduler={"name": "asha", "reduction_factor": 3})
    Session(made, tmp_path / "whole", slots=1, fails={}).run(random.Random(0))
    events = list(read(tmp_path / "whole"))
    stop = next(e["seq"] for e in events if e["event"] == "decision" and e["action"] == "stop")
    for last in (stop - 1, stop):  # only the report is on record; then also the decision
        folder = tmp_path / f"at-{last}"
        broken(made, folder, {}, 1, [last])
        session = Session(made, folder, slots=1, fails={})
        assert [e["event"] for e in read(folder)][-1] == "end"
        assert not session.driver.waiting
        session.journal.close()


def test_only_running_time_counts(tmp_path: Path) -> None:
    events = [
        {"event": "experiment", "time": 0.0},
        {"event": "session", "time": 10.0},
        {"event": "report", "time": 25.0},
        {"event": "session", "time": 1000.0},
        {"event": "report", "time": 1003.0},
    ]
    assert running_time(events) == 18.0
    assert running_time([]) == 0.0
    asked = {"event": "retry", "time": 2000.0, "by": "user"}
    again = [{"event": "session", "time": 2001.0}, {"event": "retry", "time": 2004.0}]
    assert running_time([*events, asked, *again]) == 21.0


def test_a_clock_that_is_set_does_not_count(tmp_path: Path) -> None:
    set_to = {"now": 0.0}
    with Journal.create(tmp_path, clock=lambda: time.time() + set_to["now"]) as journal:
        journal.append("session", pid=1)
        for jump in (0.0, 3600.0, 3600.0, -86400.0):
            set_to["now"] = jump
            journal.append("report", number=0, iteration=1, metrics={})
    events = list(read(tmp_path))
    assert [round(e.get("jump", 0.0), 1) for e in events] == [0.0, 0.0, 3600.0, 0.0, -90000.0]
    assert running_time(events) < 60


def test_retry_budgets_go_on_where_they_were(tmp_path: Path) -> None:
    made = study(tmp_path, retries={"failed": 1})
    broken(made, tmp_path / "course", {0: 3}, 1, [9])
    kinds = [e["event"] for e in read(tmp_path / "course")]
    assert "retry" in kinds
    session = Session(made, tmp_path / "course", slots=1, fails={0: 5})
    session.run(random.Random(0))
    assert fold(read(tmp_path / "course")).trials[0].state is State.FAILED


def test_a_moved_folder_goes_on(tmp_path: Path) -> None:
    made = study(tmp_path)
    broken(made, tmp_path / "here", {}, 2, [30])
    shutil.move(tmp_path / "here", tmp_path / "there")
    Session(made, tmp_path / "there", slots=2, fails={}).run(random.Random(0))
    record: Record = fold(read(tmp_path / "there"))
    assert {trial.state for trial in record.trials.values()} <= {State.COMPLETED, State.STOPPED}
