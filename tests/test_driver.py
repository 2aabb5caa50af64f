"""The course of a study, without Ray: what is written, told and decided at each call."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raytune_suite.driver import Driver
from raytune_suite.errors import SpaceExhaustedError
from raytune_suite.failures import Failure
from raytune_suite.journal import Journal, read
from raytune_suite.live import CONTINUE, PAUSE, STOP
from raytune_suite.record import Record, fold
from raytune_suite.restore import restore
from raytune_suite.schedulers.core import Ledger, Scheduler
from raytune_suite.search import build
from raytune_suite.search.suggestions import Background, Launch, Work, at_once
from raytune_suite.states import State
from raytune_suite.stoppers import Stoppers
from raytune_suite.study import Study


class Course:
    """A driver on a real journal and a real searcher, with a scheduler that says what the test wants."""

    def __init__(self, folder: Path, launch: Launch = at_once, allotment: Any = None, **changes: Any) -> None:
        self.allotment = allotment
        base = {
            "name": "course",
            "trainable": "anything:Model",
            "metric": "loss",
            "num_trials": 3,
            "max_iterations": 3,
            "space": {"x": {"uniform": [0, 1]}},
            "search": "random",
        }
        self.study = Study.from_dict({**base, **changes}, project=folder)
        self.journal = Journal.create(folder / "course")
        self.journal.append("experiment", version=1, metric=self.study.metric, mode=self.study.mode)
        self.ledger = Ledger("test")
        self.driver = Driver(
            self.study,
            self.journal,
            build(self.study),
            Scheduler("test", None, self.ledger, max_iterations=3),
            Stoppers(self.study),
            num_trials=self.study.num_trials,
            launch=launch,
            allotment=self.allotment,
        )

    def report(self, number: int, iteration: int, loss: Any, decision: str = CONTINUE, **facts: Any) -> str:
        metrics = {} if loss is None else {"loss": loss}
        return self.driver.report(number, (iteration, metrics, float(iteration), facts), lambda value: decision)

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in read(self.journal.folder) if event["event"] == kind]

    def record(self) -> Record:
        return fold(read(self.journal.folder))


@pytest.fixture
def course(tmp_path: Path) -> Iterator[Course]:
    made = Course(tmp_path)
    yield made
    made.journal.close()


def failure(state: State = State.FAILED) -> Failure:
    return Failure(state, "ValueError", "no", "trace")


def test_a_trial_is_in_the_journal_before_it_is_given_out(course: Course) -> None:
    new = course.driver.next_trial()
    assert new is not None
    event = course.events("trial")[0]
    assert (event["number"], event["config"]) == (new.number, new.config)


def test_a_report_is_in_the_journal_before_the_scheduler_is_asked(course: Course) -> None:
    course.driver.next_trial()
    seen: list[int] = []

    def decide(value: float) -> str:
        seen.append(len(course.events("report")))
        return CONTINUE

    course.driver.report(0, (1, {"loss": 0.5}, 1.0, {}), decide)
    assert seen == [1]


def test_exactly_num_trials_are_given_out(course: Course) -> None:
    numbers = [course.driver.next_trial() for _ in range(5)]
    assert [n.number if n else None for n in numbers] == [0, 1, 2, None, None]
    assert course.driver.finished


def test_a_trial_that_reaches_max_iterations_is_completed_whatever_the_scheduler_says(course: Course) -> None:
    course.driver.next_trial()
    assert [course.report(0, i, 0.5) for i in (1, 2)] == [CONTINUE, CONTINUE]
    assert course.report(0, 3, 0.4, STOP) == STOP
    course.driver.ended(0)
    assert course.record().trials[0].state is State.COMPLETED


def test_a_trial_the_scheduler_stops_says_by_whom_and_why(course: Course) -> None:
    course.driver.next_trial()
    course.ledger.note("00000", 1, "stop", {"cutoff": 0.1}, "0.5 is worse than 0.1")
    assert course.report(0, 1, 0.5, STOP) == STOP
    course.driver.ended(0)
    trial = course.record().trials[0]
    assert (trial.state, trial.by, trial.reason) == (State.STOPPED, "test", "0.5 is worse than 0.1")
    assert trial.decisions[0]["reason"] == {"cutoff": 0.1}


def test_what_a_scheduler_does_to_another_trial_is_written_under_that_trial(course: Course) -> None:
    course.driver.next_trial()
    course.driver.next_trial()
    course.report(1, 1, 0.9)
    course.ledger.note("00001", 1, "stop", {}, "worse than its bracket")
    course.driver.ended(1)
    assert course.record().trials[1].reason == "worse than its bracket"


def test_a_report_without_the_metric_is_recorded_and_decides_nothing(tmp_path: Path) -> None:
    course = Course(tmp_path)
    course.driver.next_trial()
    course.report(0, 1, 0.5)
    metrics: dict[str, Any] = {"other": 1}
    asked: list[float] = []

    def decide(value: float) -> str:
        asked.append(value)
        return STOP

    assert course.driver.report(0, (2, metrics, 2.0, {}), decide) == CONTINUE
    assert asked == []
    assert len(course.events("report")) == 2


def test_nan_ends_a_trial_and_keeps_its_last_good_value_as_the_best(course: Course) -> None:
    course.driver.next_trial()
    course.report(0, 1, 0.5)
    assert course.report(0, 2, math.nan) == STOP
    course.driver.ended(0)
    trial = course.record().trials[0]
    assert (trial.state, trial.by) == (State.STOPPED, "nan")
    best = trial.best()
    assert best is not None
    assert best.value == 0.5


def test_the_searcher_is_told_how_long_a_trial_has_trained_and_again_on_resume(course: Course, tmp_path: Path) -> None:
    driver = course.driver
    for number, last in enumerate((2, 3)):
        driver.next_trial()
        for iteration in range(1, last + 1):
            metrics = {"loss": 0.1 * iteration}
            driver.report(number, (iteration, metrics, iteration / 3 + number, {}), lambda value: CONTINUE)
    driver.ended(1)
    told = driver.searcher.observed
    assert {n: (o.seconds, o.state) for n, o in told.items()} == {
        0: (2 / 3, State.RUNNING),
        1: (2.0, State.COMPLETED),
    }
    fresh = Course(tmp_path / "fresh")
    restore(fresh.driver, read(course.journal.folder))
    assert fresh.driver.searcher.observed == told
    fresh.journal.close()


def test_the_searcher_is_told_of_reports_and_failures(course: Course) -> None:
    for _ in range(2):
        course.driver.next_trial()
    course.report(0, 1, 0.5)
    course.driver.ended(1, failure())
    told = {o.number: (o.state, o.value) for o in course.driver.searcher.observed.values()}
    assert told[1] == (State.FAILED, None)


@pytest.mark.parametrize(
    ("state", "budget", "expected"),
    [
        (State.FAILED, {"failed": 0}, [False]),
        (State.FAILED, {"failed": 2}, [True, True, False]),
        (State.OOM, {"oom": 1}, [True, False]),
        (State.PREEMPTED, {"preempted": "unlimited"}, [True, True, True, True]),
        (State.TIMED_OUT, {"failed": 5}, [False]),
    ],
)
def test_each_kind_of_failure_has_its_own_retry_budget(
    tmp_path: Path, state: State, budget: dict[str, Any], expected: list[bool]
) -> None:
    course = Course(tmp_path, retries={"oom": 0, **budget})
    course.driver.next_trial()
    assert [course.driver.retry(0, failure(state)) for _ in expected] == expected
    assert [e["attempt"] for e in course.events("retry")] == list(range(1, sum(expected) + 1))


def test_a_trainable_that_returns_early_has_completed_and_one_that_never_reported_has_failed(course: Course) -> None:
    course.driver.next_trial()
    course.driver.next_trial()
    course.report(0, 1, 0.5)
    for number in (0, 1):
        assert course.report(number, 1, None, finished=True) == STOP
        course.driver.ended(number)
    states = [t.state for t in course.record().trials.values()]
    assert states == [State.COMPLETED, State.FAILED]


def test_an_interrupt_writes_where_every_running_trial_stands(course: Course) -> None:
    for _ in range(2):
        course.driver.next_trial()
    course.report(1, 1, 0.5)
    course.driver.interrupt("SIGINT")
    assert course.driver.next_trial() is None
    course.driver.abandon_live()
    trials = course.record().trials
    assert [t.state for t in trials.values()] == [State.INTERRUPTED] * 2
    assert course.report(1, 2, 0.4) == STOP  # too late: the trial has its end
    assert len(course.events("report")) == 1


def test_a_study_that_reaches_its_target_counts_what_still_runs_as_stopped(tmp_path: Path) -> None:
    course = Course(tmp_path, stop={"target": 0.1})
    for _ in range(2):
        course.driver.next_trial()
    course.report(1, 1, 0.5)
    course.report(0, 1, 0.05)
    course.driver.ended(0)
    assert course.driver.finished
    course.driver.abandon_live()
    assert {t.state for t in course.record().trials.values()} == {State.STOPPED}


def test_a_misspelt_metric_ends_the_study_at_the_first_report(tmp_path: Path) -> None:
    course = Course(tmp_path, metric="los")
    course.driver.next_trial()
    assert course.report(0, 1, 0.5) == STOP
    assert "loss" in str(course.driver.error)


def test_an_environment_is_written_once_and_shown_once(tmp_path: Path) -> None:
    course = Course(tmp_path)
    shown: list[dict[str, Any]] = []
    course.driver._on_environment = shown.append
    for number in range(2):
        course.driver.next_trial()
        course.report(number, 1, 0.5, environment=("abc", {"python": "3.11"}), worker={"pid": 7, "environment": "abc"})
    assert shown == [{"python": "3.11"}]
    assert [e["id"] for e in course.events("environment")] == ["abc"]
    assert [e["pid"] for e in course.events("worker")] == [7, 7]


def test_a_trainable_that_cannot_be_used_ends_the_study_at_the_first_trial(course: Course) -> None:
    course.driver.next_trial()
    course.driver.ended(0, Failure(State.FAILED, "TrainableError", "there is no module named modle", ""))
    assert course.driver.next_trial() is None
    assert "modle" in str(course.driver.error)
    assert course.record().trials[0].state is State.FAILED


def test_one_trial_that_asks_for_the_impossible_does_not_end_a_study_that_works(course: Course) -> None:
    course.driver.next_trial()
    course.report(0, 1, 0.5)
    course.driver.ended(0, Failure(State.FAILED, "TrainableError", "the shape changed", ""))
    assert course.driver.next_trial() is not None


class Later:
    """A background whose work is done when the test says so."""

    def __init__(self) -> None:
        self.work: list[Work] = []

    def __call__(self, work: Work) -> None:
        self.work.append(work)


def test_a_trial_comes_once_its_suggestion_has_been_made(tmp_path: Path) -> None:
    later = Later()
    course = Course(tmp_path, later)
    assert course.driver.next_trial() is None
    assert not course.driver.finished
    later.work.pop()()
    new = course.driver.next_trial()
    assert new is not None
    assert new.number == 0
    assert course.driver.next_trial() is None  # the next one is in the making


def test_reports_go_on_while_a_suggestion_is_made_which_says_what_it_had_seen(tmp_path: Path) -> None:
    later = Later()
    course = Course(tmp_path, later)
    course.driver.next_trial()
    later.work.pop()()
    course.driver.next_trial()
    assert course.driver.next_trial() is None  # begun
    assert course.report(0, 1, 0.5) == CONTINUE
    assert course.driver.searcher.observed[0].state is State.PENDING
    later.work.pop()()
    assert course.driver.next_trial() is not None
    assert course.driver.searcher.observed[0].value == 0.5
    first, second = course.events("trial")
    assert first["seq"] == second["seen"] < course.events("report")[0]["seq"] < second["seq"]


def test_a_suggestion_is_made_ahead_only_if_that_is_worth_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = Later()
    course = Course(tmp_path, later)
    course.driver.look_ahead()
    assert later.work == []
    monkeypatch.setattr(course.driver.forecast, "worth", lambda seconds: True)
    for _ in range(2):
        course.driver.look_ahead()
    assert len(later.work) == 1  # one, and no more
    later.work.pop()()
    assert course.driver.next_trial() is not None
    course.driver.interrupt("SIGINT")
    course.driver.look_ahead()
    assert later.work == []


def test_time_on_a_slot_is_what_the_forecast_learns_from(course: Course) -> None:
    for number in range(2):
        course.driver.next_trial()
        course.driver.started(number)
    course.report(0, 1, 0.5, PAUSE)
    course.driver.ended(1, failure())
    assert len(course.driver.forecast._sorted) == 2


@pytest.mark.parametrize("error", [ZeroDivisionError("no data"), SpaceExhaustedError("nothing is feasible")])
def test_a_searcher_that_fails_ends_the_study_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    background = Background("searcher-test")
    course = Course(tmp_path, background)
    assert course.driver.next_trial(10) is not None

    def fail(number: int, rng: Any) -> None:
        raise error

    monkeypatch.setattr(course.driver.searcher, "suggest", fail)
    assert course.driver.next_trial(10) is None
    assert course.driver.error is error
    assert course.driver.finished
    course.driver.abandon_live()
    assert course.record().trials[0].state is State.INTERRUPTED
    background.close()


def test_a_signal_ends_the_wait_for_a_searcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    background, let = Background("searcher-test"), threading.Event()
    course = Course(tmp_path, background)
    monkeypatch.setattr(course.driver.searcher, "suggest", lambda number, rng: let.wait(10) and None)
    threading.Timer(0.05, course.driver.interrupt, ["SIGTERM"]).start()
    assert course.driver.next_trial(math.inf) is None
    assert course.driver.finished
    let.set()
    background.close()


def test_a_space_that_ends_while_trials_run_ends_the_study_after_them(tmp_path: Path) -> None:
    later = Later()
    course = Course(tmp_path, later, space={"x": {"choice": [1]}})
    for expected in (True, False):
        course.driver.next_trial()
        later.work.pop()()
        assert (course.driver.next_trial() is not None) is expected
    assert course.driver.finished
    assert sorted(course.driver.live) == [0]


def test_a_study_ends_when_its_first_trials_all_fail(tmp_path: Path) -> None:
    course = Course(tmp_path, num_trials=20, stop={"first_failures": 2})
    for number in range(2):
        assert not course.driver.stopping
        course.driver.next_trial()
        course.driver.ended(number, failure())
    assert course.driver.next_trial() is None
    assert "ValueError: no (trials 0, 1)" in str(course.driver.error)
    course.journal.close()


def test_failures_beside_a_trial_that_trains_well_do_not_end_the_study(tmp_path: Path) -> None:
    course = Course(tmp_path, num_trials=20, stop={"first_failures": 2})
    for _ in range(3):
        course.driver.next_trial()
    course.report(0, 1, 0.5)
    course.driver.ended(1, failure())
    course.driver.ended(2, failure())
    assert not course.driver.stopping
    course.journal.close()


def test_with_repeats_the_searcher_is_told_the_standard_error_and_the_journal_has_the_seeds(tmp_path: Path) -> None:
    course = Course(tmp_path, repeats=2)
    told: list[Any] = []
    course.driver.suggestions.tell = told.append  # type: ignore[method-assign, assignment]
    course.driver.next_trial()
    course.driver.report(0, (1, {"loss": 0.5, "loss/std_error": 0.1}, 1.0, {}), lambda value: CONTINUE)
    course.driver.ended(0)
    assert [observation.error for observation in told] == [None, 0.1, 0.1]
    assert len(set(course.events("trial")[0]["repeat_seeds"])) == 2
    assert course.record().trials[0].best() == (1, 0.5, 0.1)
    course.journal.close()


def test_without_repeats_a_metric_of_that_name_is_just_a_metric(course: Course) -> None:
    told: list[Any] = []
    course.driver.suggestions.tell = told.append  # type: ignore[method-assign, assignment]
    course.driver.next_trial()
    course.driver.report(0, (1, {"loss": 0.5, "loss/std_error": 0.1}, 1.0, {}), lambda value: CONTINUE)
    assert told[-1].error is None
    assert "repeat_seeds" not in course.events("trial")[0]


class Allots:
    """Gives every trial a quarter, but refuses those whose x is above a limit."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.foreseen: list[Any] = []

    def foresee_point(self, suggestion: Any) -> None:
        self.foreseen.append(suggestion.point)

    def facts(self, config: dict[str, Any]) -> tuple[dict[str, Any], str]:
        assert config in self.foreseen, "it was taken before anybody knew"
        return {"gpu": 0.25}, "too large" if config["x"] > self.limit else ""


def test_a_trial_that_fits_nowhere_is_infeasible_and_the_next_one_is_given_out(tmp_path: Path) -> None:
    course = Course(tmp_path, allotment=Allots(0.5), num_trials=8, stop={"first_failures": 1})

    given = [new.config["x"] for new in iter(course.driver.next_trial, None)]

    trials = course.record().trials.values()
    refused = [trial for trial in trials if trial.state is State.INFEASIBLE]
    assert sorted(given) == sorted(trial.config["x"] for trial in trials if trial not in refused)
    assert 0 < len(refused) < 8
    assert all(trial.config["x"] > 0.5 and trial.reason == "too large" for trial in refused)
    assert all(trial.resources == {"gpu": 0.25} for trial in trials)
    observed = course.driver.searcher.observed
    assert {n for n, seen in observed.items() if seen.state is State.INFEASIBLE} == {trial.number for trial in refused}
    assert course.driver.error is None, "what was never started is no failure of the code"
    course.journal.close()


def test_a_study_of_which_nothing_fits_ends(tmp_path: Path) -> None:
    course = Course(tmp_path, allotment=Allots(-1), num_trials=4)

    assert course.driver.next_trial() is None
    assert course.driver.finished
    assert course.record().counts() == {State.INFEASIBLE: 4}
    course.journal.close()


def test_a_journal_with_refused_trials_can_be_lived_through_again(tmp_path: Path) -> None:
    course = Course(tmp_path, allotment=Allots(0.5), num_trials=8)
    while course.driver.next_trial() is not None:
        pass
    again = Course(tmp_path / "again", num_trials=8)
    restore(again.driver, list(read(course.journal.folder)))

    assert again.driver.searcher.observed == course.driver.searcher.observed
    for made in (course, again):
        made.journal.close()
