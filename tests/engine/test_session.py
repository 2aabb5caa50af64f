"""Workers that stay between the studies of one session, and those that may not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raytune_suite import Session, Study, run
from raytune_suite.engine.session import current, fingerprint
from raytune_suite.engine.workers import Early
from raytune_suite.errors import PlanError

TOYS = (Path(__file__).parents[1] / "cluster" / "toys.py").read_text()


def study(project: Path, name: str, **changes: object) -> Study:
    made = {
        "name": name,
        "trainable": "toys_of_a_session:Quadratic",
        "metric": "validation/loss",
        "num_trials": 6,
        "max_iterations": 3,
        "space": {"x": {"uniform": [0, 1]}},
        "search": "random",
        "resources": {"cpu": 1, "gpu": 0},
        "storage": str(project / "experiments"),
    }
    return Study.from_dict({**made, **changes}, project=project)


def workers(project: Path, name: str, engine: str = "pool", **changes: object) -> set[int]:
    """Run a study; the processes that trained for it, and its winner's held-out test."""
    record = run(study(project, name, **changes), verbosity=-1, engine=engine).experiment.record
    best = record.best()
    assert best is not None
    assert best.test is not None
    return {run.pid for trial in record.trials.values() for run in trial.runs if run.pid}


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_the_next_study_of_a_session_finds_its_workers_until_its_code_or_the_engine_changes(tmp_path: Path) -> None:
    code = tmp_path / "toys_of_a_session.py"
    code.write_text(TOYS)
    with Session():
        first = workers(tmp_path, "first")
        assert workers(tmp_path, "second", scheduler="hyperband") <= first
        code.write_text(TOYS + "\n# edited\n")
        third = workers(tmp_path, "third")
        assert not third & first
        assert not workers(tmp_path, "on Tune's own", engine="tune") & third  # which finds room
    assert current() is None
    assert not workers(tmp_path, "fourth") & first


def test_sessions_do_not_nest(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    monkeypatch.setattr("raytune_suite.engine.session._open", [session])
    with pytest.raises(PlanError, match="open already"):
        session.__enter__()


def test_code_is_edited_when_a_python_file_of_the_project_is(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "model.py").write_text("x = 1")
    before = fingerprint(tmp_path)
    (tmp_path / "experiments" / "copy.py").write_text("x = 1")
    (tmp_path / "notes.md").write_text("y")
    assert fingerprint(tmp_path) == before
    os.utime(tmp_path / "model.py", ns=(1, 1))
    assert fingerprint(tmp_path) != before


def test_a_request_made_early_is_met_by_the_same_in_tunes_form() -> None:
    from ray.tune import PlacementGroupFactory

    early = Early({"CPU": 1, "GPU": 0})
    assert early == PlacementGroupFactory([{"CPU": 1}])
    assert early != PlacementGroupFactory([{"CPU": 2}])
    assert early != PlacementGroupFactory([{"CPU": 1}, {"CPU": 1}])
    assert early == Early({"CPU": 1.0})
    assert early.required_resources == {"CPU": 1.0}
