"""A study that starts from another experiment on a real Ray: resumed and replayed, it needs that one no more."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raytune_suite import Study, resume, run
from raytune_suite.errors import StudyError
from raytune_suite.replay import replay

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]
HERE = Path(__file__).parent
CLOSER = """
from raytune_suite.search import Searcher

class Closer(Searcher):
    name = "closer"
    learns = uses_earlier = True

    def suggest(self, number, rng):
        best = min((o for e in self.earlier for o in e.observations), key=lambda o: o.value)
        return {"x": best.point["x"] + rng.uniform(-1e-3, 1e-3)}
"""


def a_study(project: Path, **changes: Any) -> Study:
    study: dict[str, Any] = {
        "trainable": "toys:Quadratic",
        "metric": "validation/loss",
        "num_trials": 4,
        "max_iterations": 2,
        "space": {"x": {"uniform": [0.1, 1]}},
        "search": "random",
        "resources": {"cpu": 1, "gpu": 0},
        "storage": "results",
    }
    return Study.from_dict({**study, **changes}, project)


def test_a_study_starts_from_another_which_may_then_go(tmp_path: Path) -> None:
    (tmp_path / "toys.py").write_text((HERE / "toys.py").read_text())
    (tmp_path / "closer.py").write_text(CLOSER)
    points = [{"x": x} for x in (0.05, 0.31, 0.6, 0.9)]
    run(a_study(tmp_path, name="old", space={"x": {"uniform": [0, 1]}}, points_to_evaluate=points), verbosity=-1)
    changes: dict[str, Any] = {"search": "closer:Closer", "from": "results/old"}
    printed = io.StringIO()
    first = run(a_study(tmp_path, name="new", num_trials=2, **changes), console=Console(file=printed, width=200))
    assert first.state == "finished"
    assert "from       old: 4 trials, 3 usable; 1 out of range (x 1)" in printed.getvalue()
    assert all(abs(trial.point["x"] - 0.31) <= 1e-3 for trial in first.experiment.record.trials.values())
    whole = run(a_study(tmp_path, name="whole", **changes), verbosity=-1).experiment.record
    shutil.rmtree(tmp_path / "results" / "old")
    second = resume(tmp_path / "results" / "new", num_trials=4, project=tmp_path, verbosity=-1).experiment
    assert {n: t.point for n, t in second.record.trials.items()} == {n: t.point for n, t in whole.trials.items()}
    assert second.record.sessions[-1]["plan"] == [
        line.replace("2 trials,", "4 trials,") for line in second.record.sessions[0]["plan"]
    ]
    outcome = replay(second.folder, second.study.with_project(tmp_path))
    assert outcome.identical
    assert outcome.counts.suggestions == 4


def test_a_source_that_is_missing_stops_a_run_before_it_leaves_anything(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="there is no experiment"):
        run(a_study(tmp_path, name="new", **{"from": "old"}), verbosity=-1)
    assert not (tmp_path / "results").exists()
