"""Finding a searcher by its name."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from raytune_suite import search
from raytune_suite.errors import StudyError
from raytune_suite.search.bayesian import BayesianSearcher
from raytune_suite.search.grid import GridSearcher
from raytune_suite.search.hyperopt import HyperoptSearcher
from raytune_suite.search.optuna import OptunaCmaEsSearcher, OptunaGPSearcher, OptunaTPESearcher
from raytune_suite.search.random import RandomSearcher
from raytune_suite.study import Study

OURS = ["bayesian", "grid", "hyperopt", "optuna:cmaes", "optuna:gp", "optuna:tpe", "random"]

MINE = """
from raytune_suite.search import Searcher, SearchOptions

class Options(SearchOptions):
    bias: float = 0.0

class Middle(Searcher):
    name = "middle"
    Options = Options

    def suggest(self, number, rng):
        return self.space.from_unit([0.5 + self.options.bias])

class NotASearcher:
    pass
"""


def study(project: Path | None = None, **changes: Any) -> Study:
    data = {
        "trainable": "mine:Net",
        "metric": "loss",
        "mode": "max",
        "num_trials": 4,
        "max_iterations": 9,
        "space": {"x": {"uniform": [0.0, 1.0], "points": 3}},
        "search": "random",
        "name": "door",
        "seed": 11,
        **changes,
    }
    return Study.from_dict(data, project)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_searchers.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bayesian", BayesianSearcher),
        ("grid", GridSearcher),
        ("hyperopt", HyperoptSearcher),
        ("optuna:cmaes", OptunaCmaEsSearcher),
        ("optuna:gp", OptunaGPSearcher),
        ("optuna:tpe", OptunaTPESearcher),
        ("random", RandomSearcher),
    ],
)
def test_ours_are_found_by_name_and_get_the_study_s_settings(name: str, kind: type) -> None:
    built = search.build(study(search=name, default={"x": 0.25}, points_to_evaluate=[{"x": 0.75}]))
    assert type(built) is kind
    assert (built.mode, built.seed, built.num_trials, built.max_iterations) == ("max", 11, 4, 9)
    first, second = built.ask(0), built.ask(1)
    assert first is not None
    assert second is not None
    assert (first.point, second.point) == ({"x": 0.25}, {"x": 0.75})


def test_where_a_study_ends_by_the_clock_what_configurations_cost_counts() -> None:
    def aware(**changes: Any) -> bool:
        made = search.build(study(**{"search": "bayesian", **changes}))
        assert isinstance(made, BayesianSearcher)
        return made.options.cost_aware

    assert not aware()
    assert not aware(stop={"target": 0.5})
    assert aware(stop={"time": "30m"})
    assert not aware(stop={"time": "30m"}, search={"name": "bayesian", "cost_aware": False})
    assert aware(search={"name": "bayesian", "cost_aware": True})
    search.build(study(stop={"time": "30m"}))  # random search has no such option


def test_a_misspelt_name_gets_a_correction() -> None:
    with pytest.raises(StudyError, match=r"search\.name.*got 'bayesan'.*Did you mean bayesian"):
        search.build(study(search="bayesan"))


def test_a_misspelt_name_of_a_family_is_not_taken_for_a_module() -> None:
    with pytest.raises(StudyError, match=r"no searcher has this name, got 'optuna:tp'\. Did you mean optuna:tpe\?"):
        search.build(study(search="optuna:tp"))
    with pytest.raises(StudyError, match="no searcher has this name, got 'optuna:evolution'"):
        search.build(study(search="optuna:evolution"))


def test_a_module_of_the_project_may_be_called_like_a_searcher(project: Path) -> None:
    (project / "grid.py").write_text(MINE)
    built = search.build(study(project, search="grid:Middle"))
    suggestion = built.ask(0)
    assert suggestion is not None
    assert suggestion.origin == "middle"


def test_wrong_options_are_problems_of_the_check() -> None:
    (problem,) = search.check(study(search={"name": "bayesian", "inital_points": 3}))
    assert str(problem) == "search.inital_points: bayesian has no such option. Did you mean initial_points?"
    assert search.check(study(search={"name": "bayesian", "initial_points": 3})) == []


def test_a_searcher_of_the_project_is_found_by_its_reference(project: Path) -> None:
    built = search.build(study(project, search={"name": "my_searchers:Middle", "bias": 0.25}))
    suggestion = built.ask(0)
    assert suggestion is not None
    assert suggestion.point == {"x": 0.75}
    assert suggestion.origin == "middle"


def test_a_reference_to_something_else_is_refused(project: Path) -> None:
    with pytest.raises(StudyError, match="not a searcher"):
        search.build(study(project, search="my_searchers:NotASearcher"))
    with pytest.raises(StudyError, match="my_searchers"):
        search.build(study(project, search="my_searchers:Middel"))


def test_a_ray_searcher_is_hosted() -> None:
    reference = "ray.tune.search.optuna:OptunaSearch"
    built = search.build(study(search=reference))
    assert type(built).__name__ == "ForeignSearcher"
    assert not built.replayable
    assert search.learns(reference)
    with pytest.raises(StudyError, match="OptunaSearch takes no such option"):
        search.build(study(search={"name": reference, "samplr": 3}))


def test_an_installed_package_registers_a_searcher_by_an_entry_point(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint("middle", "my_searchers:Middle", search.GROUP)
    monkeypatch.setattr(search, "entry_points", lambda group: [entry] if group == search.GROUP else [])
    assert search.names() == sorted([*OURS, "middle"])
    suggestion = search.build(study(search="middle")).ask(0)
    assert suggestion is not None
    assert suggestion.point == {"x": 0.5}


def test_it_is_known_which_searchers_learn() -> None:
    assert search.learns("bayesian")
    assert not search.learns("random")
    assert not search.learns("grid")
    assert all(search.learns(name) for name in OURS if name not in ("grid", "random"))


def test_to_know_and_check_a_searcher_its_library_is_not_imported() -> None:
    program = """
import sys
from raytune_suite import search
from raytune_suite.study import Study
for name in search.names():
    search.learns(name)
    study = Study.from_dict(dict(trainable="mine:Net", metric="loss", num_trials=4, max_iterations=9,
                                 space={"x": {"uniform": [0.0, 1.0], "points": 3}}, search=name, name="door"))
    assert search.check(study) == []
heavy = {"optuna", "hyperopt", "cmaes", "torch", "scipy", "ray", "bayes_opt"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True)
