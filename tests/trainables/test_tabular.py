"""The MLP on tables: files and scikit-learn's own, numbers and texts, both tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raytune_suite.errors import TrainableError
from raytune_suite.trainable import Context
from trainables.tabular import TabularMLP, encode, task_of


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    """200 rows: a number with holes, a constant, a text with holes, and two possible targets."""
    rng = np.random.default_rng(0)
    size, town = rng.normal(100, 30, 200), rng.choice(["Bonn", "Köln", "Trier"], 200)
    price = 2 * size + 50 * (town == "Köln") + rng.normal(0, 1, 200)
    table = pd.DataFrame({"size": size, "floors": 1, "town": town, "price": price, "dear": price > 210})
    table.loc[::10, "size"] = np.nan
    table.loc[::15, "town"] = None
    table.loc[0, "price"] = np.nan
    table.to_csv(tmp_path / "houses.csv", index=False)
    table.to_parquet(tmp_path / "houses.parquet")
    return tmp_path / "houses.csv"


def start(tmp_path: Path, **config: Any) -> TabularMLP:
    settings = {"learning_rate": 1e-2, "width": 16, "depth": 1, "batch_size": 16, **config}
    return TabularMLP(settings, Context.standalone(tmp_path / "run", metric="validation/loss"))


def test_a_csv_file_is_learned_as_a_regression(houses: Path, tmp_path: Path) -> None:
    trial = start(tmp_path, data=str(houses), target="price")
    assert trial.facts["task"] == "regression"
    losses = [trial.step()["validation/loss"] for _ in range(15)]
    assert losses[-1] < 0.4 < losses[0] * 2, "1 is what the mean of the target gets"
    assert 0 < trial.evaluate_test()["test/absolute_error"] < 50  # type: ignore[index]


def test_a_parquet_file_is_learned_as_a_classification(houses: Path, tmp_path: Path) -> None:
    trial = start(tmp_path, data=str(houses.with_suffix(".parquet")), target="dear")
    assert trial.facts == {"task": "classification", "classes": ["False", "True"]}
    assert max(trial.step()["validation/accuracy"] for _ in range(10)) > 0.8


@pytest.mark.parametrize(("name", "classes"), [("wine", 3), ("iris", 3), ("diabetes", None)])
def test_scikit_learns_tables_are_found_by_name(name: str, classes: int | None, tmp_path: Path) -> None:
    trial = start(tmp_path, data=f"sklearn:{name}")
    assert (len(trial.facts["classes"]) if classes else trial.facts["classes"]) == classes
    assert trial.step()["validation/loss"] > 0


def test_rows_without_a_target_are_left_out_and_each_other_row_is_used_once(houses: Path, tmp_path: Path) -> None:
    folder = TabularMLP.prepare(tmp_path / "cache", {"data": str(houses), "target": "price"})
    assert folder is not None
    lengths = [len(np.load(folder / f"{name}_labels.npy")) for name in ("train", "validation", "test")]
    assert sum(lengths) == 199
    facts = json.loads((folder / "facts.json").read_text())
    assert facts["mean"] == pytest.approx(215, abs=20)


def test_only_training_rows_decide_scales_and_levels() -> None:
    table = pd.DataFrame({"a": [1.0, 3.0, 100.0, np.nan], "b": ["x", "y", "z", None], "c": [5, 5, 5, 6]})
    found = encode(table, np.array([0, 1]))
    assert found.dtype == np.float32
    assert found[:, 0].tolist() == [-1.0, 1.0, 98.0, 0.0], "a hole is the mean"
    assert found[:, 1].tolist() == [0.0, 0.0, 0.0, 1.0], "a constant divides by 1"
    assert found[:, 2:].tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]], "an unseen level is none of the known"


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ([0, 1, 1], "classification"),
        ([0.5, 1, 1], "regression"),
        (list(range(21)), "regression"),
        (["a"], "classification"),
    ],
)
def test_the_task_follows_from_the_target(values: list[Any], task: str) -> None:
    assert task_of(pd.Series(values), "auto") == task
    assert task_of(pd.Series(values), "regression") == "regression"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"data": "nowhere.csv"}, r"data: .*nowhere\.csv is not a file"),
        ({"data": "sklearn:whine"}, "scikit-learn has no table 'whine'"),
        ({"data": "sklearn:wine", "target": "price"}, "sklearn:wine has no column 'price', it has alcohol"),
        ({"data": "sklearn:wine", "task": "guess"}, "task: must be regression, classification or auto, got 'guess'"),
        ({}, "prepare_data takes data, which the configuration does not have"),
    ],
)
def test_what_is_wrong_with_the_data_is_said(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(TrainableError, match=message):
        start(tmp_path, **config)
