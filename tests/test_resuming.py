"""What is asked of an experiment before it goes on; that it does is tested on a real Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raytune_suite import longer
from raytune_suite.errors import ExperimentError
from raytune_suite.journal import Journal
from raytune_suite.opening import new_folder, study_of, written_project
from raytune_suite.resuming import _changed, _extended, not_rebuilt, resume, retry
from raytune_suite.study import Study


def study(folder: Path, **changes: Any) -> Study:
    base: dict[str, Any] = {
        "name": "course",
        "trainable": "code:Model",
        "metric": "loss",
        "num_trials": 12,
        "max_iterations": 9,
        "space": {"x": {"uniform": [0, 1]}},
        "search": "random",
    }
    return Study.from_dict({**base, **changes}, project=folder)


@pytest.mark.parametrize(("asked", "total"), [("+20", 32), ("20", 20), (12, 12)])
def test_a_study_is_extended_to_a_number_or_by_one(tmp_path: Path, asked: int | str, total: int) -> None:
    assert _extended(study(tmp_path), asked).num_trials == total


@pytest.mark.parametrize(("asked", "rule"), [("5", "below"), ("many", "a number"), ("-3", "a number")])
def test_a_study_is_not_shortened(tmp_path: Path, asked: str, rule: str) -> None:
    with pytest.raises(ExperimentError, match=rule):
        _extended(study(tmp_path), asked)


def test_limits_of_a_run_can_change(tmp_path: Path) -> None:
    changed = _changed(study(tmp_path), {"stop.time": "2h", "max_concurrent": 3})
    assert (changed.stop.time, changed.max_concurrent, changed.project) == (7200, 3, tmp_path.resolve())


@pytest.mark.parametrize("key", ["seed", "space.x", "stop.target", "scheduler"])
def test_what_decisions_rest_on_cannot_change(tmp_path: Path, key: str) -> None:
    with pytest.raises(ExperimentError, match=f"{key} cannot change .*stop.time"):
        _changed(study(tmp_path), {key: 1})


def test_what_is_not_rebuilt_is_said(tmp_path: Path) -> None:
    assert not_rebuilt(study(tmp_path, scheduler="asha")) == []
    assert not_rebuilt(study(tmp_path, scheduler="hyperband")) == []
    said = not_rebuilt(study(tmp_path, scheduler="hyperband"), ValueError("trial 3 went on"))
    assert "not rebuilt (trial 3 went on)" in said[0]


def test_an_existing_experiment_names_both_ways_out(tmp_path: Path) -> None:
    made = study(tmp_path)
    made.folder.mkdir(parents=True)
    (made.folder / "file").touch()
    with pytest.raises(ExperimentError, match=r"raytune resume .*course.*--name course-2"):
        new_folder(made)


@pytest.mark.parametrize("go_on", [resume, retry])
def test_a_folder_without_a_journal_is_refused(tmp_path: Path, go_on: Any) -> None:
    with pytest.raises(ExperimentError, match="no experiment to go on with"):
        go_on(tmp_path)


def test_a_state_that_cannot_be_tried_again_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="failed, oom, timed_out"):
        retry(tmp_path, states=["stopped"])


def test_an_experiment_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(study(tmp_path).dump())
    with Journal.create(tmp_path), pytest.raises(ExperimentError, match="in use by process"):
        resume(tmp_path)


def test_the_project_is_found_again_wherever_both_have_moved(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    folder = before / "experiments" / "course"
    folder.mkdir(parents=True)
    (before / "code.py").touch()
    (folder / "study.yaml").write_text(study(before).dump())
    session = {"project": written_project(before, folder)}
    assert session == {"project": "../.."}
    before.rename(after)
    assert study_of(after / "experiments" / "course", session).project == after.resolve()


def test_code_that_is_gone_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    project, folder = tmp_path / "project", tmp_path / "elsewhere" / "course"
    project.mkdir()
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(study(project).dump())
    session = {"project": written_project(project, folder)}
    assert session == {"project": str(project)}
    project.rename(tmp_path / "renamed")
    with pytest.raises(ExperimentError, match="--project"):
        study_of(folder, session)
    assert study_of(folder, session, tmp_path / "renamed").project == tmp_path / "renamed"


@pytest.mark.parametrize(
    ("scheduler", "to", "said"),
    [
        ("fifo", 2, "must not be below the study's own"),
        ("hyperband", 81, "its brackets rest on it"),
        ("pbt", 81, "without a perturbation_interval"),
    ],
)
def test_where_trials_cannot_be_trained_longer_it_is_said_why(
    tmp_path: Path, scheduler: str, to: int, said: str
) -> None:
    made = study(tmp_path, scheduler=scheduler, max_iterations=27, num_trials=20)
    with pytest.raises(ExperimentError, match=said):
        longer.check(made, made.model_copy(update={"max_iterations": to}))


@pytest.mark.parametrize("scheduler", ["fifo", "asha", "median", {"name": "pbt", "perturbation_interval": 3}])
def test_most_schedulers_let_trials_be_trained_longer(tmp_path: Path, scheduler: Any) -> None:
    made = study(tmp_path, scheduler=scheduler, max_iterations=27, num_trials=20)
    longer.check(made, made.model_copy(update={"max_iterations": 81}))
