"""Trials of a real Ray, trained again without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raytune_suite import Study, reproduce, run
from raytune_suite.states import State

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]
HERE = Path(__file__).parent


def study(tmp_path: Path, **changes: Any) -> Study:
    base: dict[str, Any] = {
        "name": "again",
        "trainable": "torch_toys:Line",
        "metric": "validation/loss",
        "num_trials": 2,
        "max_iterations": 4,
        "space": {"learning_rate": {"loguniform": [1e-3, 1e-1]}},
        "search": "random",
        "resources": {"cpu": 1, "gpu": 0},
        "storage": str(tmp_path),
    }
    return Study.from_dict({**base, **changes}, project=HERE)


def test_a_trial_on_a_reused_worker_and_one_that_crashed_come_out_bit_equal(tmp_path: Path) -> None:
    space = {"learning_rate": {"loguniform": [1e-3, 1e-1]}, "crash": True}
    results = run(study(tmp_path, space=space, max_concurrent=1, retries={"failed": 1}), verbosity=-1)
    trials = results.experiment.record.trials
    assert [(t.state, t.attempt) for t in trials.values()] == [(State.COMPLETED, 1)] * 2
    for number in trials:
        found = reproduce(results.experiment.folder, number, project=project_that_does_not_crash(tmp_path, number))
        assert found.identical, found.lines()
        assert found.environment == ()


def project_that_does_not_crash(tmp_path: Path, number: int) -> Path:
    """A copy of the training code whose trials have crashed already, as theirs in the journal had."""
    project = tmp_path / f"project-{number}"
    project.mkdir()
    code = (HERE / "torch_toys.py").read_text().replace('self.config.get("crash")', "False")
    (project / "torch_toys.py").write_text(code)
    return project


@pytest.mark.parametrize("scheduler", ["pbt", "pb2"])
def test_a_population_is_reproduced_along_its_lineages(tmp_path: Path, scheduler: str) -> None:
    # Together, so that the last is compared with the first at the same iteration: each on its own, whoever reports
    # has just gained two iterations on the others, and where reports come in turn nobody need ever be the last.
    together = {"name": scheduler, "perturbation_interval": 2, "synch": True}
    space = {"learning_rate": {"uniform": [1e-3, 1e-1]}}
    made = study(tmp_path, num_trials=4, max_iterations=8, scheduler=together, space=space)
    experiment = run(made, verbosity=-1).experiment
    found = [reproduce(experiment.folder, number) for number in experiment.record.trials]
    assert all(one.identical for one in found), [one.lines() for one in found]
    assert {one.iterations for one in found} == {8}
    assert any(len(one.lineage) > 1 for one in found), "nobody was exploited"


@pytest.mark.parametrize("trainable", ["toys:TuneClass", "toys:function"])
def test_what_was_written_for_bare_ray_tune_is_trained_again(tmp_path: Path, trainable: str) -> None:
    space = {"x": {"uniform": [0, 1]}}
    made = study(tmp_path, trainable=trainable, space=space, num_trials=1, max_iterations=3)
    found = reproduce(run(made, verbosity=-1).experiment.folder, 0)
    assert (found.identical, found.iterations) == (True, 3)
