"""The columns of the HPARAMS tab: domains, types, values."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import made_up
import numpy as np
import pytest
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from raytune_suite import hparams
from raytune_suite.hparams import MAX_CONSTANTS, Columns

FLOAT, BOOL, STRING = api_pb2.DATA_TYPE_FLOAT64, api_pb2.DATA_TYPE_BOOL, api_pb2.DATA_TYPE_STRING


def column(**entry: Any) -> api_pb2.HParamInfo:
    return Columns.of([{"name": "x", **entry}], {}).by_name["x"].info()


def row(value: Any, **entry: Any) -> Any:
    return Columns.of([{"name": "x", **entry}], {}).values({"x": value}).get("x")


@pytest.mark.parametrize(("lower", "upper"), [(1e-5, 0.1), (32, 256)])
def test_a_range_is_an_interval(lower: float, upper: float) -> None:
    info = column(kind="float", lower=lower, upper=upper, log=True)
    assert info.type == FLOAT
    assert (info.domain_interval.min_value, info.domain_interval.max_value) == (lower, upper)


@pytest.mark.parametrize(
    ("values", "kind", "shown"),
    [
        ([16, 32, 64], FLOAT, [16.0, 32.0, 64.0]),
        ([0.5, 1], FLOAT, [0.5, 1.0]),
        ([True, False], BOOL, [True, False]),
        (["sgd", "adamw"], STRING, ["sgd", "adamw"]),
        ([None, "cosine"], STRING, ["None", "cosine"]),
        ([None, 3], STRING, ["None", "3"]),
        ([1, "auto"], STRING, ["1", "auto"]),
        ([True, 2], STRING, ["True", "2"]),
        ([[64], [64, 64]], STRING, ["[64]", "[64, 64]"]),
        ([{"a": 1}, None], STRING, ["{'a': 1}", "None"]),
    ],
)
def test_a_choice_lists_its_values_and_is_text_if_they_are_of_several_kinds(
    values: list[Any], kind: int, shown: list[Any]
) -> None:
    info = column(kind="choice", values=values)
    assert info.type == kind
    assert list(info.domain_discrete) == shown
    assert [row(value, kind="choice", values=values) for value in values] == shown


def test_an_unbounded_parameter_is_a_number_without_a_domain() -> None:
    info = column(kind="normal", mean=0.0, sd=1.0)
    assert (info.type, info.WhichOneof("domain")) == (FLOAT, None)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(np.float32(0.5), 0.5), (np.int64(3), 3.0), (np.array(2.0), 2.0), (7, 7.0)],
)
def test_numbers_of_numpy_are_numbers(value: Any, shown: float) -> None:
    assert row(value, kind="float", lower=0, upper=9) == shown


def test_arrays_and_tuples_are_shown_like_the_lists_of_the_domain() -> None:
    domain = {"kind": "choice", "values": [(1, 2), (3,)]}
    assert row((1, 2), **domain) == row(np.array([1, 2]), **domain) == row([1, 2], **domain) == "[1, 2]"


def test_a_number_that_is_not_finite_leaves_its_cell_empty() -> None:
    assert row(float("nan"), kind="float", lower=0, upper=1) is None


def test_an_inactive_parameter_is_absent_and_a_constant_is_there() -> None:
    columns = Columns.of(made_up.SPACE, {"data.folder": "d", "n": 1})
    values = columns.values(made_up.point(1))
    assert "momentum" not in values
    assert "momentum" in columns.values(made_up.point(0))
    assert (values["data.folder"], values["n"]) == ("d", 1.0)
    assert columns.by_name["n"].info().differs is False


def test_many_constants_do_not_hide_the_parameters() -> None:
    constants = {f"c{i}": i for i in range(MAX_CONSTANTS + 1)}
    assert set(Columns.of(made_up.SPACE, constants).by_name) == {entry["name"] for entry in made_up.SPACE}


def test_a_name_the_space_does_not_know_still_gets_a_value() -> None:
    assert Columns.of([], {}).values({"extra": [1]}) == {"extra": "[1]"}


def test_summaries_are_those_of_tensorboards_own_plugin() -> None:
    (value,) = hparams.session_start({"lr": 0.1, "on": True, "kind": "a"}, 7.0).value
    content = metadata.parse_session_start_info_plugin_data(value.metadata.plugin_data.content)
    assert value.tag == metadata.SESSION_START_INFO_TAG
    assert value.metadata == metadata.create_summary_metadata(HParamsPluginData(session_start_info=content))
    assert value.tensor == metadata.NULL_TENSOR
    assert hparams.EXPERIMENT_TAG == metadata.EXPERIMENT_TAG
    assert hparams.SESSION_END_TAG == metadata.SESSION_END_INFO_TAG


def test_the_driver_is_spared_what_tensorboards_own_plugin_imports() -> None:
    spared = {"boto3", "tensorboard.compat.tensorflow_stub"}
    code = f"import sys, raytune_suite.tensorboard; print({spared} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
