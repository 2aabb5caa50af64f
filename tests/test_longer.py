"""A study whose trials are given more iterations goes on, and can still be derived from its journal."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from test_restore import Session, study

from raytune_suite import longer
from raytune_suite.journal import Journal, read
from raytune_suite.record import Record, fold
from raytune_suite.replay import replay
from raytune_suite.states import State
from raytune_suite.study import Study

ASHA = {"name": "asha", "reduction_factor": 3}


def prolonged(folder: Path, made: Study, after: Study, slots: int = 2) -> tuple[Record, Record]:
    """The study's record before and after its trials were given more iterations."""
    Session(made, folder, slots=slots, fails={}).run(random.Random(0))
    before = fold(read(folder))
    for trial in before.trials.values():
        checkpoint = folder / "checkpoints" / trial.trial_id / f"{trial.iteration:06d}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "raytune.json").write_text(f'{{"iteration": {trial.iteration}, "elapsed": 1.0, "value": 1.0}}')
    with Journal.open(folder) as journal:
        longer.reopen(made, before, journal)
    session = Session(after, folder, slots=slots, fails={})
    session.checkpoints = {number: trial.iteration for number, trial in before.trials.items()}
    session.run(random.Random(1))
    return before, fold(read(folder))


@pytest.mark.parametrize("scheduler", ["fifo", ASHA, "median"])
def test_completed_trials_go_on_and_stopped_ones_stay(scheduler: Any, tmp_path: Path) -> None:
    made = study(tmp_path, scheduler=scheduler, num_trials=12)
    after = study(tmp_path, scheduler=scheduler, num_trials=14, max_iterations=27)
    old, new = prolonged(tmp_path / "run", made, after)
    assert len(new.trials) == 14
    for number, trial in old.trials.items():
        now = new.trials[number]
        if trial.state is State.COMPLETED:
            assert now.iteration > 9
            assert now.state in (State.COMPLETED, State.STOPPED)
        else:
            assert (now.state, now.iteration, len(now.runs)) == (trial.state, trial.iteration, len(trial.runs))
    assert any(trial.iteration == 27 for trial in new.trials.values())
    assert new.max_iterations == 27
    derived = replay(tmp_path / "run", after)
    assert derived.identical, derived.lines()


def test_rungs_beyond_the_old_end_are_new(tmp_path: Path) -> None:
    made = study(tmp_path, scheduler=ASHA, num_trials=20)
    prolonged(tmp_path / "run", made, study(tmp_path, scheduler=ASHA, num_trials=24, max_iterations=81))
    decided = [e for e in read(tmp_path / "run") if e["event"] == "decision" and e["by"] == "asha"]
    at = {rung: [e["iteration"] for e in decided if e["reason"]["rung"] == rung] for rung in (9.0, 27.0)}
    assert at[27.0]
    assert at[9.0], "new trials are compared with those that had come to the old end"


def test_a_trial_without_a_checkpoint_stays_as_it_is(tmp_path: Path) -> None:
    made = study(tmp_path, num_trials=3)
    Session(made, tmp_path / "run", slots=1, fails={}).run(random.Random(0))
    with Journal.open(tmp_path / "run") as journal:
        longer.reopen(made, fold(read(tmp_path / "run")), journal)
    assert not any(event["event"] == "retry" for event in read(tmp_path / "run"))
