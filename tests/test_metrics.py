from __future__ import annotations

import math
from enum import Enum
from typing import Any

import numpy as np
import pytest
from a_study import a_study

from raytune_suite.metrics import AUTOMATIC, check_report, flatten, value_of


class Phase(Enum):
    WARM = "warm"


def test_levels_are_joined_and_rays_own_keys_dropped() -> None:
    result = {
        "loss": 1,
        "validation": {"loss": 0.5, "by_class": {3: 0.25}},
        "training_iteration": 4,
        "config": {"lr": 1},
        "pid": 12,
        "done": False,
        "timesteps_total": None,
    }
    assert flatten(result) == {"loss": 1, "validation/loss": 0.5, "validation/by_class/3": 0.25}


def test_a_count_of_timesteps_that_the_user_reports_is_kept() -> None:
    assert flatten({"timesteps_total": 512}) == {"timesteps_total": 512}


def test_an_automatic_name_below_the_top_level_is_the_users() -> None:
    assert flatten({"worker": {"pid": 3, "date": "today"}}) == {"worker/pid": 3, "worker/date": "today"}


def test_rays_list_of_automatic_keys_is_covered() -> None:
    from ray.tune.result import AUTO_RESULT_KEYS, DEBUG_METRICS

    known = AUTOMATIC | {"timesteps_total", "episodes_total"}
    assert set(AUTO_RESULT_KEYS) | set(DEBUG_METRICS) <= known


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([2.5]), 2.5),
        (np.array(7), 7),
        (np.str_("a"), "a"),
        (Phase.WARM, "warm"),
        (True, True),
        (None, None),
        ("text", "text"),
        ([1, 2], "[1, 2]"),
        ((1, None), "(1, None)"),
    ],
)
def test_values_become_plain_scalars(given: Any, plain: Any) -> None:
    flat = flatten({"x": given})["x"]
    assert flat == plain
    assert type(flat) is type(plain)


def test_torch_scalars_become_numbers() -> None:
    torch = pytest.importorskip("torch")
    flat = flatten({"a": torch.tensor(0.5), "b": torch.tensor([3]), "c": torch.ones(2)})
    assert flat["a"] == 0.5
    assert type(flat["a"]) is float
    assert flat["b"] == 3
    assert isinstance(flat["c"], str)


def test_long_things_are_cut() -> None:
    assert len(str(flatten({"x": list(range(10_000))})["x"])) == 200


@pytest.mark.parametrize(
    ("metric", "reported", "meant"),
    [
        ("validation/loss", ["loss", "val_loss"], "Did you mean val_loss?"),
        ("val_acc", ["train/accuracy", "validation/accuracy"], "Did you mean validation/accuracy?"),
        ("lossy", ["loss", "epoch"], "Did you mean loss?"),
        ("accuracy", ["epoch", "validation/accuracy"], "Did you mean validation/accuracy?"),
        ("Loss", ["loss"], "Did you mean loss?"),
        ("f1", ["loss", "epoch"], "If it is measured only every few iterations"),
    ],
)
def test_a_missing_metric_names_what_is_reported_and_what_was_meant(
    metric: str, reported: list[str], meant: str
) -> None:
    [problem] = check_report(a_study(metric=metric), dict.fromkeys(reported, 0.1))
    assert str(problem).startswith(f"metric: {metric} is not among the reported metrics: {', '.join(reported)}")
    assert meant in str(problem)


@pytest.mark.parametrize("value", [0, 1.5, math.nan, math.inf, None])
def test_a_number_or_an_announced_absence_passes(value: float | None) -> None:
    assert check_report(a_study(metric="loss"), {"loss": value, "epoch": 1}) == []


@pytest.mark.parametrize("value", ["0.5", True])
def test_a_metric_that_is_no_number_is_refused(value: object) -> None:
    [problem] = check_report(a_study(metric="loss"), {"loss": value})
    assert "must be reported as a number" in str(problem)
    assert repr(value) in str(problem)


def test_a_report_without_anything_says_so() -> None:
    [problem] = check_report(a_study(metric="loss"), {})
    assert "there are none" in str(problem)


@pytest.mark.parametrize(
    ("metrics", "value"),
    [({"loss": 1}, 1.0), ({"loss": None}, None), ({}, None), ({"loss": "x"}, None), ({"loss": True}, None)],
)
def test_the_value_is_a_float_or_absent(metrics: dict[str, Any], value: float | None) -> None:
    assert value_of(metrics, "loss") == value


def test_a_metric_measured_later_is_not_taken_for_a_slip_of_the_pen() -> None:
    found = check_report(a_study(metric="validation/loss"), {"train/loss": 0.5})
    assert found[0].fix == (
        "Did you mean train/loss? If it is measured only every few iterations, report it as None in between."
    )
