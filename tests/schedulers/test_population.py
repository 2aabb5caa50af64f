from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from a_study import a_study
from fake_tune import FakeController, FakeTrial
from hypothesis import given, settings
from hypothesis import strategies as st

from raytune_suite import schedulers
from raytune_suite.errors import PlanError
from raytune_suite.schedulers.mutations import bounds_of, inside, mutations_of
from raytune_suite.space import Float, Int, Normal, Space
from raytune_suite.study import Study

SPACE = {
    "optimizer": {"lr": {"loguniform": [1e-4, 1e-1]}, "momentum": {"uniform": [0.5, 0.99]}},
    "channels": {"choice": [16, 32, 64]},
    "batch": {"qrandint": [32, 256, 32]},
    "epochs": 1,
}


def population(name: str = "pbt", *, space: dict[str, Any] | None = None, **options: Any) -> Study:
    fields = {key: options.pop(key) for key in list(options) if key in Study.model_fields}
    scheduler = {"name": name, "perturbation_interval": 3, **options}
    return a_study(**{"space": space or SPACE, "num_trials": 8, "max_iterations": 12, "scheduler": scheduler, **fields})


def run(study: Study, trials: int = 8, **kwargs: Any) -> FakeController:
    """Trials whose loss is their distance from lr = 0.01, shrinking with iterations."""
    scheduler = schedulers.build(study)
    space = study.search_space
    made = FakeController(
        scheduler,
        lambda n, i: 0.0,
        trials=trials,
        max_iterations=study.max_iterations,
        make=lambda n: space.config(space.sample(np.random.default_rng(n))),
        **kwargs,
    )
    made.curve = lambda n, i: abs(math.log10(made.trials[n].config["optimizer"]["lr"]) + 2) + 1 / i
    return made.run()


def exploits(made: FakeController) -> list[tuple[int, Any]]:
    return [(n, why) for n, whys in made.why.items() for why in whys if why.action == "exploit"]


@pytest.mark.parametrize(
    ("name", "synch", "slots", "trials"),
    [
        ("pbt", False, 2, 8),
        ("pbt", True, 2, 8),
        ("pbt", False, 8, 8),
        ("pbt", True, 8, 8),
        ("pb2", False, 2, 4),
        ("pb2", True, 4, 4),
    ],
)
def test_a_population_ends_and_learns(name: str, synch: bool, slots: int, trials: int) -> None:
    made = run(population(name, synch=synch, num_trials=trials), trials, slots=slots)
    assert sorted(made.ended) == list(range(trials))
    assert set(made.ended.values()) == {12}
    assert exploits(made)
    space = population(name).search_space
    for trial in made.trials:
        assert not space.check(space.point(trial.config)), trial.config
        assert trial.config["epochs"] == 1


@pytest.mark.parametrize("synch", [False, True])
def test_the_whole_population_takes_part_when_trials_are_made_for_free_slots(synch: bool) -> None:
    # The best two would run to their end side by side; only at a perturbation can another one get a slot.
    study = population(synch=synch, quantile_fraction=0.01)
    space = study.search_space
    made = FakeController(
        schedulers.build(study),
        lambda n, i: 0.5,
        trials=8,
        max_iterations=12,
        slots=1,
        make=lambda n: space.config(space.sample(np.random.default_rng(n))),
        up_front=False,
    )
    stop, existing = made.stop_trial, []
    made.stop_trial = lambda trial: (existing.append(len(made.trials)), stop(trial))  # type: ignore[assignment]
    made.run()
    assert set(existing) == {8}


@given(
    synch=st.booleans(),
    slots=st.integers(1, 5),
    trials=st.integers(2, 7),
    interval=st.integers(1, 5),
    stride=st.integers(1, 3),
    quantile=st.sampled_from([0.01, 0.25, 0.5]),
    noise=st.sampled_from([0.0, 1.0]),
    trend=st.sampled_from([-1.0, 0.0, 1.0]),
    up_front=st.booleans(),
    failing=st.dictionaries(st.integers(0, 6), st.integers(1, 12), max_size=2),
    seed=st.integers(0, 3),
)
@settings(max_examples=80, deadline=None)
def test_every_run_ends(
    synch: bool,
    slots: int,
    trials: int,
    interval: int,
    stride: int,
    quantile: float,
    noise: float,
    trend: float,
    up_front: bool,
    failing: dict[int, int],
    seed: int,
) -> None:
    study = population(
        synch=synch, num_trials=trials, perturbation_interval=interval, quantile_fraction=quantile, seed=seed
    )
    space = study.search_space
    rng = random.Random(seed)
    made = FakeController(
        schedulers.build(study),
        # Also a loss that grows: whoever trains on looks worse than whoever waits.
        lambda n, i: trend * i + noise * rng.random(),
        trials=trials,
        max_iterations=12,
        slots=slots,
        stride=stride,
        seed=seed,
        failing=failing,
        up_front=up_front,
        make=lambda n: space.config(space.sample(np.random.default_rng(n))),
    ).run(limit=5000)
    assert len(made.ended) == trials


def test_an_exploit_says_from_whom_and_what_changed() -> None:
    made = run(population(synch=False), slots=8)
    number, why = exploits(made)[0]
    facts = why.reason
    assert facts["from"] != f"{number:05d}"
    assert facts["score"] > facts["source_score"]
    assert facts["compared"] <= 8
    assert facts["rank"] == facts["compared"] or facts["rank"] == facts["compared"] - 1
    change = facts["changes"]["optimizer.lr"]
    assert set(change) == {"own", "source", "now"}
    assert facts["config"]["optimizer"]["lr"] == change["now"]
    assert set(facts["config"]) == set(SPACE)
    assert 1e-4 <= change["now"] <= 1e-1
    assert why.text.startswith(f"exploited at iteration {why.iteration}: with {facts['score']:.4g} it is number ")
    assert f"so it goes on from trial {facts['from']} ({facts['source_score']:.4g} at iteration" in why.text
    assert "optimizer.lr" in why.text or "unchanged" in why.text


def test_an_exploited_trial_goes_on_from_the_others_checkpoint() -> None:
    made = run(population(), slots=8)
    told = [(number, why.reason["source_iteration"]) for number, why in exploits(made)]
    assert made.restores == told


def test_the_default_mutations_are_the_continuous_parameters() -> None:
    domains, problems = mutations_of(population(), None)
    assert list(domains) == ["optimizer.lr", "optimizer.momentum"]
    assert not problems
    made = run(population(), slots=8)
    original = {n: made.make(n)["channels"] for n in range(8)}
    source = {n: made.trials[n].config["channels"] for n in range(8)}
    # Inherited whole from another trial, never mutated.
    assert set(source.values()) <= set(original.values())


def test_named_discrete_parameters_are_mutated_within_their_values() -> None:
    study = population(hyperparam_mutations=["batch", "channels"], resample_probability=0.5)
    made = run(study, slots=8)
    batches = {why.reason["changes"]["batch"]["now"] for _, why in exploits(made)}
    assert batches <= set(range(32, 257, 32))
    assert {type(batch) for batch in batches} == {int}
    assert {why.reason["changes"]["channels"]["now"] for _, why in exploits(made)} <= {16, 32, 64}


def test_mutations_may_be_given_with_domains_of_their_own() -> None:
    study = population(hyperparam_mutations={"optimizer.lr": {"loguniform": [1e-3, 1e-2]}, "epochs": [1, 2]})
    made = run(study, slots=8)
    assert all(1e-3 <= why.reason["changes"]["optimizer.lr"]["now"] <= 1e-2 for _, why in exploits(made))
    assert {trial.config["epochs"] for trial in made.trials} <= {1, 2}


def test_parameters_with_conditions_are_left_alone() -> None:
    space = {
        "lr": {"loguniform": [1e-4, 1e-1]},
        "optimizer": {"choice": ["sgd", "adam"]},
        "momentum": {"uniform": [0.5, 0.99], "when": "optimizer == 'sgd'"},
    }
    assert list(mutations_of(population(space=space), None)[0]) == ["lr"]
    for name in ("momentum", "optimizer"):
        [problem] = schedulers.check(population(space=space, hyperparam_mutations=[name]))
        assert "has a condition, or other parameters depend on it" in str(problem)


def test_the_constraint_holds_for_every_change() -> None:
    study = population(hyperparam_mutations=["optimizer.lr", "batch"], constraint="batch * optimizer.lr <= 8")
    for seed in range(3):
        made = run(study, slots=8, seed=seed)
        assert all(t.config["batch"] * t.config["optimizer"]["lr"] <= 8 for t in made.trials)


def test_when_no_change_is_feasible_the_parameters_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = schedulers.build(population())
    monkeypatch.setattr(Space, "feasible", lambda self, point: False)
    trial = FakeTrial(1, {"optimizer": {"lr": 0.01, "momentum": 0.9}, "channels": 16, "batch": 32})
    assert scheduler.ray._get_new_config(trial, trial) == (trial.config, {})


def test_the_default_configuration_is_never_made_into_another() -> None:
    default = {"optimizer.lr": 1e-1, "optimizer.momentum": 0.5, "channels": 16, "batch": 32}
    study = population(default=default, quantile_fraction=0.5)
    scheduler = schedulers.build(study)
    space = study.search_space

    def make(number: int) -> dict[str, Any]:
        return space.config(default if number == 0 else space.sample(np.random.default_rng(number)))

    made = FakeController(
        scheduler, lambda n, i: 99.0 if n == 0 else n, trials=8, max_iterations=12, slots=8, make=make
    ).run()
    assert made.trials[0].config == make(0)
    assert 0 not in [number for number, _ in exploits(made)]


def test_a_diverged_trial_is_the_first_to_be_replaced() -> None:
    study = population(synch=True, quantile_fraction=0.125)
    scheduler = schedulers.build(study)
    space = study.search_space
    made = FakeController(
        scheduler,
        lambda n, i: math.nan if (n, i) == (5, 3) else float(n),
        trials=8,
        max_iterations=12,
        slots=8,
        make=lambda n: space.config(space.sample(np.random.default_rng(n))),
    ).run()
    number, why = exploits(made)[0]
    assert number == 5
    assert why.reason["score"] == math.inf
    assert why.reason["from"] == "00000"


def test_a_report_without_the_metric_is_waited_for() -> None:
    study = population()
    space = study.search_space
    made = FakeController(
        schedulers.build(study),
        lambda n, i: None if i % 2 else float(n),
        trials=8,
        max_iterations=12,
        slots=8,
        make=lambda n: space.config(space.sample(np.random.default_rng(n))),
    ).run()
    assert set(made.ended.values()) == {12}
    assert {why.iteration for _, why in exploits(made)} <= {4, 8}


@pytest.mark.parametrize("name", ["pbt", "pb2"])
def test_what_it_draws_comes_from_the_seed_and_leaves_global_state_alone(name: str) -> None:
    def story(study: Study, noise: int) -> list[str]:
        random.seed(noise)
        np.random.seed(noise)
        states = random.getstate(), np.random.get_state()[1].tolist()
        told = [why.text for _, why in exploits(run(study, 4, slots=4))]
        assert (random.getstate(), np.random.get_state()[1].tolist()) == states
        return told

    def study(seed: int) -> Study:
        return population(name, seed=seed, num_trials=4, max_iterations=8)

    told = story(study(3), 1)
    assert told == story(study(3), 2)
    assert told != story(study(4), 1)


def test_checkpoints_that_may_still_be_loaded_are_pinned() -> None:
    study = population()
    scheduler = schedulers.build(study)
    pinned = []
    space = study.search_space
    made = FakeController(
        scheduler,
        lambda n, i: float(n),
        trials=8,
        max_iterations=12,
        slots=8,
        make=lambda n: space.config(space.sample(np.random.default_rng(n))),
    )
    report = made._report
    made._report = lambda trial: (report(trial), pinned.append(scheduler.pinned()))  # type: ignore[assignment]
    made.run()
    offered = {path for paths in pinned for path in paths}
    assert "00000/000003" in offered
    assert not {path for path in offered if path.startswith("00007")}


def test_pb2_takes_continuous_parameters_only() -> None:
    assert list(bounds_of(population("pb2"), None)[0]) == ["optimizer.lr", "optimizer.momentum"]
    [problem] = schedulers.check(population("pb2", hyperparam_bounds=["batch"]))
    assert "pb2 changes continuous parameters only" in str(problem)
    assert not schedulers.check(population("pb2", hyperparam_bounds={"optimizer.lr": [1e-3, 1e-2]}))


@pytest.mark.parametrize(
    ("domain", "given", "kept"),
    [
        (Float(0.0, 1.0), 1.2, 1.0),
        (Float(1e-4, 1e-1, log=True), 1e-5, 1e-4),
        (Float(0.0, 1.0, q=0.25), 0.6, 0.5),
        (Float(0.25, 1.0, q=0.25), 0.0, 0.25),
        (Float(0.1, 0.9, q=0.1), 0.29, 0.3),
        (Int(1, 9), 9.7, 9),
        (Int(32, 256, q=32), 300, 256),
        (Int(32, 256, q=32), 50, 64),
        (Normal(0.0, 1.0, q=0.5), 7.1, 7.0),
    ],
)
def test_a_changed_value_is_brought_back_into_its_domain(domain: Any, given: float, kept: float) -> None:
    value = inside(domain, given)
    assert value == kept
    assert domain.contains(value)
    assert type(value) is type(kept)


def test_the_interval_defaults_to_a_tenth_in_whole_checkpoints() -> None:
    def planned(iterations: int, every: int) -> list[int]:
        study = a_study(scheduler="pbt", max_iterations=iterations, checkpoint={"every": every}, num_trials=4)
        assert not schedulers.check(study)
        return schedulers.rungs(study)[:2]

    assert planned(100, 1) == [10, 20]
    assert planned(100, 4) == [8, 16]
    assert planned(5, 1) == [1, 2]


def test_a_version_of_ray_that_wants_another_package_for_pb2_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.tune.schedulers.pb2.import_pb2_dependencies", lambda: False)
    with pytest.raises(PlanError, match=r"pb2 cannot be used with this version of Ray: .*install.*Or use pbt\."):
        schedulers.build(population("pb2"))
