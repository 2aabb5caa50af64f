"""A study by promotion that is killed anywhere goes on as if nothing had happened, and can be derived again."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from promoting import Promoting
from test_restore import Killed, left, loss, outcome, study

from raytune_suite import schedulers, search
from raytune_suite.driver import Driver
from raytune_suite.failures import Failure
from raytune_suite.journal import Journal, read
from raytune_suite.record import fold
from raytune_suite.replay import replay
from raytune_suite.restore import DifferenceError, restore
from raytune_suite.states import State
from raytune_suite.stoppers import Stopped, Stoppers
from raytune_suite.study import Study

PROMOTION = {"name": "asha", "rule": "promotion", "reduction_factor": 2}


def broken(made: Study, folder: Path, fails: dict[int, int], slots: int, lasts: list[int]) -> None:
    """A study whose driver is killed after each of the events ``lasts``, and resumed in between."""
    for last in lasts:
        try:
            Promoting(made, folder, slots=slots, fails=left(fails, folder), last=last).run(random.Random(last))
        except Killed:
            continue


def random_study(rng: random.Random, folder: Path) -> tuple[Study, dict[int, int]]:
    options = {**PROMOTION, "reduction_factor": rng.choice([2, 3]), "brackets": rng.choice([1, 1, 2])}
    changes: dict[str, Any] = {"scheduler": options, "seed": rng.randrange(100), "num_trials": 12}
    if rng.random() < 0.3:
        changes |= {"default": {"x": 0.9, "y": 0.01, "kind": "b"}}
    if rng.random() < 0.3:
        changes |= {"stop": {"trial_plateau": {"patience": 2}}}
    changes |= {"retries": {"failed": rng.choice([0, 1])}}
    fails = {rng.randrange(12): rng.randrange(1, 6) for _ in range(rng.choice([0, 0, 2]))}
    return study(folder, **changes), fails


@pytest.mark.parametrize("seed", range(10))
def test_a_sequential_study_that_is_killed_anywhere_ends_as_if_it_had_not_been(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    made, fails = random_study(rng, tmp_path)
    Promoting(made, tmp_path / "whole", slots=1, fails=fails).run(random.Random(0))
    events = len(list(read(tmp_path / "whole")))
    expected = outcome(tmp_path / "whole")
    assert replay(tmp_path / "whole", made).identical
    for attempt in range(5):
        folder = tmp_path / f"broken-{attempt}"
        broken(made, folder, fails, 1, [rng.randrange(3, events)])
        Promoting(made, folder, slots=1, fails=left(fails, folder)).run(random.Random(0))
        assert outcome(folder) == expected
        assert replay(folder, made).identical


@pytest.mark.parametrize("seed", range(10))
def test_a_parallel_study_that_is_killed_twice_loses_nothing_and_is_derived_again(seed: int, tmp_path: Path) -> None:
    rng = random.Random(100 + seed)
    made, fails = random_study(rng, tmp_path)
    slots, folder = rng.choice([2, 3, 5]), tmp_path / "broken"
    broken(made, folder, fails, slots, [rng.randrange(3, 60), rng.randrange(70, 110)])
    Promoting(made, folder, slots=slots, fails=left(fails, folder)).run(rng)
    after = fold(read(folder))
    assert len(after.trials) == 12
    assert all(trial.state.ended for trial in after.trials.values())
    assert sorted(event["number"] for event in read(folder) if event["event"] == "end") == list(range(12))
    derived = replay(folder, made)
    assert derived.identical, derived.lines()
    assert derived.counts.suggestions == 12
    assert not derived.counts.not_derived
    decisions = sum(event["event"] == "decision" for event in read(folder))
    assert derived.counts.decisions == decisions


def finished(folder: Path) -> Study:
    """A whole parallel study in ``folder / "whole"``."""
    made = study(folder, scheduler=PROMOTION, seed=3)
    Promoting(made, folder / "whole", slots=2, fails={}).run(random.Random(1))
    return made


def test_promotions_pauses_and_those_left_are_all_in_the_journal(tmp_path: Path) -> None:
    finished(tmp_path)
    events = list(read(tmp_path / "whole"))
    decided = [event for event in events if event["event"] == "decision"]
    assert {event["action"] for event in decided} == {"pause", "continue", "stop"}
    resumed = [event for event in decided if event["text"].startswith("promoted")]
    assert resumed
    for event in resumed:  # and then it gets a worker again
        assert any(e["event"] == "start" and e["number"] == event["number"] and e["seq"] > event["seq"] for e in events)
    record = fold(events)
    stopped = [trial for trial in record.trials.values() if trial.state is State.STOPPED and trial.by == "asha"]
    assert stopped
    assert all("no trial is left to come" in (trial.reason or "") for trial in stopped)


def test_a_journal_cut_off_after_any_event_goes_on(tmp_path: Path) -> None:
    made = finished(tmp_path)
    lines = (tmp_path / "whole" / "journal.jsonl").read_text().splitlines()
    for last in range(2, len(lines), 3):
        folder = tmp_path / f"cut-{last}"
        folder.mkdir()
        (folder / "journal.jsonl").write_text("\n".join(lines[:last]) + "\n")
        Promoting(made, folder, slots=2, fails={}).run(random.Random(last))
        assert all(trial.state.ended for trial in fold(read(folder)).trials.values())
        assert replay(folder, made).identical


def test_a_promotion_that_nobody_earned_is_found_by_replay(tmp_path: Path) -> None:
    made = finished(tmp_path)
    path = tmp_path / "whole" / "journal.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    wrong = next(e for e in events if e["event"] == "decision" and str(e["text"]).startswith("promoted"))
    wrong["number"] = next(e["number"] for e in events if e["event"] == "decision" and e["action"] == "pause"
                           and e["number"] != wrong["number"])  # fmt: skip
    path.write_text("\n".join(json.dumps(event) for event in events) + "\n")
    derived = replay(tmp_path / "whole", made)
    assert not derived.identical
    assert derived.lines()[0].startswith(f"different: event {wrong['seq']} ")


def test_a_trial_stopped_while_another_runs_is_found_by_replay(tmp_path: Path) -> None:
    made = finished(tmp_path)
    events = list(read(tmp_path / "whole"))
    pause = next(e for e in events if e["event"] == "decision" and e["action"] == "pause")
    early = [e for e in events if e["seq"] <= pause["seq"]]
    early.append({**pause, "seq": pause["seq"] + 1, "action": "stop"})
    driver = Driver(
        made, Journal.create(tmp_path / "unused"), search.build(made), schedulers.build(made), Stoppers(made),
        num_trials=12,
    )  # fmt: skip
    with pytest.raises(DifferenceError, match="was decided; now nothing is"):
        restore(driver, early)


def test_an_interrupted_study_leaves_trials_at_their_rungs_and_takes_them_up_again(tmp_path: Path) -> None:
    made = study(tmp_path, scheduler=PROMOTION, seed=3)
    folder = tmp_path / "stopped"
    session = Promoting(made, folder, slots=2, fails={})
    for _ in range(12):
        session._fill()
        session._step(min(session.running))
    held = {number for number in session.paused if session.scheduler.holds(f"{number:05d}")}
    assert held
    session.driver.interrupt("SIGINT")
    session.driver.abandon_live()
    session.journal.close()
    assert {n for n, t in fold(read(folder)).trials.items() if t.state is State.INTERRUPTED} >= held
    again = Promoting(made, folder, slots=2, fails={})
    again._fill()
    assert {n for n in again.paused if again.scheduler.holds(f"{n:05d}")} >= held - set(again.running)
    again.run(random.Random(0))
    assert all(trial.state.ended for trial in fold(read(folder)).trials.values())
    assert {t.state for t in fold(read(folder)).trials.values()} <= {State.COMPLETED, State.STOPPED}
    assert replay(folder, made).identical


def test_more_trials_are_compared_with_those_that_ended(tmp_path: Path) -> None:
    made = finished(tmp_path)
    longer = made.model_copy(update={"num_trials": 20}).with_project(tmp_path)
    before = fold(read(tmp_path / "whole"))
    Promoting(longer, tmp_path / "whole", slots=2, fails={}).run(random.Random(2))
    events = list(read(tmp_path / "whole"))
    after = fold(events)
    assert len(after.trials) == 20
    assert all(after.trials[n].state is t.state for n, t in before.trials.items())
    late = next(e for e in events if e["event"] == "decision" and e["number"] == 12)
    assert late["reason"]["compared"] == 13 - sum(math.isnan(loss(t.config, 1)) for t in before.trials.values())
    assert replay(tmp_path / "whole", longer).identical


def test_a_study_whose_time_was_up_can_go_on(tmp_path: Path) -> None:
    """Trials that ended with the study are gone: nobody waits for them."""
    made = study(tmp_path, scheduler=PROMOTION, seed=3)
    folder = tmp_path / "timed"
    session = Promoting(made, folder, slots=2, fails={})
    for _ in range(12):
        session._fill()
        session._step(min(session.running))
    session.driver.stopped = Stopped("time", "30 minutes are over")
    session.driver.abandon_live()
    session.journal.close()
    ended = {n for n, t in fold(read(folder)).trials.items() if t.state.ended}
    assert ended
    Promoting(made, folder, slots=2, fails={}).run(random.Random(0))
    after = fold(read(folder)).trials
    assert len(after) == 12
    assert all(t.state.ended for t in after.values())
    assert replay(folder, made).identical


def test_a_preempted_trial_is_not_waited_for_and_runs_when_the_study_goes_on(tmp_path: Path) -> None:
    made = study(tmp_path, scheduler=PROMOTION, seed=3, retries={"preempted": 0})
    folder = tmp_path / "preempted"
    session = Promoting(made, folder, slots=2, fails={})
    for _ in range(4):
        session._fill()
        session._step(min(session.running))
    session._fill()
    number, trial = session.running.popitem()
    session.scheduler.ray.on_trial_error(session.controller, trial)
    session.driver.ended(number, Failure(State.PREEMPTED, "NodeDied", "the node is gone"))
    session.run(random.Random(0))
    assert {t.number for t in fold(read(folder)).trials.values() if t.state is State.PREEMPTED} == {number}
    Promoting(made, folder, slots=2, fails={}).run(random.Random(0))
    assert fold(read(folder)).trials[number].state in (State.COMPLETED, State.STOPPED)
    assert replay(folder, made).identical
