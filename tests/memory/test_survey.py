"""The memory of a whole space: its distribution, its causes, its packing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from raytune_suite.errors import PlanError
from raytune_suite.memory.forecaster import Forecast
from raytune_suite.memory.needs import PEAK
from raytune_suite.memory.survey import Survey, drivers, lines, take
from raytune_suite.resources import Cluster, Node
from raytune_suite.study import Study

GIB = 2**30
GPUS = Cluster((Node(999, 4, gpu_memory=24 * GIB),))
SPACE: dict[str, Any] = {
    "width": {"choice": [1, 2, 4]},
    "batch": {"uniform": [1, 2]},
    "rate": {"loguniform": [1e-4, 1e-1]},
    "deep": {"choice": [True, False]},
    "extra": {"uniform": [0, 1], "when": "deep"},
}


def a_study(**fields: Any) -> Study:
    made = {"trainable": "m:C", "metric": "loss", "num_trials": 3, "max_iterations": 2, "search": "random", "name": "a"}
    return Study.from_dict({**made, "space": SPACE, **fields}, project=Path())


def forecast(config: Mapping[str, Any]) -> Forecast:
    size = config["width"] * config["batch"] + (1 if config["deep"] else 0)
    return Forecast(int(size * GIB), allocated=int(size * GIB), parameters=GIB // 8, optimizer=GIB // 4)


def text(survey: Survey, cluster: Cluster = GPUS) -> str:
    return "\n".join(lines(survey, cluster))


def test_what_memory_depends_on_comes_first_and_what_it_does_not_is_left_out() -> None:
    found = drivers(take(a_study(), forecast, 200))

    assert next(iter(found)) == "width"
    assert 0.5 < found["width"] < 1
    assert 0.02 < found["batch"] < 0.3
    assert found["deep"] > 0.02
    assert "rate" not in found


def test_a_parameter_that_is_not_always_there_is_not_credited_for_being_there() -> None:
    assert "extra" not in drivers(take(a_study(), forecast, 200))


def test_few_configurations_tell_nothing_about_causes() -> None:
    assert "fewer than 12 configurations do not tell" in text(take(a_study(), forecast, 11))


def test_a_space_that_does_not_matter_has_no_causes() -> None:
    survey = take(a_study(), lambda config: Forecast(GIB), 12)

    assert drivers(survey) == {}
    assert "it depends on no parameter" in text(survey)


def test_the_distribution_is_said_part_by_part() -> None:
    shown = text(take(a_study(default={"width": 1, "batch": 1, "deep": False}), forecast, 40))

    assert "a: GPU memory of 40 configurations, the default first, forecast without a GPU" in shown
    assert "parameters          128 MiB       128 MiB" in shown
    assert "optimizer           256 MiB" in shown
    assert "at most               1 GiB" in shown


def test_the_packing_is_that_of_the_shares_trials_would_get() -> None:
    shown = text(take(a_study(space={"width": {"choice": [1]}, "batch": 5, "deep": False}), forecast, 4))

    assert "on 4 x GPU of 24 GiB:" in shown
    assert "0.3333           3  100%" in shown  # 5 GiB, 15% and a context
    assert "about 12 trials at once; with one a GPU it would be 4" in shown


def test_it_is_said_where_cpus_keep_gpus_from_being_filled() -> None:
    few = take(
        a_study(space={"width": {"choice": [1]}, "batch": 5, "deep": False}, resources={"cpu": 100}), forecast, 4
    )
    plenty = take(a_study(space={"width": {"choice": [1]}, "batch": 5, "deep": False}), forecast, 4)

    assert "CPUs are the limit: the GPUs have room for 12 (resources.cpu)" in text(few)
    assert "CPUs are the limit" not in text(plenty)


def test_what_fits_no_gpu_is_counted() -> None:
    shown = text(take(a_study(space={"width": {"choice": [1, 100]}, "batch": 1, "deep": False}), forecast, 40))

    assert "too large: infeasible" in shown


def test_without_a_gpu_it_says_how_to_ask_for_one() -> None:
    assert "--gpus 4 --gpu-memory 24GiB" in text(take(a_study(), forecast, 4), Cluster((Node(2),)))


def test_trials_that_were_measured_calibrate_it() -> None:
    study = a_study(space={"width": {"choice": [1]}, "batch": 4, "deep": False})
    trial = {"event": "trial", "number": 0, "config": {}, "resources": {"forecast": GIB}}
    report = {"event": "report", "number": 0, "metrics": {PEAK: 1.5 * 1024}}

    survey = take(study, forecast, 4, [trial, report])

    assert survey.bytes().tolist() == [6 * GIB] * 4
    assert "calibrated by 1: forecast x 1.50" in text(survey)


def test_what_cannot_be_forecast_is_said_with_the_way_out() -> None:
    with pytest.raises(PlanError, match=r"cannot be forecast: it reads its mind.*gpu_memory: 6GiB"):
        take(a_study(), lambda config: Forecast(None, "it reads its mind"), 4)

    some = take(a_study(), lambda c: forecast(c) if c["deep"] else Forecast(None, "it reads its mind"), 40)
    assert "more cannot be forecast: it reads its mind" in text(some)
