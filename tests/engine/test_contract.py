"""The same studies on Ray Tune's own actors and on the pool: where the order of reports is fixed, nothing differs.

The two CPUs of the tests' Ray make one slot for trials that need both, so reports arrive in one order only.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from in_turn import turns

from raytune_suite import Study, run, schedulers
from raytune_suite.engine import seam
from raytune_suite.engine.choice import ENGINES
from raytune_suite.errors import PlanError
from raytune_suite.journal import read
from raytune_suite.record import Record
from raytune_suite.replay import replay_events
from raytune_suite.simulate import course
from raytune_suite.states import State
from tests.engine import bare

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]
TOYS = Path(__file__).parents[1] / "cluster"
ASHA: dict[str, Any] = {"name": "asha", "reduction_factor": 3}
HOW = {"x": {"uniform": [0, 1]}, "how": {"grid": ["raise-once", "kill-once", None]}}

STUDIES: dict[str, dict[str, Any]] = {
    "fifo": {"num_trials": 6},
    "asha": {"num_trials": 12, "scheduler": ASHA},
    "asha, learning": {"num_trials": 8, "scheduler": ASHA, "search": {"name": "bayesian", "initial_points": 3}},
    "promotion": {"num_trials": 9, "scheduler": {**ASHA, "rule": "promotion"}},
    "median": {"num_trials": 8, "scheduler": {"name": "median", "grace_period": 2}},
    "hyperband": {"num_trials": 9, "scheduler": "hyperband"},
    "pbt": {"num_trials": 4, "scheduler": {"name": "pbt", "perturbation_interval": 3, "synch": True}},
    "pbt, each on its own": {"num_trials": 5, "scheduler": {"name": "pbt", "perturbation_interval": 2}},
    "pb2": {"num_trials": 4, "scheduler": {"name": "pb2", "perturbation_interval": 3, "synch": True}},
    "retries": {"search": "grid", "space": {**HOW, "x": 0.5}, "trainable": "toys:Failing", "retries": {"failed": 1}},
    "failures": {"search": "grid", "space": {**HOW, "x": 0.5}, "trainable": "toys:Failing"},
    "tune class": {"num_trials": 3, "trainable": "toys:TuneClass"},
    "function": {"num_trials": 3, "trainable": "toys:function"},
}


def study(folder: Path, name: str, **changes: Any) -> Study:
    base: dict[str, Any] = {
        "name": name,
        "trainable": "toys:Quadratic",
        "metric": "validation/loss",
        "max_iterations": 9,
        "space": {"x": {"uniform": [0, 1]}},
        "search": "random",
        "resources": {"cpu": 2, "gpu": 0},
        "storage": str(folder),
    }
    return Study.from_dict({**base, **changes}, project=TOYS)


def outcome(folder: Path, record: Record) -> list[Any]:
    """States, attempts, curves and decisions, each trial's and in one order: everything but times and places."""
    trials = [
        (t.number, t.point, t.state, t.attempt, len(t.runs), [(r.iteration, r.metrics) for r in t.reports])
        for t in record.trials.values()
    ]
    kinds = ("number", "iteration", "action", "by", "reason")
    return [trials, [[event[kind] for kind in kinds] for event in read(folder) if event["event"] == "decision"]]


class Quadratics:
    """What the toys of the studies here would report; a step takes ``seconds`` and as many more as ``x`` says."""

    def __init__(self, seconds: float = 1.0, more: float = 0.0) -> None:
        self.seconds, self.more = seconds, more
        self.configs: dict[str, Any] = {}

    def begin(self, trial_id: str, config: Any) -> None:
        self.configs[trial_id] = config

    def step(self, trial_id: str, iteration: int) -> tuple[float, float]:
        x = self.configs[trial_id]["x"]
        return (x - 0.3) ** 2 + 1.0 / iteration, self.seconds + self.more * x

    def save(self, trial_id: str) -> None:
        """Their checkpoints hold how many steps were made, which the engine knows."""

    def load(self, trial_id: str, state: None) -> None:
        """See :meth:`save`."""


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_leaves_the_same_record_on_all_engines(tmp_path: Path, name: str) -> None:
    found, courses = {}, {}
    if name == "pb2":
        must_have_pb2(study(tmp_path, "any", **STUDIES[name]))
    for engine in ENGINES:
        results = run(study(tmp_path, engine, **STUDIES[name]), verbosity=-1, engine=engine)
        found[engine] = outcome(results.experiment.folder, results.experiment.record)
        courses[engine] = run_of(read(results.folder))
    assert found["pool"][0]
    assert found["pool"] == found["tune"]
    if "trainable" not in STUDIES[name]:
        events: list[dict[str, Any]] = []
        course(study(tmp_path, "virtual", **STUDIES[name]), Quadratics(), 1, Record(), events)
        courses["virtual"] = run_of(events)
    assert all(taken == courses["pool"] for taken in courses.values())


def must_have_pb2(made: Study) -> None:
    try:
        schedulers.build(made)
    except PlanError as error:
        pytest.skip(str(error))


SCRIPTED = dict.fromkeys(("promotion", "hyperband", "pbt, each on its own"), ("pool",))
"""Whom of those that wait Tune's own manager takes first depends on how long its actors need to start. Where a whole
population waits for each other, whoever has saved first is first: that one is compared with one slot only."""
SCRIPTED |= dict.fromkeys(("asha", "median"), ENGINES)


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_study_of_two_slots_takes_the_same_course_where_steps_end_in_a_given_order(tmp_path: Path, name: str) -> None:
    """In virtual time a step takes what a model says; on workers, each ends when that makes it its turn."""
    scripted = {**STUDIES[name], "trainable": "in_turn:InTurn", "resources": {"cpu": 1, "gpu": 0}}
    scripted["space"] = {"x": {"uniform": [0, 1]}, "script": str(tmp_path / "script")}
    made, events = study(tmp_path, "virtual", **scripted), []  # type: ignore[var-annotated]
    course(made, Quadratics(more=7.0), 2, Record(), events)
    decisive = [*schedulers.build(made).rungs, made.max_iterations] if name in ("asha", "promotion") else None
    (tmp_path / "script").write_text(json.dumps({"decisive": decisive, "turns": turns(events, decisive)}))
    for engine in SCRIPTED[name]:
        results = run(study(tmp_path, engine, **scripted), verbosity=-1, engine=engine)
        assert run_of(read(results.folder), decisive) == run_of(events, decisive), engine


def test_where_the_order_is_free_decisions_follow_from_what_was_reported_and_each_step_is_reported_once(
    tmp_path: Path,
) -> None:
    changes: dict[str, Any] = {"num_trials": 24, "scheduler": ASHA, "resources": {"cpu": 1, "gpu": 0}}
    made, events = study(tmp_path, "virtual", **changes), []  # type: ignore[var-annotated]
    course(made, Quadratics(more=7.0), 2, Record(), events)
    courses = [events]
    for engine in ENGINES:
        folder = run(study(tmp_path, engine, **changes), verbosity=-1, engine=engine).folder
        courses.append(list(read(folder)))
    for taken in courses:
        assert replay_events(taken, made).identical
        for trial in record_of(taken).trials.values():
            assert [report.iteration for report in trial.reports] == list(range(1, trial.iteration + 1))
            assert trial.state is (State.COMPLETED if trial.iteration == 9 else State.STOPPED)
            assert (trial.state is State.STOPPED) == any(event["action"] == "stop" for event in trial.decisions)
    assert all(len(record_of(taken).trials) == 24 for taken in courses)


def record_of(events: Iterable[dict[str, Any]]) -> Record:
    found = Record()
    for event in events:
        found.apply(event)
    return found


def run_of(events: Iterable[dict[str, Any]], decisive: Collection[int] | None = None) -> list[Any]:
    """Configurations, and everything that was reported and decided, each in order: a trial may be made early.

    Of the reports those at ``decisive`` iterations; None: all.
    """
    made, found = [], []  # type: ignore[var-annotated]
    for event in events:
        if event["event"] == "trial":
            made.append((event["number"], event["point"]))
        elif event["event"] == "report" and (decisive is None or event["iteration"] in decisive):
            found.append((event["number"], event["iteration"], event["metrics"]["validation/loss"]))
        elif event["event"] == "decision":
            found.append((event["number"], event["iteration"], event["action"], event["reason"]))
        elif event["event"] == "end":
            found.append((event["number"], event["state"], event["by"]))
    return [*made, *found]


def test_a_killed_worker_costs_only_its_own_trial(tmp_path: Path) -> None:
    space = {"x": {"grid": [0.1, 0.2, 0.3]}, "how": {"grid": ["kill", None]}, "sleep": 0.01}
    resources = {"cpu": 1, "gpu": 0}
    made = study(tmp_path, "kill", trainable="toys:Failing", space=space, search="grid", resources=resources)
    record = run(made, verbosity=-1, engine="pool").experiment.record
    for trial in record.trials.values():
        assert trial.state is (State.FAILED if trial.config["how"] else State.COMPLETED), trial
        assert [r.iteration for r in trial.reports] == list(range(1, trial.iteration + 1))
        assert len(trial.runs) == 1


def test_a_killed_worker_costs_only_its_own_trial_where_many_ride_together(tmp_path: Path) -> None:
    space, resources = {"x": {"grid": [n / 100 for n in range(60)]}}, {"cpu": 1, "gpu": 0}
    changes = {"space": space, "search": "grid", "resources": resources, "retries": {"failed": 1}}
    made = study(tmp_path, "riding", trainable="toys:Deadly", max_iterations=2, **changes)
    record = run(made, verbosity=-1, engine="pool").experiment.record
    for trial in record.trials.values():
        guilty = trial.config["x"] in (0.2, 0.4)  # the latter once, which may have been while it was not alone
        assert trial.state is (State.FAILED if trial.config["x"] == 0.2 else State.COMPLETED), trial
        assert trial.attempt <= guilty
        assert [r.iteration for r in trial.reports] == [1, 2] or guilty
    assert len(record.trials) == 60


def test_each_step_is_reported_once_when_trials_are_shorter_than_a_message(tmp_path: Path) -> None:
    made = study(tmp_path, "brisk", num_trials=200, max_iterations=2, resources={"cpu": 1, "gpu": 0})
    record = run(made, verbosity=-1, engine="pool").experiment.record
    assert {t.state for t in record.trials.values()} == {State.COMPLETED}
    assert all([r.metrics["steps"] for r in t.reports] == [1, 2] for t in record.trials.values())
    workers = {(run.pid, run.worker_trials) for t in record.trials.values() for run in t.runs}
    assert len(workers) == 200
    assert len({pid for pid, _ in workers}) == 2


def fit(folder: Path, engine: str, trainable: Any, failures: int, **config: Any) -> tuple[dict[float, list[str]], Any]:
    """A bare Tuner, on one of the engines; what a callback of the user's saw, and the results."""
    from ray import tune

    from raytune_suite.engine.pool import Pool
    from raytune_suite.engine.slots import Limits
    from raytune_suite.engine.workers import RayWorkers

    notes = bare.Notes()
    pool = Pool(RayWorkers(), Limits())
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 2}),
        param_space={"x": tune.grid_search([1.0, 2.0, 3.0]), **config},
        tune_config=tune.TuneConfig(metric="loss", mode="min"),
        run_config=tune.RunConfig(
            stop={"training_iteration": 5},
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=2, checkpoint_at_end=True),
            failure_config=tune.FailureConfig(max_failures=failures),
            callbacks=[notes],
            storage_path=str(folder),
            name=engine,
            verbose=0,
        ),
    )
    try:
        with seam.installed(lambda: pool) if engine == "pool" else nullcontext():
            results = tuner.fit()
    finally:
        pool.close()
    return notes.seen, results


@pytest.mark.parametrize(("how", "failures"), [(None, 0), ("raise", 1), ("kill", 1), ("kill", 0)])
def test_a_bare_tuner_cannot_tell_the_engines_apart(tmp_path: Path, how: str | None, failures: int) -> None:
    found = {engine: fit(tmp_path, engine, bare.Steps, failures, how=how) for engine in ENGINES}
    assert found["pool"][0] == found["tune"][0]
    assert len(found["pool"][0]) == 3
    mine, theirs = ([type(result.error).__name__ for result in found[engine][1]] for engine in ("pool", "tune"))
    assert mine == theirs
    kept = [[sorted(Path(r.checkpoint.path).name for _ in [0] if r.checkpoint) for r in found[e][1]] for e in ENGINES]
    assert kept[0] == kept[1]


def test_a_trainable_that_cannot_be_set_up_fails_with_its_own_error(tmp_path: Path) -> None:
    seen, results = fit(tmp_path, "pool", bare.Setup, 0)
    assert all("no such data set" in str(error) for error in results.errors)
    assert len(results.errors) == 3
    assert seen == {x: ["started", "failed"] for x in (1.0, 2.0, 3.0)}
