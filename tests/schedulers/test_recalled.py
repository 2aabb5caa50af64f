"""HyperBand's brackets and the members of a population after a resume: as they were logged."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from evolving import restored
from fake_tune import FakeController, FakeTrial
from promoting import Promoting
from test_restore import Killed, left, study

from raytune_suite import schedulers, search
from raytune_suite.driver import Driver
from raytune_suite.journal import read
from raytune_suite.recall import StandIn
from raytune_suite.record import fold
from raytune_suite.replay import Nowhere, replay
from raytune_suite.restore import restore
from raytune_suite.states import State
from raytune_suite.stoppers import Stoppers
from raytune_suite.study import Study

Event = dict[str, Any]
HYPERBAND = {"name": "hyperband", "reduction_factor": 3}


class Halving(Promoting):
    """A session under HyperBand, which also wants to know of the trials that have ended."""

    def __init__(self, made: Study, folder: Path, **options: Any) -> None:
        super().__init__(made, folder, **options)
        self.snapshots: list[tuple[int, Any]] = []

    def _resume(self) -> bool:
        if not super()._resume():
            return False
        self.snapshots.append((self.journal.seq, brackets(self.scheduler.ray)))
        return True

    def _begin(self) -> bool:
        before = set(self.running) | set(self.paused)
        if not super()._begin():
            return False
        [number] = (set(self.running) | set(self.paused)) - before
        self.controller.trials[number] = self.running.get(number) or self.paused[number]
        return True

    def _step(self, number: int) -> None:
        trial = self.running[number]
        super()._step(number)
        if number not in self.running and number not in self.paused:
            trial.status = "TERMINATED"


def brackets(ray: Any) -> Any:
    """Where every bracket stands: its rung, the halvings left, who is in it and how far they have come."""
    found = []
    for bracket in {id(b): b for b in ray._bracket_of.values()}.values():
        members = [(t.trial_id, bracket._get_result_time(r)) for t, r in bracket._live_trials.items()]
        found.append((bracket.s, bracket._cumul_r, bracket._halves, bracket.closed, members))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_brackets_are_rebuilt_from_the_journal_at_any_moment(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    made = study(tmp_path, scheduler=HYPERBAND, seed=seed, num_trials=14, retries={"failed": 0})
    fails = {3: 2} if seed % 2 else {}
    session = Halving(made, tmp_path / "whole", slots=rng.choice([1, 2, 4]), fails=fails).run(rng)
    assert isinstance(session, Halving)
    assert len(session.snapshots) >= 3
    events = list(read(tmp_path / "whole"))
    for seq, expected in session.snapshots:
        found = brackets(restored(made, events[:seq]).scheduler.ray)
        assert [b[:3] + b[4:] for b in found] == [b[:3] + b[4:] for b in expected], f"at event {seq}"


@pytest.mark.parametrize("seed", range(12))
def test_a_study_under_hyperband_that_is_killed_anywhere_ends_and_repeats_nothing(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    made = study(tmp_path, scheduler=HYPERBAND, seed=seed, num_trials=12, retries={"failed": rng.choice([0, 1])})
    fails = {rng.randrange(12): rng.randrange(1, 6) for _ in range(rng.choice([0, 2]))}
    slots, folder = rng.choice([1, 2, 3]), tmp_path / "broken"
    for last in (rng.randrange(3, 60), rng.randrange(70, 110), 10_000):
        session = Halving(made, folder, slots=slots, fails=left(fails, folder), last=last)
        try:
            session.run(rng)
        except Killed:
            continue
    after = fold(read(folder))
    assert len(after.trials) == 12
    assert all(trial.state.ended for trial in after.trials.values())
    assert sorted(event["number"] for event in read(folder) if event["event"] == "end") == list(range(12))
    assert any(trial.state is State.STOPPED and trial.by == "hyperband" for trial in after.trials.values())
    assert replay(folder, made).identical


def test_a_past_that_cannot_have_been_is_forgotten_and_the_study_goes_on(tmp_path: Path) -> None:
    made = study(tmp_path, scheduler=HYPERBAND, num_trials=12)
    Halving(made, tmp_path / "whole", slots=2, fails={}).run(random.Random(0))
    events = list(read(tmp_path / "whole"))
    stopped = next(e for e in events if e["event"] == "end" and e["by"] == "hyperband")
    last = max(e["seq"] for e in events if e["event"] == "report" and e["number"] == stopped["number"])
    ends = [
        e for e in events if e.get("number") == stopped["number"] and (e["event"] == "end" or e.get("action") == "stop")
    ]
    lost = [e for e in events if e not in ends]
    again = {**events[last - 1], "iteration": events[last - 1]["iteration"] + 1}
    driver = Driver(
        made, Nowhere(), search.build(made), schedulers.build(made), Stoppers(made), num_trials=made.num_trials
    )
    past = restore(driver, [*lost, {**again, "seq": events[-1]["seq"] + 1}])
    assert "its bracket was through with it" in str(past.forgotten)
    assert brackets(driver.scheduler.ray) == []
    assert list(driver.waiting) == [stopped["number"]]


class Member(FakeTrial):
    """Equal by its id, as the suite's own trials are."""

    def __eq__(self, other: object) -> bool:
        return getattr(other, "trial_id", None) == self.trial_id

    def __hash__(self) -> int:
        return hash(self.trial_id)


# -- populations ---------------------------------------------------------------------------------------------------


def population(tmp_path: Path, **options: Any) -> Study:
    scheduler = {"name": "pbt", "perturbation_interval": 2, **options}
    return study(tmp_path, scheduler=scheduler, num_trials=4, space={"x": {"uniform": [0, 1]}})


def told(made: Study, folder: Path) -> list[Event]:
    """Four members that report twice; member 3 is then made into member 0."""
    events: list[Event] = [{"event": "session", "num_trials": 4, "planned": 4}]
    for n in range(4):
        events.append(
            {"event": "trial", "number": n, "point": {"x": n / 4}, "config": {"x": n / 4}, "origin": "random"}
        )
        events.append({"event": "start", "number": n, "attempt": 0})
    for iteration in (1, 2):
        for n in range(4):
            path = f"checkpoints/{n:05d}/{iteration:06d}"
            (folder / path).mkdir(parents=True)
            events.append({"event": "checkpoint", "number": n, "iteration": iteration, "path": path})
            metrics = {"loss": n + 1 / iteration}
            events.append({"event": "report", "number": n, "iteration": iteration, "metrics": metrics})
    reason = {"from": "00000", "source_iteration": 2, "config": {"x": 0.125}}
    events.append(
        {"event": "decision", "number": 3, "iteration": 2, "action": "exploit", "by": "pbt", "reason": reason}
    )
    return [{"seq": seq, "time": float(seq), **event} for seq, event in enumerate(events, 1)]


def test_a_member_that_was_to_take_over_a_checkpoint_still_does(tmp_path: Path) -> None:
    made = population(tmp_path)
    driver = restored(made, told(made, tmp_path))
    driver.scheduler.ray.offer(tmp_path, tmp_path / ".scratch")
    new = driver.waiting[3]
    assert new.config == {"x": 0.125}
    trial = Member(3, new.config)
    driver.scheduler.ray.on_trial_add(FakeController(driver.scheduler, lambda n, i: None, trials=0), trial)
    pointer = json.loads((Path(trial.checkpoint.path) / "pointer.json").read_text())
    assert pointer == {"path": str(tmp_path / "checkpoints" / "00000" / "000002")}
    state = driver.scheduler.ray._trial_state[trial]
    assert (state.last_perturbation_time, state.last_train_time) == (2, 2)


def test_once_it_has_a_checkpoint_of_its_own_it_goes_on_from_that(tmp_path: Path) -> None:
    made = population(tmp_path)
    events = told(made, tmp_path)
    path = "checkpoints/00003/000003"
    later = {"event": "checkpoint", "number": 3, "iteration": 3, "path": path, "seq": len(events) + 1, "time": 99.0}
    driver = restored(made, [*events, later])
    driver.scheduler.ray.offer(tmp_path, tmp_path / ".scratch")
    trial = Member(3, driver.waiting[3].config)
    driver.scheduler.ray.on_trial_add(FakeController(driver.scheduler, lambda n, i: None, trials=0), trial)
    assert trial.checkpoint is None


@pytest.mark.parametrize("name", ["pbt", "pb2"])
def test_the_strong_offer_their_checkpoints_and_the_weak_know_when_they_were_perturbed(
    name: str, tmp_path: Path
) -> None:
    made = population(tmp_path, name=name, perturbation_interval=1)
    driver = restored(made, told(made, tmp_path))
    ray = driver.scheduler.ray
    ray.offer(tmp_path, tmp_path / ".scratch")
    states = {trial.trial_id: state for trial, state in ray._trial_state.items()}
    assert [states[f"{n:05d}"].last_score for n in range(4)] == [-0.5, -1.5, -2.5, -3.5]
    assert all(state.last_perturbation_time == 2 for state in states.values())
    assert sorted(ray.pinned()) == [str(tmp_path / ".scratch" / "recalled" / f"{n:05d}" / "000002") for n in range(4)]
    if name == "pb2":
        rows = ray.data[["Trial", "Time", "x", "Reward"]].to_numpy().tolist()
        assert rows[-1] == ["00003", 2, 0.125, -0.5]
        assert len(rows) == 9


def test_members_meet_again_where_they_would_have_met(tmp_path: Path) -> None:
    made = population(tmp_path, synch=True)
    ray = restored(made, told(made, tmp_path)).scheduler.ray
    assert ray._next_perturbation_sync == 4
    assert {state.last_perturbation_time for state in ray._trial_state.values()} == {2}


def test_members_that_have_ended_are_neither_copied_nor_replaced(tmp_path: Path) -> None:
    made = population(tmp_path)
    events = told(made, tmp_path)
    end = {"event": "end", "number": 0, "state": "failed", "seq": len(events) + 1, "time": 99.0}
    ray = restored(made, [*events, end]).scheduler.ray
    assert [trial.trial_id for trial in ray._ranked()] == ["00001", "00002", "00003"]
    assert isinstance(next(iter(ray._trial_state)), StandIn)
