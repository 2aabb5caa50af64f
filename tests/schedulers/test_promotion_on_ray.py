"""ASHA by promotion on a real Ray: trials pause, others take their workers, promoted ones go on where they stood."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
from test_resume import run_and_kill

from raytune_suite import Study, resume, run
from raytune_suite.opening import study_of
from raytune_suite.record import Record
from raytune_suite.replay import replay
from raytune_suite.states import State

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]
TOYS = Path(__file__).parents[1] / "cluster"
PROMOTION = {"name": "asha", "rule": "promotion", "reduction_factor": 3}


def study(folder: Path, **changes: Any) -> Study:
    base: dict[str, Any] = {
        "name": "toy",
        "trainable": "toys:Quadratic",
        "metric": "validation/loss",
        "num_trials": 18,
        "max_iterations": 9,
        "space": {"x": {"uniform": [0, 1]}},
        "search": "random",
        "scheduler": PROMOTION,
        "resources": {"cpu": 1, "gpu": 0},
        "storage": str(folder),
    }
    return Study.from_dict({**base, **changes}, project=TOYS)


def processes(record: Record) -> set[int | None]:
    return {one.pid for trial in record.trials.values() for one in trial.runs}


def assert_whole(record: Record) -> None:
    """Every trial has ended, and its reports and the steps its code counted go on without a gap."""
    for trial in record.trials.values():
        assert trial.state in (State.COMPLETED, State.STOPPED), trial
        assert [report.iteration for report in trial.reports] == list(range(1, trial.iteration + 1))
        assert [report.metrics["steps"] for report in trial.reports] == list(range(1, trial.iteration + 1))


def test_promoted_trials_go_on_from_their_rungs_on_workers_that_were_there(tmp_path: Path) -> None:
    made = study(tmp_path, default={"x": 0.95}, points_to_evaluate=[{"x": 0.3}, {"x": 0.32}, {"x": 0.34}])
    record = run(made, verbosity=-1).experiment.record
    assert_whole(record)
    assert record.trials[0].state is State.COMPLETED
    resumed = [trial for trial in record.trials.values() if len(trial.runs) > 1]
    assert resumed
    assert {one.restored for trial in resumed for one in trial.runs[1:]} <= {1, 3}
    assert all(one.state is State.PAUSED for trial in resumed for one in trial.runs[:-1])
    assert len(processes(record)) == 2
    left = [trial for trial in record.trials.values() if trial.state is State.STOPPED]
    assert all(trial.iteration in (1, 3) and "no trial is left to come" in (trial.reason or "") for trial in left)
    assert sorted(path.name for path in (tmp_path / "toy" / "checkpoints" / "00000").iterdir()) == ["000009"]
    assert replay(tmp_path / "toy", made).identical


def test_no_more_trials_run_than_there_are_slots_and_none_starts_a_worker_in_vain(tmp_path: Path) -> None:
    made = study(tmp_path, max_concurrent=1, num_trials=12, checkpoint={"keep": ["best"]})
    record = run(made, verbosity=-1).experiment.record
    assert_whole(record)
    runs = sorted((one.started, one.ended) for trial in record.trials.values() for one in trial.runs)
    assert all(one[1] is not None and one[1] <= other[0] for one, other in itertools.pairwise(runs))
    assert len(processes(record)) == 1
    completed = [trial for trial in record.trials.values() if trial.state is State.COMPLETED]
    assert completed
    for trial in completed:  # resuming took the last ones; once all is over, only the best are kept
        [kept] = (tmp_path / "toy" / "checkpoints" / trial.trial_id).iterdir()
        best = trial.best()
        assert best is not None
        assert int(kept.name) == best.iteration


@pytest.mark.parametrize("retries", [0, 1])
def test_a_trial_that_fails_after_its_promotion_is_tried_again_or_leaves_its_slot(tmp_path: Path, retries: int) -> None:
    space = {"x": {"uniform": [0, 1]}, "how": "raise-once"}
    made = study(tmp_path, trainable="toys:Failing", space=space, num_trials=6, retries={"failed": retries})
    record = run(made, verbosity=-1).experiment.record
    assert all(trial.state.ended for trial in record.trials.values())
    promoted = [t for t in record.trials.values() if any(d["action"] == "continue" for d in t.decisions)]
    assert promoted
    if retries:
        assert_whole(record)
        assert all(trial.attempt == 1 for trial in promoted)
        assert all(trial.runs[-1].restored is not None and trial.runs[-1].restored >= 1 for trial in promoted)
    else:
        assert {trial.state for trial in promoted} == {State.FAILED}
    assert replay(tmp_path / "toy", made).identical


def test_a_killed_driver_takes_paused_trials_up_where_they_waited(tmp_path: Path) -> None:
    shutil.copy(TOYS / "toys.py", tmp_path)
    made = study(tmp_path, name="killed", num_trials=12, space={"x": {"uniform": [0, 1]}, "sleep": 0.2})
    (tmp_path / "study.yaml").write_text(made.dump())
    before = run_and_kill(tmp_path, "killed", 12).trials
    waiting = {number for number, trial in before.items() if trial.state is State.PAUSED}
    assert waiting
    results = resume(tmp_path / "killed", verbosity=-1)
    record = results.experiment.record
    assert results.state == "finished"
    assert len(record.trials) == 12
    assert_whole(record)
    for number in waiting:
        after = record.trials[number]
        promoted = any(str(d["text"]).startswith("promoted") for d in after.decisions[len(before[number].decisions) :])
        assert (len(after.runs) > len(before[number].runs)) == promoted
    assert replay(tmp_path / "killed", study_of(tmp_path / "killed", record.sessions[-1])).identical
