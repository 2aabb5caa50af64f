# ruff: noqa: E501 - a row of a table is one line
"""The door: names, options, what is refused and why, plan lines, schedulers from elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from a_study import a_study
from fake_tune import FakeController, Table

from raytune_suite import schedulers
from raytune_suite.errors import PlanError

TUNED = {"lr": {"loguniform": [1e-4, 1e-1]}, "layers": {"randint": [1, 5]}}
DISCRETE = {"layers": {"randint": [1, 5]}, "optimizer": {"choice": ["sgd", "adam"]}}

# scheduler, other fields -> where, and what the message must hold
REFUSED: list[tuple[Any, dict[str, Any], str, list[str]]] = [
    ("ahsa", {}, "scheduler", ["there is no scheduler ahsa", "Did you mean asha?", "module:Class"]),
    ({"name": "asha", "grace_perod": 3}, {}, "scheduler.grace_perod", ["no option grace_perod", "Did you mean grace_period?", "grace_period, reduction_factor, brackets"]),
    ({"name": "asha", "max_t": 9}, {}, "scheduler.max_t", ["it is the study's max_iterations", "Remove it."]),
    ({"name": "asha", "metric": "loss"}, {}, "scheduler.metric", ["it is the study's metric"]),
    ({"name": "hyperband", "stop_last_trials": False}, {}, "scheduler.stop_last_trials", ["always end at max_iterations"]),
    ({"name": "fifo", "grace_period": 1}, {}, "scheduler.grace_period", ["Fifo takes no options"]),
    ({"name": "asha", "grace_period": "3"}, {}, "scheduler.grace_period", ["must be a whole number", "'3'", "Leave the quotes out"]),
    ({"name": "asha", "grace_period": 28}, {}, "scheduler.grace_period", ["must not exceed max_iterations (27)", "28"]),
    ({"name": "asha", "grace_period": 0}, {}, "scheduler.grace_period", ["at least 1 iteration", "0"]),
    ({"name": "asha", "reduction_factor": 1}, {}, "scheduler.reduction_factor", ["must be greater than 1", "1"]),
    ({"name": "asha", "brackets": 0}, {}, "scheduler.brackets", ["at least 1"]),
    ({"name": "asha", "reduction_factor": 3, "brackets": 5}, {}, "scheduler.brackets", ["bracket 4 (counted from 0) has no rung within 27 iterations", "at most 4"]),
    ({"name": "hyperband", "reduction_factor": 1}, {}, "scheduler.reduction_factor", ["must be greater than 1"]),
    ({"name": "asha", "rule": "promote"}, {}, "scheduler.rule", ["stopping", "promotion", "promote"]),
    ({"name": "asha", "rule": "promotion"}, {"checkpoint": {"every": 0}}, "checkpoint.every", ["at least 1 with rule promotion", "Or use rule stopping"]),
    ({"name": "asha", "rule": "promotion", "reduction_factor": 4}, {"num_trials": 3}, "num_trials", ["3 trials are too few for rule promotion", "none would be trained beyond iteration 1", "Use num_trials 4 or more, or rule stopping"]),
    ("hyperband", {"max_iterations": 2}, "scheduler", ["max_iterations 2 with reduction_factor 3 makes bracket 1 empty", "0.67 iterations", "Use max_iterations 3 or more"]),
    ({"name": "hyperband", "reduction_factor": 1.5}, {"max_iterations": 12}, "scheduler.reduction_factor", ["nothing is trained", "would never end", "Use 2 or more"]),
    ("hyperband", {"num_trials": 4, "max_iterations": 27}, "num_trials", ["4 trials fill no bracket that halves (bracket 0 takes 4", "Use num_trials 7 or more"]),
    ("hyperband", {"checkpoint": {"every": 0}}, "checkpoint.every", ["pauses trials at their rungs"]),
    ({"name": "median", "grace_period": 0}, {}, "scheduler.grace_period", ["between 1 and max_iterations (27)"]),
    ({"name": "median", "min_samples_required": 0}, {}, "scheduler.min_samples_required", ["no median of nothing"]),
    ({"name": "median", "min_samples_required": 40}, {}, "scheduler.min_samples_required", ["with 40 trials", "Use 39 or less"]),
    ({"name": "median", "hard_stop": False}, {"checkpoint": {"every": 0}}, "checkpoint.every", ["pause trials and resume"]),
    ({"name": "pbt", "perturbation_interval": 27}, {}, "scheduler.perturbation_interval", ["must be below max_iterations (27)"]),
    ({"name": "pbt", "perturbation_interval": 0}, {}, "scheduler.perturbation_interval", ["at least 1 iteration"]),
    ({"name": "pbt", "perturbation_interval": 5}, {"checkpoint": {"every": 2}}, "scheduler.perturbation_interval", ["multiple of checkpoint.every (2)", "Use 4"]),
    ("pbt", {"checkpoint": {"every": 0}}, "checkpoint.every", ["loads the checkpoint of a strong one"]),
    ("pb2", {"checkpoint": {"every": 0}}, "checkpoint.every", ["loads the checkpoint of a strong one"]),
    ("pbt", {"num_trials": 1}, "num_trials", ["at least 2 for a population", "1"]),
    ({"name": "pbt", "quantile_fraction": 0.6}, {}, "scheduler.quantile_fraction", ["at most 0.5", "0.6"]),
    ({"name": "pbt", "quantile_fraction": 0}, {}, "scheduler.quantile_fraction", ["exploits nobody"]),
    ({"name": "pbt", "burn_in_period": 27}, {}, "scheduler.burn_in_period", ["below max_iterations (27)"]),
    ({"name": "pbt", "resample_probability": 2.0}, {}, "scheduler.resample_probability", ["between 0 and 1"]),
    ({"name": "pbt", "perturbation_factors": []}, {}, "scheduler.perturbation_factors", ["positive numbers"]),
    ({"name": "pbt", "hyperparam_mutations": ["learning_rat"]}, {}, "scheduler.hyperparam_mutations", ["not a parameter of the space", "Did you mean learning_rate?"]),
    ({"name": "pbt", "hyperparam_mutations": {"learning_rate": {"uniform": [1, 0]}}}, {}, "scheduler.hyperparam_mutations", ["learning_rate"]),
    ({"name": "pbt", "hyperparam_mutations": {"learning_rate": 3}}, {}, "scheduler.hyperparam_mutations", ["one value only", "3"]),
    ("pbt", {"space": DISCRETE}, "scheduler.hyperparam_mutations", ["no continuous parameter", "Name the parameters"]),
    ("pb2", {"space": DISCRETE}, "scheduler.hyperparam_bounds", ["no continuous parameter"]),
    ({"name": "pb2", "hyperparam_bounds": ["layers"]}, {"space": TUNED}, "scheduler.hyperparam_bounds", ["continuous parameters only", "layers"]),
    ({"name": "pb2", "hyperparam_bounds": {"lr": [1, 0]}}, {"space": TUNED}, "scheduler.hyperparam_bounds", ["lr"]),
    ({"name": "pb2"}, {"space": {"Time": {"uniform": [0, 1]}}}, "scheduler.hyperparam_bounds", ["cannot change a parameter called Time"]),
]  # fmt: skip


@pytest.mark.parametrize(("scheduler", "fields", "where", "said"), REFUSED)
def test_what_cannot_work_is_refused_with_the_reason(
    scheduler: Any, fields: dict[str, Any], where: str, said: list[str]
) -> None:
    study = a_study(scheduler=scheduler, **fields)
    problems = schedulers.check(study)
    found = [problem for problem in problems if problem.where.startswith(where)]
    assert found, problems
    assert all(part in str(found[0]) for part in said), str(found[0])
    with pytest.raises(PlanError) as error:
        schedulers.build(study)
    assert str(found[0]) in str(error.value)


ACCEPTED: list[tuple[Any, dict[str, Any]]] = [
    ("fifo", {}),
    ("asha", {}),
    ("asha", {"max_iterations": 1}),
    ({"name": "asha", "grace_period": 27}, {}),
    ({"name": "asha", "grace_period": 2, "reduction_factor": 3, "brackets": 2}, {}),
    ({"name": "asha", "rule": "promotion"}, {"max_iterations": 4}),
    ({"name": "asha", "rule": "promotion", "grace_period": 27}, {"num_trials": 1}),
    ({"name": "asha", "rule": "promotion", "reduction_factor": 3, "brackets": 2}, {"max_iterations": 9}),
    ("hyperband", {}),
    ({"name": "hyperband", "reduction_factor": 2}, {"max_iterations": 16}),
    ("median", {}),
    ({"name": "median", "hard_stop": False, "min_time_slice": 2.5}, {}),
    ("pbt", {}),
    ({"name": "pbt", "perturbation_interval": 4, "perturbation_factors": [2, 0.5]}, {"checkpoint": {"every": 2}}),
    ({"name": "pbt", "hyperparam_mutations": ["layers", "lr"]}, {"space": TUNED}),
    ("pb2", {"max_iterations": 3}),
    (
        {"name": "pb2", "hyperparam_bounds": {"learning_rate": [1e-3, 1e-2]}, "perturbation_interval": 2},
        {"max_iterations": 5},
    ),
]


@pytest.mark.parametrize(("scheduler", "fields"), ACCEPTED)
def test_what_can_work_is_built_described_and_runs_to_its_end(scheduler: Any, fields: dict[str, Any]) -> None:
    study = a_study(**{"num_trials": 12, "max_iterations": 27, "scheduler": scheduler, **fields})
    assert schedulers.check(study) == []
    assert all(line and line == line.strip() for line in schedulers.describe(study))
    built = schedulers.build(study)
    assert built.rungs == schedulers.rungs(study)
    assert built.name == study.scheduler.name
    assert built.ray.metric == "loss"
    space = study.search_space
    run = FakeController(
        built,
        lambda n, i: n + 1 / i,
        trials=12,
        max_iterations=study.max_iterations,
        make=lambda n: space.config(space.from_unit([(n + 0.5) / 12] * len(space.parameters))),
    ).run()
    assert len(run.ended) == 12
    assert run.ended[0] == study.max_iterations
    texts = [why.text for whys in run.why.values() for why in whys]
    assert all(f"at iteration {why.iteration}" in why.text for whys in run.why.values() for why in whys), texts


@pytest.mark.parametrize(("searcher", "end"), [("random", ": 1"), ("bayesian", ": 1; more go on as bayesian learns")])
def test_the_plan_of_asha_says_that_it_counts_on_a_random_order(searcher: str, end: str) -> None:
    lines = schedulers.describe(a_study(scheduler={"name": "asha", "reduction_factor": 3}, search=searcher))
    assert lines[1].endswith(f"iteration 27{end}")


def test_all_problems_of_the_options_come_at_once() -> None:
    study = a_study(scheduler={"name": "asha", "grace_perod": 3, "reductionfactor": 2, "brackets": "x"})
    assert len(schedulers.check(study)) == 3


@pytest.mark.parametrize(
    ("scheduler", "fields", "lines"),
    [
        ("fifo", {}, ["fifo: no trial is stopped early; each runs 27 iterations"]),
        (
            {"name": "asha", "reduction_factor": 3},
            {},
            [
                "asha: the best 1/3 of a rung go on; earliest stop at iteration 1, by the second trial to get there",
                "rungs at iterations 1, 3 and 9; of 40 trials expected at iteration 1: 40, iteration 3: 13, "
                "iteration 9: 4, iteration 27: 1",
            ],
        ),
        (
            {"name": "asha", "reduction_factor": 3, "rule": "promotion"},
            {},
            [
                "asha: the best 1/3 of a rung go on; the others wait there, paused; earliest stop at the end of the "
                "study, for those still waiting",
                "rungs at iterations 1, 3 and 9; of 40 trials expected at iteration 1: 40, iteration 3: 13, "
                "iteration 9: 4, iteration 27: 1",
            ],
        ),
        (
            {"name": "asha", "rule": "promotion"},
            {"num_trials": 32},
            [
                "asha: the best 1/2 of a rung go on; the others wait there, paused; earliest stop at the end of the "
                "study, for those still waiting",
                "rungs at iterations 1, 2, 4, 8 and 16; of 32 trials expected at iteration 1: 32, iteration 2: 16, "
                "iteration 4: 8, iteration 8: 4, iteration 16: 2, iteration 27: 1",
            ],
        ),
        (
            {"name": "asha", "reduction_factor": 3, "rule": "promotion"},
            {"num_trials": 20},
            [
                "asha: the best 1/3 of a rung go on; the others wait there, paused; earliest stop at the end of the "
                "study, for those still waiting",
                "rungs at iterations 1, 3 and 9; of 20 trials expected at iteration 1: 20, iteration 3: 6, "
                "iteration 9: 2, iteration 27: 0",
                "perhaps no trial is trained to iteration 27: that takes 27 trials, or fewer rungs",
            ],
        ),
        (
            {"name": "asha", "grace_period": 27},
            {},
            [
                "asha: the best 1/4 of a rung go on; no rung lies before iteration 27: no trial can be stopped early",
                "rungs: none; each trial runs 27 iterations",
            ],
        ),
        (
            "hyperband",
            {"max_iterations": 9, "num_trials": 13},
            [
                "hyperband: 3 brackets; trials wait at a rung until their bracket is full; earliest stop at iteration 1",
                "bracket 0: 3 trials: 3 to iteration 9",
                "bracket 1: 5 trials: 5 to iteration 3, 2 to iteration 9",
                "bracket 2: 5 trials (room for 9): 5 to iteration 1, 3 to iteration 3, 1 to iteration 9",
            ],
        ),
        (
            "median",
            {},
            [
                "median: a trial whose best value is worse than the median of the others' running means is stopped; "
                "earliest stop at iteration 1, once 3 other trials have got there"
            ],
        ),
        (
            {"name": "pbt", "perturbation_interval": 3},
            {"default": {"learning_rate": 1e-3, "momentum": 0.9}},
            [
                "pbt: a population of 40, all there from the start; every 3 iterations, each on its own, the worst 10 "
                "take over a checkpoint of the best 10; no trial is stopped early",
                "changed on the way: learning_rate, momentum; resampled with probability 0.25, else moved by a "
                "factor or a step",
                "trial 0, the default configuration, exploits nobody",
            ],
        ),
    ],
)
def test_the_plan_is_said_before_anything_starts(scheduler: Any, fields: dict[str, Any], lines: list[str]) -> None:
    assert schedulers.describe(a_study(scheduler=scheduler, **fields)) == lines


def test_a_plan_without_a_number_of_trials_leaves_the_counts_out() -> None:
    study = a_study(scheduler="asha", num_trials=None, search="grid", space={"lr": {"grid": [1, 2]}})
    assert "of 2 trials" in schedulers.describe(study)[1]


def test_the_facts_the_driver_asks_for() -> None:
    table = {
        name: (s.pauses, s.population, s.replayable, s.checkpoint_every, s.every_report)
        for name in schedulers.names()
        for s in [schedulers.build(a_study(scheduler=name))]
    }
    assert table == {
        "fifo": (False, None, True, None, False),
        "asha": (False, None, True, None, False),
        "hyperband": (True, None, False, 1, False),
        "median": (False, None, True, None, True),
        "pbt": (True, 40, False, 1, False),
        "pb2": (True, 40, False, 1, False),
    }


def test_checking_and_describing_import_no_ray() -> None:
    probe = (
        "import sys; sys.path.insert(0, 'tests'); from a_study import a_study; from raytune_suite import schedulers\n"
        "for name in schedulers.names():\n"
        "    schedulers.check(a_study(scheduler=name)); schedulers.describe(a_study(scheduler=name))\n"
        "print(*sorted({'ray', 'torch', 'sklearn', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    shown = subprocess.run([sys.executable, "-c", probe], cwd=root, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == []


FOREIGN = """
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

class Picky(FIFOScheduler):
    def __init__(self, metric=None, mode=None, time_attr="time_total_s", max_t=100, limit=0.5):
        super().__init__()
        if limit > 1:
            raise ValueError("limit must be at most 1")
        self.seen = (metric, mode, time_attr, max_t, limit)
        self._metric, self.limit = metric, limit

    def on_trial_result(self, controller, trial, result):
        return self.STOP if result["loss"] > self.limit else self.CONTINUE

class Plain(FIFOScheduler):
    pass

class NotOne:
    pass
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "elsewhere.py").write_text(FOREIGN)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "elsewhere", raising=False)
    return tmp_path


def foreign(project: Path, **scheduler: Any) -> schedulers.Scheduler:
    return schedulers.build(a_study(scheduler=scheduler).with_project(project))


def test_a_scheduler_from_elsewhere_gets_what_the_study_knows(project: Path) -> None:
    scheduler = foreign(project, name="elsewhere:Picky", limit=0.25)
    assert scheduler.ray.seen == ("loss", "min", "training_iteration", 27, 0.25)
    assert scheduler.pauses
    assert not scheduler.replayable
    decision, why = Table(scheduler).report(1, 2, 0.9)
    assert decision == "STOP"
    assert why is not None
    assert (why.by, why.text) == ("Picky", "stopped at iteration 2 by Picky, which gives no reason")


def test_a_scheduler_without_arguments_is_told_metric_and_mode(project: Path) -> None:
    assert foreign(project, name="elsewhere:Plain").ray.metric == "loss"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "elsewhere:Picky", "limt": 1}, ["no option limt", "Did you mean limit?"]),
        ({"name": "elsewhere:Picky", "limit": 2}, ["refused its options", "limit must be at most 1"]),
        ({"name": "elsewhere:NotOne"}, ["must be a subclass of ray.tune.schedulers.TrialScheduler"]),
        ({"name": "elsewhere:Pickyy"}, ["Did you mean Picky?"]),
        ({"name": "nowhere:Picky"}, ["no module nowhere"]),
    ],
)
def test_a_scheduler_from_elsewhere_that_does_not_fit_says_why(
    project: Path, options: dict[str, Any], said: list[str]
) -> None:
    with pytest.raises(PlanError) as error:
        foreign(project, **options)
    assert all(part in str(error.value) for part in said), str(error.value)


def test_rays_own_classes_are_accepted_by_their_path() -> None:
    name = "ray.tune.schedulers:MedianStoppingRule"
    scheduler = schedulers.build(a_study(scheduler={"name": name, "grace_period": 2}))
    assert type(scheduler.ray).__name__ == "MedianStoppingRule"
    assert scheduler.ray._time_attr == "training_iteration"
    assert schedulers.describe(a_study(scheduler=name))[0].startswith(name)


def test_a_registered_scheduler_has_a_name(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    monkeypatch.syspath_prepend(str(project))
    point = EntryPoint("picky", "elsewhere:Picky", "raytune_suite.schedulers")
    broken = EntryPoint("broken", "elsewhere:Gone", "raytune_suite.schedulers")
    monkeypatch.setattr("raytune_suite.schedulers.foreign.entry_points", lambda group: [point, broken])
    assert schedulers.names()[-2:] == ["picky", "broken"]
    assert schedulers.build(a_study(scheduler="picky")).ray.seen[0] == "loss"
    [problem] = schedulers.check(a_study(scheduler="broken"))
    assert "elsewhere:Gone cannot be loaded" in str(problem)
