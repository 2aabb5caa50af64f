"""What a confirmation trains, decided from made-up experiments; the trainings themselves are in tests/cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from journals import asha_experiment

from raytune_suite import confirmation, load
from raytune_suite.confirmation import _asked, _study, _unfinished
from raytune_suite.errors import ExperimentError
from raytune_suite.seeds import repeat_seeds


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment of forty trials under ASHA, with a default."""
    return asha_experiment(tmp_path_factory.mktemp("confirm") / "digits")


@pytest.fixture
def experiment(finished: Path) -> Any:
    read = load(finished)
    yield read
    for path in finished.glob("confirmed-*.json"):
        path.unlink()


def test_the_best_are_trained_beside_the_default_which_comes_first(experiment: Any) -> None:
    asked = _asked(experiment, top=3, seeds=4, rule="best")
    best = [trial.number for trial in experiment.ranked() if trial is not experiment.default][:3]
    assert asked.trials == (experiment.default.number, *best)
    assert asked.default == experiment.default.number


def test_its_study_trains_every_configuration_whole_and_exactly_as_it_was(experiment: Any, tmp_path: Path) -> None:
    asked = _asked(experiment, top=3, seeds=4, rule="best")
    study = _study(experiment, asked, tmp_path)
    assert (study.name, study.folder.parent) == ("confirmed-1", experiment.folder)
    assert (study.num_trials, study.repeats, study.scheduler.name, study.search.name) == (4, 4, "fifo", "random")
    assert study.max_iterations == experiment.study.max_iterations
    points = [study.default, *study.points_to_evaluate]
    configs = [study.search_space.config(point) for point in points]
    assert configs == [experiment.record.trials[number].config for number in asked.trials]


def test_every_confirmation_has_seeds_of_its_own(experiment: Any, tmp_path: Path) -> None:
    studies = []
    for _ in range(2):
        asked = _asked(experiment, top=1, seeds=3, rule="best")
        studies.append(_study(experiment, asked, tmp_path))
    assert [study.name for study in studies] == ["confirmed-1", "confirmed-2"]
    seeds = [seed for study in (experiment.study, *studies) for seed in repeat_seeds(study.seed, 3)]
    assert len(set(seeds)) == 9


def test_an_unfinished_one_is_gone_on_with_unless_something_else_is_asked(experiment: Any) -> None:
    assert _unfinished(experiment.folder, None, None, None) is None
    asked = _asked(experiment, top=3, seeds=4, rule="last")
    assert _unfinished(experiment.folder, None, None, None) == asked
    assert _unfinished(experiment.folder, 3, 4, "last") == asked
    with pytest.raises(ExperimentError, match=r"asked for rule last, got best\. Leave --rule out, or delete"):
        _unfinished(experiment.folder, None, None, "best")
    file = experiment.folder / "confirmed-1.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "verdict": {}}))
    assert _unfinished(experiment.folder, None, None, None) is None


def test_one_seed_tells_no_luck_from_merit(experiment: Any) -> None:
    with pytest.raises(ExperimentError, match="at least 2"):
        confirmation.confirm(experiment.folder, seeds=1)
    assert not list(experiment.folder.glob("confirmed-*"))
