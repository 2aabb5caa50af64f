"""The kept running means are those that Ray computes anew for every report."""

from __future__ import annotations

import random
from typing import Any

import pytest
from a_study import a_study
from fake_tune import FakeController, FakeTrial
from ray.tune.schedulers import MedianStoppingRule

from raytune_suite import schedulers
from raytune_suite.schedulers.runningmeans import RunningMeans


class AsRay(MedianStoppingRule):  # type: ignore[misc]
    """Ray's own rule, with the one thing of ours that it lacks: a trial that goes back is not counted twice."""

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        results = self._results.get(trial, [])
        while results and results[-1]["training_iteration"] >= result["training_iteration"]:
            results.pop()
        return str(super().on_trial_result(controller, trial, result))


@pytest.mark.parametrize("seed", range(20))
def test_every_decision_is_the_one_ray_takes(seed: int) -> None:
    rng = random.Random(seed)
    options = {"grace_period": rng.choice([1, 3]), "min_samples_required": rng.choice([1, 3])}
    made = a_study(scheduler={"name": "median", **options}, mode=rng.choice(["min", "max"]), max_iterations=50)
    ours = schedulers.build(made)
    theirs = AsRay(time_attr="training_iteration", metric=made.metric, mode=made.mode, hard_stop=True, **options)
    worst = float("inf" if made.mode == "min" else "-inf")
    controller = FakeController(ours, lambda n, i: None, trials=0)
    trials = {number: FakeTrial(number) for number in range(8)}
    for _ in range(300):
        if not trials:
            break
        trial = trials[rng.choice(sorted(trials))]
        back = rng.random() < 0.1
        trial.iteration = (
            max(1, trial.iteration - rng.randrange(3)) if back else trial.iteration + rng.choice([1, 1, 4])
        )
        result = {"training_iteration": trial.iteration, made.metric: rng.choice([rng.random(), 0.5, worst])}
        decisions = {str(rule.on_trial_result(controller, trial, result)) for rule in (ours.ray, theirs)}
        assert len(decisions) == 1
        if decisions == {"STOP"} or trial.iteration > 40:
            del trials[trial.number]
            if result[made.metric] != worst:
                for rule in (ours.ray, theirs):
                    rule.on_trial_complete(controller, trial, result)


def test_the_median_leaves_the_trial_itself_and_those_behind_out() -> None:
    means = RunningMeans(grace=1)
    for trial, values in {"a": [1.0, 3.0], "b": [5.0, 5.0], "c": [9.0], "d": [0.0, 2.0]}.items():
        for time, value in enumerate(values, 1):
            means.add(trial, time, value)
    assert means.others("a", 2) == (3.0, 2)
    assert means.others("x", 2) == (2.0, 3)
    assert means.others("c", 1) == (1.0, 3)


def test_a_trial_that_goes_back_is_no_longer_beyond() -> None:
    means = RunningMeans(grace=1)
    for time in (1, 2, 3):
        means.add("a", time, float(time))
    assert means.others("x", 3) == (2.0, 1)
    means.rewind("a", 2)
    assert means.others("x", 3)[1] == 0
    means.add("a", 3, 9.0)
    assert means.others("x", 3) == (5.0, 1)


def test_reports_before_the_grace_period_do_not_count() -> None:
    means = RunningMeans(grace=2)
    means.add("a", 1, 100.0)
    assert means.others("x", 1)[1] == 0
    means.add("a", 2, 4.0)
    assert means.others("x", 2) == (4.0, 1)
