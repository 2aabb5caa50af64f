from __future__ import annotations

import dataclasses
import subprocess
import sys
import types
from typing import Any

import pytest

from raytune_suite import plan
from raytune_suite.errors import PlanError, StudyError
from raytune_suite.resources import Cluster, Node
from raytune_suite.study import Study

LAPTOP = Cluster((Node(2),))
GPUS = Cluster((Node(64, 2, accelerator_type="A100"),))


def a_plan(cluster: Cluster = LAPTOP, **fields: Any) -> plan.Plan:
    study = {
        "trainable": "model:Net",
        "metric": "validation/loss",
        "num_trials": 40,
        "max_iterations": 27,
        "space": {"learning_rate": {"loguniform": [1e-5, 1e-1]}},
        "search": "random",
        "name": "a",
    }
    return plan.make(Study.from_dict({**study, **fields}), cluster)


def text(made: plan.Plan) -> str:
    return "\n".join(made.lines())


def test_a_plan_says_searcher_trials_scheduler_slots_resources_and_folder() -> None:
    shown = text(a_plan(scheduler={"name": "asha", "grace_period": 3, "reduction_factor": 3}))

    for word in ("random, 40 trials", "asha", "rungs", "2 trials at once", "1 torch thread", "/experiments/a"):
        assert word in shown


def test_rungs_and_the_earliest_stop_are_known_before_the_start() -> None:
    made = a_plan(scheduler={"name": "asha", "grace_period": 3, "reduction_factor": 3})

    assert (made.rungs, made.earliest_stop) == ((3, 9), 3)
    assert text(made).count("earliest stop") == 1


def test_without_early_stopping_there_is_no_rung() -> None:
    made = a_plan()

    assert (made.rungs, made.earliest_stop) == ((), None)


def test_a_grid_without_num_trials_is_walked_whole() -> None:
    space = {"a": {"grid": [1, 2, 3]}, "b": {"uniform": [0, 1], "points": 5}}

    made = a_plan(search="grid", num_trials=None, space=space)

    assert (made.num_trials, made.grid_points) == (15, 15)


def test_a_grid_is_cut_at_num_trials() -> None:
    made = a_plan(search="grid", num_trials=2, space={"a": {"grid": [1, 2, 3]}})

    assert (made.num_trials, made.grid_points) == (2, 3)


def test_a_space_with_fewer_points_than_trials_gives_fewer_trials_and_says_so() -> None:
    made = a_plan(space={"a": {"choice": ["x", "y"]}})

    assert made.num_trials == 2
    assert made.slots <= 2
    assert "the space has no more points; 40 were asked for" in text(made)


@pytest.mark.parametrize(("cluster", "words"), [(LAPTOP, "gpu: auto = CPU"), (GPUS, "gpu: auto = one whole GPU each")])
def test_what_auto_became_is_said(cluster: Cluster, words: str) -> None:
    assert words in text(a_plan(cluster))


def test_slots_say_what_stays_idle() -> None:
    made = a_plan(Cluster((Node(5), Node(5))), resources={"cpu": 3})

    assert made.slots == 2
    assert "idle: 4 CPU" in text(made)
    assert "3 torch threads" in text(made)


def test_a_share_that_wastes_the_gpu_is_noted() -> None:
    assert "leave 20% of every GPU idle" in text(a_plan(GPUS, resources={"gpu": 0.4}))
    assert "idle: trials_per_gpu" not in text(a_plan(GPUS, resources={"trials_per_gpu": 3}))


def test_a_share_that_wastes_more_than_is_allowed_is_refused_unless_told_to() -> None:
    with pytest.raises(PlanError, match=r"1 trial of 0.6 GPU leaves 40% of every GPU idle.*max_waste is 0.25"):
        a_plan(GPUS, resources={"gpu": 0.6})
    with pytest.raises(PlanError, match=r"max_waste is 0.1;"):
        a_plan(GPUS, resources={"gpu": 0.4, "max_waste": 0.1})

    assert "leaves 40% of every GPU idle" in text(a_plan(GPUS, resources={"gpu": 0.6, "max_waste": 1.0}))


def test_what_gpu_memory_means_on_each_kind_of_gpu_is_said() -> None:
    nodes = (Node(64, 2, accelerator_type="A100", gpu_memory=40 * 2**30), Node(64, 1, accelerator_type="T4"))
    some = Cluster((nodes[0], dataclasses.replace(nodes[1], gpu_memory=15 * 2**30)))

    shown = text(a_plan(some, resources={"gpu_memory": "16GiB"}))

    assert "2 x A100 of 40 GiB: 2 trials on each, 19.2 GiB for the tensors of one" in shown
    assert "1 x T4 of 15 GiB: not used" in shown
    assert "4 trials at once" in shown
    assert "16 GiB and 768 MiB for its CUDA context" in shown


def test_a_forecast_share_is_shown_and_is_no_waste() -> None:
    some = Cluster((Node(64, 1, gpu_memory=24 * 2**30),))
    foreseen = types.SimpleNamespace(bytes=12 * 2**30, text="gpu: auto = by forecast")

    made = plan.make(a_plan(some).study, some, foreseen)

    assert made.request.gpu == 0.6666
    assert "0.6666 GPU, 1 torch thread (gpu: auto = by forecast)" in text(made)
    assert "of every GPU idle" not in text(made)


def test_memory_that_no_share_uses_is_said() -> None:
    shown = text(a_plan(Cluster((Node(64, 1, gpu_memory=10 * 2**30),)), resources={"gpu": 0.4}))

    assert "2 trials on each, 3.25 GiB for the tensors of one, 2 GiB left over" in shown


def test_a_model_that_never_learns_from_a_result_is_noted() -> None:
    note = "the searcher learns nothing"

    assert note in text(a_plan(Cluster((Node(64),)), search="bayesian", num_trials=8))
    assert note not in text(a_plan(LAPTOP, search="bayesian", num_trials=8))


@pytest.mark.parametrize(("switched_off", "noted"), [(None, True), ("0", False)])
def test_a_driver_under_uv_run_is_noted(monkeypatch: pytest.MonkeyPatch, switched_off: str | None, noted: bool) -> None:
    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    monkeypatch.delenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", raising=False)
    if switched_off is not None:
        monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", switched_off)

    assert ("under uv run" in text(a_plan())) is noted


def test_an_impossible_request_is_refused() -> None:
    with pytest.raises(PlanError, match=r"3 GPU.*largest has 64 CPU, 2 GPU"):
        a_plan(GPUS, resources={"gpu": 3})


def test_a_scheduler_that_cannot_work_is_refused() -> None:
    with pytest.raises(PlanError, match="cannot run as it is"):
        a_plan(scheduler={"name": "asha", "grace_period": 30})


def test_resources_may_be_a_function_of_the_configuration(tmp_path: Any) -> None:
    (tmp_path / "sizes.py").write_text("def needs(config): return {'cpu': 2 if config['wide'] else 1}")
    fields = {
        "trainable": "model:Net",
        "metric": "loss",
        "num_trials": 3,
        "max_iterations": 2,
        "space": {"wide": {"choice": [True, False]}},
        "default": {"wide": True},
        "search": "random",
        "resources": "sizes:needs",
        "name": "a",
    }
    study = Study.from_dict(fields, project=tmp_path)

    made = plan.make(study, LAPTOP)

    assert made.request.cpu == 2
    assert "for the default configuration" in text(made)


def test_a_function_that_gives_no_resources_is_named_with_the_configuration(tmp_path: Any) -> None:
    (tmp_path / "wrong_sizes.py").write_text("def needs(config): return {'cpus': 1}")
    space = {"wide": {"choice": [True]}}
    fields = {"trainable": "m:C", "metric": "loss", "num_trials": 1, "max_iterations": 1, "search": "random"}
    study = Study.from_dict({**fields, "space": space, "resources": "wrong_sizes:needs", "name": "a"}, project=tmp_path)

    with pytest.raises(StudyError, match=r"(?s)wrong_sizes:needs for .*wide.*resources.cpus"):
        plan.make(study, LAPTOP)


def test_a_plan_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        a_plan().slots = 3  # type: ignore[misc]


def test_making_a_plan_imports_neither_ray_nor_torch() -> None:
    probe = """
import sys
from raytune_suite import plan
from raytune_suite.resources import Cluster
from raytune_suite.study import Study
space = {"a": {"uniform": [0, 1]}}
fields = dict(trainable="m:C", metric="loss", num_trials=3, max_iterations=9, space=space, search="random", name="a")
plan.make(Study.from_dict(fields), Cluster.local()).lines()
print(*sorted({"ray", "torch", "bayes_opt"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""
