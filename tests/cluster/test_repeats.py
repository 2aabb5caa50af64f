"""Configurations trained several times, on a real Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raytune_suite import Study, reproduce, run
from raytune_suite.errors import TrainableError
from raytune_suite.seeds import repeat_seeds
from raytune_suite.states import State

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]
HERE = Path(__file__).parent


def study(tmp_path: Path, **changes: Any) -> Study:
    base: dict[str, Any] = {
        "name": "repeated",
        "trainable": "torch_toys:Line",
        "metric": "validation/loss",
        "num_trials": 4,
        "max_iterations": 4,
        "space": {"learning_rate": {"loguniform": [1e-3, 1e-1]}},
        "search": "random",
        "scheduler": {"name": "asha", "grace_period": 1, "reduction_factor": 2},
        "resources": {"cpu": 1, "gpu": 0},
        "storage": str(tmp_path),
        "repeats": 2,
    }
    return Study.from_dict({**base, **changes}, project=HERE)


def test_means_are_compared_and_the_winner_is_tested_with_all_its_repeats(tmp_path: Path) -> None:
    results = run(study(tmp_path, max_concurrent=1), verbosity=-1)
    record = results.experiment.record
    assert {t.state for t in record.trials.values()} == {State.COMPLETED, State.STOPPED}
    for trial in record.trials.values():
        for report in trial.reports:
            single = [report.metrics[f"validation/loss/repeat_{repeat}"] for repeat in range(2)]
            assert report.metrics["validation/loss"] == pytest.approx(sum(single) / 2)
            assert single[0] != single[1]
    assert results.experiment.best().test["test/loss/std_error"] > 0
    stopped = next(t for t in record.trials.values() if t.state is State.STOPPED)
    judged = next(d for d in stopped.decisions if d["action"] == "stop")
    assert judged["reason"]["score"] == stopped.reports[judged["iteration"] - 1].metrics["validation/loss"]


def test_a_trial_whose_worker_died_goes_on_with_all_its_repeats_bit_by_bit(tmp_path: Path) -> None:
    space = {"learning_rate": {"loguniform": [1e-3, 1e-1]}, "crash": True}
    made = study(tmp_path, num_trials=1, space=space, scheduler="fifo", retries={"failed": 2})
    experiment = run(made, verbosity=-1).experiment
    assert experiment.record.trials[0].attempt == 2, "each of the two repeats crashed once"
    project = tmp_path / "project"
    project.mkdir()
    code = (HERE / "torch_toys.py").read_text().replace('self.config.get("crash")', "False")
    (project / "torch_toys.py").write_text(code)
    found = reproduce(experiment.folder, 0, project=project)
    assert (found.identical, found.iterations) == (True, 4), found.lines()


def test_a_class_of_ray_tunes_own_is_repeated(tmp_path: Path) -> None:
    made = study(tmp_path, trainable="toys:TuneClass", space={"x": {"uniform": [0, 1]}}, num_trials=1, scheduler="fifo")
    trial = run(made, verbosity=-1).experiment.record.trials[0]
    assert (trial.state, trial.iteration) == (State.COMPLETED, 4)
    assert trial.last("validation/loss/std_error") == 0.0


def test_a_function_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(TrainableError, match="repeats: 1"):
        run(study(tmp_path, trainable="toys:function", space={"x": {"uniform": [0, 1]}}), verbosity=-1)


def test_the_seeds_of_the_repeats_are_in_the_journal(tmp_path: Path) -> None:
    from raytune_suite.journal import read

    made = study(tmp_path, trainable="toys:Quadratic", space={"x": {"uniform": [0, 1]}}, scheduler="fifo")
    experiment = run(made, verbosity=-1).experiment
    seeds = [event["repeat_seeds"] for event in read(experiment.folder) if event["event"] == "trial"]
    assert seeds == [list(repeat_seeds(0, 2))] * 4
