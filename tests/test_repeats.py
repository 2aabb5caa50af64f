from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raytune_suite.errors import StudyError, TrainableError
from raytune_suite.hosts import open_host
from raytune_suite.repeats import RepeatedHost, combine, generators, open_trial
from raytune_suite.seeds import repeat_seeds, trial_seed
from raytune_suite.trainable import Context
from tests.a_study import a_study

TOYS = '''
import json, random
import numpy as np
import torch
from pathlib import Path
from torch import nn
from ray import tune
from raytune_suite.trainable import Data, TorchTrainable

class Noise(TorchTrainable):
    """Draws from every global generator in each step, as careless training code does."""
    def build(self):
        self.model = nn.Linear(2, 1)
    def train_epoch(self):
        return {"loss": torch.rand(1).item() + random.random() + float(np.random.rand())}
    def evaluate(self, loader):
        return {"loss": self.model.weight.sum().item() + torch.rand(1).item()}
    def test(self):
        return {"loss": self.model.weight.sum().item()}

class Old(tune.Trainable):
    def setup(self, config):
        self.place = 0.0
    def step(self):
        self.place += random.random()
        return {"validation": {"loss": self.place}, "done": self.place > 1.5}
    def save_checkpoint(self, folder):
        return {"place": self.place}
    def load_checkpoint(self, state):
        self.place = state["place"]

class Fails(Noise):
    def train_epoch(self):
        raise ValueError("no data")

def function(config):
    tune.report({"validation/loss": 1.0})
'''
METRIC = "validation/loss"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "repeats_toys.py").write_text(TOYS)
    return tmp_path


def opened(project: Path, name: str = "Noise", seeds: tuple[int, ...] = (5, 6, 7), folder: str = "a") -> Any:
    context = Context.standalone(project / folder, seed=1, metric=METRIC)
    return open_trial(f"repeats_toys:{name}", project, {}, context, seeds)


def alone(project: Path, seed: int, steps: int) -> list[float]:
    context = Context.standalone(project / f"alone-{seed}", seed=seed, metric=METRIC)
    host = open_host("repeats_toys:Noise", project, {}, context)
    found = [host.step()[METRIC] for _ in range(steps)]
    host.close()
    return found


def test_each_repeat_trains_as_if_it_were_alone(project: Path) -> None:
    host = opened(project)
    curves = [host.step() for _ in range(4)]
    host.close()
    for repeat, seed in enumerate((5, 6, 7)):
        assert [metrics[f"{METRIC}/repeat_{repeat}"] for metrics in curves] == alone(project, seed, 4)


def test_the_metrics_are_the_mean_and_its_standard_error(project: Path) -> None:
    host = opened(project)
    metrics = host.step()
    host.close()
    values = [metrics[f"{METRIC}/repeat_{repeat}"] for repeat in range(3)]
    assert metrics[METRIC] == pytest.approx(np.mean(values), abs=1e-15)
    assert metrics[f"{METRIC}/std_error"] == pytest.approx(np.std(values, ddof=1) / math.sqrt(3))
    assert "train/loss/std_error" in metrics
    assert "time/epoch_s" in metrics
    assert not [name for name in metrics if name.startswith(("time/", "memory/")) and "std_error" in name]


def test_a_checkpoint_holds_all_repeats_and_goes_on_bit_by_bit(project: Path) -> None:
    whole, first = opened(project), opened(project, folder="b")
    expected = [whole.step() for _ in range(5)]
    [first.step() for _ in range(2)]
    first.save(project / "saved")
    first.close()
    random.seed(0)
    torch.manual_seed(0)
    np.random.seed(0)
    again = opened(project, folder="c")
    again.load(project / "saved")
    for metrics in expected[2:]:
        found = again.step()
        assert {n: v for n, v in found.items() if METRIC in n} == {n: v for n, v in metrics.items() if METRIC in n}
    assert again.test()["test/loss/std_error"] > 0


def test_a_checkpoint_of_another_number_of_repeats_is_refused(project: Path) -> None:
    host = opened(project, seeds=(1, 2))
    host.save(project / "saved")
    with pytest.raises(TrainableError, match="holds 2 repeats, the study has 3"):
        opened(project, folder="b").load(project / "saved")


def test_repeats_of_a_tune_class_have_seeds_of_their_own_and_end_when_the_last_does(project: Path) -> None:
    from raytune_suite.standalone import _tune_arguments

    job = {"folder": str(project), "trial_id": "00000", "cpus": 1, "gpu": 0}
    context = Context.standalone(project / "a", seed=1, metric=METRIC)
    host = open_trial("repeats_toys:Old", project, {}, context, (5, 6), **_tune_arguments(job))
    curves: list[list[float]] = [[], []]
    while not host.finished:
        metrics = host.step()
        for repeat in range(2):
            curves[repeat].append(metrics[f"{METRIC}/repeat_{repeat}"])
    for repeat, seed in enumerate((5, 6)):
        generator, place, steps = random.Random(seed), 0.0, []
        while place <= 1.5:
            place += generator.random()
            steps.append(place)
        expected = steps + [steps[-1]] * (len(curves[repeat]) - len(steps))
        assert curves[repeat] == expected


def test_a_function_cannot_be_repeated_and_says_why(project: Path) -> None:
    with pytest.raises(TrainableError, match="is a function"):
        opened(project, "function")


def test_an_error_says_which_repeat_it_was(project: Path) -> None:
    with pytest.raises(ValueError, match="no data") as caught:
        opened(project, "Fails").step()
    assert caught.value.__notes__ == ["This was repeat 0 of 3."]


def test_without_repeats_a_trial_is_hosted_as_ever(project: Path) -> None:
    host = opened(project, seeds=())
    assert not isinstance(host, RepeatedHost)
    assert "validation/loss/std_error" not in host.step()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([{"a": 1.0}, {"a": 3.0}], {"a": 2.0, "a/std_error": 1.0}),
        ([{"a": 1}, {"a": 1}], {"a": 1}),
        ([{"a": 1}, {"a": 2}], {"a": 1.5, "a/std_error": 0.5}),
        ([{"a": 0.1}] * 3, {"a": 0.1, "a/std_error": 0.0}),
        ([{"memory/host_mb": 10.0}, {"memory/host_mb": 12.0}], {"memory/host_mb": 12.0}),
        ([{"time/s": 1.0}, {"time/s": 2.0}], {"time/s": 1.5}),
        ([{"nan": True}, {}], {"nan": True}),
        ([{"ok": False}, {"ok": False}], {"ok": False}),
        ([{"kind": "x"}, {"kind": "x"}], {"kind": "x"}),
        ([{"kind": "x"}, {"kind": "y"}], {"kind": "x, y"}),
        ([{"a": None}, {"a": None}], {"a": None}),
        ([{"a": None}, {"a": 2.0}], {"a": 2.0}),
        ([{"m": 1.0}, {"m": None}, {"m": 3.0}],
         {"m": 2.0, "m/std_error": 1.0, "m/repeat_0": 1.0, "m/repeat_1": None, "m/repeat_2": 3.0}),
        ([{"a": math.inf}, {"a": 1.0}], {"a": math.inf, "a/std_error": math.inf}),
    ],
)  # fmt: skip
def test_metrics_are_combined_by_their_kind(values: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    found = combine(values, "m")
    assert {name: value for name, value in found.items() if value == value} == expected


def test_huge_values_do_not_overflow() -> None:
    assert combine([{"a": 1e308}, {"a": 1.7e308}], "m")["a"] == pytest.approx(1.35e308)


def test_one_repeat_that_diverges_makes_the_mean_nan() -> None:
    found = combine([{"a": math.nan}, {"a": 1.0}], "a")
    assert isinstance(found["a"], float)
    assert math.isnan(found["a"])


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=6))
def test_the_order_of_repeats_does_not_change_the_mean(values: list[float]) -> None:
    one, other = combine([{"a": v} for v in values], "m"), combine([{"a": v} for v in reversed(values)], "m")
    assert one["a"] == other["a"]
    assert one["a/std_error"] == pytest.approx(other["a/std_error"])


def test_generators_are_put_back() -> None:
    put_back = generators()
    first = random.random(), np.random.rand(), torch.rand(1).item()
    put_back()
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == first


def test_seeds_are_shared_by_all_trials_and_differ_from_each_other_and_from_theirs() -> None:
    seeds = repeat_seeds(3, 4)
    assert repeat_seeds(3, 6)[:4] == seeds
    assert len({*seeds, *repeat_seeds(4, 4), *(trial_seed(3, number) for number in range(50))}) == 58
    assert repeat_seeds(3, 1) == ()


@pytest.mark.parametrize("scheduler", ["pbt", {"name": "pb2", "perturbation_interval": 3}])
def test_population_based_training_refuses_repeats(scheduler: Any) -> None:
    with pytest.raises(StudyError, match=r"repeats: must be 1 with scheduler pb[t2].*got 3"):
        a_study(scheduler=scheduler, repeats=3)
