"""Shares by forecast, and trials that are given none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from raytune_suite.memory.allotment import Allotment, allotment, configurations
from raytune_suite.memory.forecaster import Forecast
from raytune_suite.memory.needs import Needs
from raytune_suite.resources import Cluster, Node
from raytune_suite.shares import CONTEXT, TooLargeError
from raytune_suite.study import Study

GIB = 2**30
CLUSTER = Cluster((Node(64, 2, gpu_memory=24 * GIB),))


def a_study(sizes: list[Any], **fields: Any) -> Study:
    made = {"trainable": "m:C", "metric": "loss", "num_trials": 3, "max_iterations": 2, "search": "random"}
    return Study.from_dict({**made, "name": "a", "space": {"size": {"choice": sizes}}, **fields}, project=Path())


def forecast(config: Mapping[str, Any]) -> Forecast:
    return Forecast(int(config["size"] * GIB)) if config["size"] else Forecast(None, "it reads its mind")


def allot(*sizes: Any, cluster: Cluster = CLUSTER, **fields: Any) -> Allotment:
    made = Allotment(a_study(list(sizes), **fields), cluster, Needs(forecast))
    for size in sizes:
        made.needs.foresee({"size": size})
    return made


@pytest.mark.parametrize(("size", "gpu"), [(0.1, 0.0416), (0.4, 0.0625), (2.5, 0.1666), (4, 0.25), (9, 0.5), (18, 1.0)])
def test_a_trial_gets_the_share_that_holds_its_forecast_a_margin_and_a_context(size: float, gpu: float) -> None:
    assert allot(size).request({"size": size}).gpu == gpu


def test_what_fits_only_without_the_margin_gets_a_whole_gpu() -> None:
    facts, refusal = allot(22).facts({"size": 22})

    assert not refusal
    assert facts["gpu"] == 1.0
    assert facts["gpu_memory"] == 24 * GIB - CONTEXT


def test_what_fits_no_gpu_is_refused_in_words_and_gets_nothing() -> None:
    made = allot(30)

    facts, refusal = made.facts({"size": 30})
    assert refusal == "it fits no GPU: a trial needs 30.8 GiB of GPU memory, and the largest GPU here has 24 GiB"
    assert facts == {"forecast": 30 * GIB}
    with pytest.raises(TooLargeError):
        made.request({"size": 30})


def test_what_cannot_be_forecast_gets_a_whole_gpu_and_the_event_says_why() -> None:
    facts, refusal = allot(None).facts({"size": None})

    assert (facts["gpu"], refusal) == (1.0, "")
    assert facts["unforeseen"] == "it reads its mind"


def test_the_typical_trial_is_the_median_of_those_that_fit() -> None:
    typical = allot(1, 100, default={"size": 1}).typical()

    assert typical.bytes == int(1.15 * GIB)
    assert typical.text == "gpu: auto = by forecast, 1.15 GiB to 115 GiB and 768 MiB for the CUDA context"


def test_a_study_of_which_nothing_fits_or_nothing_is_known_says_so() -> None:
    assert allot(100).typical().text == "none of 8 configurations fits a GPU: they need 115 GiB"
    unknown = allot(None).typical()
    assert unknown.bytes is None
    assert unknown.text == "gpu: auto = a whole GPU until trials are measured: it reads its mind"


def test_the_default_and_the_same_drawn_configurations_are_looked_at_each_time() -> None:
    study = a_study([1, 2, 3, 4, 5, 6, 7, 8], default={"size": 7})

    assert configurations(study, 6)[0] == {"size": 7}
    assert configurations(study, 6) == configurations(study, 6)
    assert len(configurations(study, 6)) == 6


@pytest.mark.parametrize(
    ("cluster", "resources"),
    [
        (Cluster((Node(8),)), {}),
        (Cluster((Node(8, 2),)), {}),  # of unknown memory
        (CLUSTER, {"gpu": 1}),
        (CLUSTER, {"gpu_memory": "4GiB"}),
        (CLUSTER, {"trials_per_gpu": 2}),
    ],
)
def test_nothing_is_forecast_where_it_would_change_nothing(cluster: Cluster, resources: dict[str, Any]) -> None:
    assert allotment(a_study([1], resources=resources), cluster) is None
