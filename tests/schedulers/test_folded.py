"""Random studies of populations, killed anywhere: the record is folded as it was logged."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
from evolving import Evolving, population, restored
from test_restore import Killed, left, study

from raytune_suite.journal import read
from raytune_suite.record import fold
from raytune_suite.replay import replay
from raytune_suite.study import Study

CASES = [*[("pbt", seed) for seed in range(10)], *[("pb2", seed) for seed in range(4)]]


def random_population(name: str, rng: random.Random, folder: Path) -> tuple[Study, dict[int, int], int]:
    """A study, which of its members fail and when, and its slots."""
    trials = rng.randrange(2, 7)
    scheduler = {
        "name": name,
        "perturbation_interval": rng.choice([1, 2, 3]),
        "quantile_fraction": rng.choice([0.25, 0.5]),
        "synch": rng.random() < 0.3,
    }
    space = {"x": {"uniform": [0, 0.9]}, "rate": {"uniform": [0.1, 1.0]}, "kind": "a"}
    made = study(folder, space=space, scheduler=scheduler, num_trials=trials, seed=rng.randrange(100))
    fails = {rng.randrange(trials): rng.randrange(2, 7)} if rng.random() < 0.3 else {}
    return made, fails, rng.choice([1, 2, 4])


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_a_population_is_folded_as_it_was_logged_at_any_moment(name: str, seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    made, fails, slots = random_population(name, rng, tmp_path)
    session = Evolving(made, tmp_path / "whole", slots=slots, fails=fails)
    session.run(rng)
    events = list(read(tmp_path / "whole"))
    assert len(session.snapshots) > len(fold(iter(events)).trials)
    for seq, expected in rng.sample(session.snapshots, min(12, len(session.snapshots))):
        found = population(restored(made, copy.deepcopy(events[:seq])).scheduler.ray)
        assert found == expected, f"at event {seq}"


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_a_population_that_is_killed_anywhere_ends_and_is_listed_as_taken_as_logged(
    name: str, seed: int, tmp_path: Path
) -> None:
    rng = random.Random(1000 + seed)
    made, fails, slots = random_population(name, rng, tmp_path)
    folder = tmp_path / "broken"
    for last in (rng.randrange(3, 40), rng.randrange(41, 90), 100_000):
        try:
            Evolving(made, folder, slots=slots, fails=left(fails, folder), last=last).run(rng)
        except Killed:
            continue
    events, record = list(read(folder)), fold(read(folder))
    assert len(record.trials) == made.num_trials
    assert sorted(event["number"] for event in events if event["event"] == "end") == sorted(record.trials)
    decisions = sum(event["event"] == "decision" and event["by"] == name for event in events)
    derived = replay(folder, made)
    assert derived.identical, derived.lines()
    assert derived.counts.suggestions == made.num_trials
    assert derived.counts.not_derived == ({f"decisions of {name}": decisions} if decisions else {})


def test_the_studies_of_this_property_exploit_pause_and_fail(tmp_path: Path) -> None:
    actions: dict[str, int] = {}
    for name, seed in CASES[:6]:
        rng, folder = random.Random(seed), tmp_path / f"{name}-{seed}"
        made, fails, slots = random_population(name, rng, tmp_path)
        Evolving(made, folder, slots=slots, fails=fails).run(rng)
        found: list[dict[str, Any]] = list(read(folder))
        for what in [str(e.get("action") or e.get("state")) for e in found if e["event"] in ("decision", "end")]:
            actions[what] = actions.get(what, 0) + 1
    assert {"exploit", "pause", "completed", "failed"} <= set(actions)
