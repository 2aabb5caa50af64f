"""Reading experiments back: tables, the best trial by a named rule, exports, filters."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from journals import METRIC, asha_experiment, header, small_experiment

from raytune_suite import analysis
from raytune_suite.analysis import find, load, select
from raytune_suite.errors import ExperimentError, RaytuneError
from raytune_suite.journal import Journal
from raytune_suite.states import State


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asha_experiment(tmp_path_factory.mktemp("storage") / "digits")


def test_the_table_of_trials_has_a_row_a_trial_and_the_promised_columns(folder: Path) -> None:
    frame = load(folder).trials()
    assert list(frame["number"]) == list(range(40))
    assert list(frame.columns[:11]) == [
        "number", "state", "by", "reason", "value", "best", "best_iteration", "iterations", "started",
        "seconds", "origin",
    ]  # fmt: skip
    assert list(frame.columns[11:17]) == [
        "config.learning_rate", "config.channels", "config.batch_size", "config.optimizer", "config.momentum",
        "config.epochs_per_step",
    ]  # fmt: skip
    assert {"last.validation/loss", "last.train/loss", "error"} <= set(frame.columns)
    failed = frame[frame["state"] == "failed"].iloc[0]
    assert failed["error"] == "ValueError: expected 64 channels, got <16>"
    assert math.isnan(failed["value"])
    stopped = frame[frame["by"] == "asha"]
    assert stopped["reason"].str.contains("cutoff").all()
    assert (frame["seconds"] > 0).all()


def test_inactive_parameters_are_missing_in_the_table(folder: Path) -> None:
    frame = load(folder).trials()
    assert (frame["config.momentum"].isna() == (frame["config.optimizer"] == "adamw")).all()


def test_whole_numbers_stay_whole_where_some_are_missing(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "study") as journal:
        header(journal, space=[])
        for number, config in enumerate([{"layers": 3, "bias": True}, {"layers": None}, {}]):
            journal.append("trial", number=number, trial_id=f"{number:05d}", config=config, point=config)
    frame = load(tmp_path / "study").trials()
    assert frame["config.layers"].tolist() == [3, pd.NA, pd.NA]
    assert frame["config.layers"].dtype == "Int64"
    assert frame["config.bias"].dtype == "boolean"


def test_the_history_is_long_and_numeric(folder: Path) -> None:
    experiment = load(folder)
    frame = experiment.history()
    assert list(frame.columns) == ["number", "iteration", "metric", "value", "time", "elapsed"]
    one = frame[(frame["number"] == 2) & (frame["metric"] == METRIC)]
    assert one["value"].tolist() == [r.metrics[METRIC] for r in experiment.record.trials[2].reports]
    assert len(frame) == sum(4 * len(t.reports) for t in experiment.record.trials.values())
    assert str(frame["time"].dt.tz) == "UTC"


VALUES: tuple[tuple[list[float], str | None], ...] = (
    ([0.9, 0.2, 0.6], "completed"),
    ([0.9, 0.3], "stopped"),
    ([0.01], "failed"),
    ([math.nan, math.nan], "stopped"),
    ([0.5, 0.4], "completed"),
    ([0.25], None),
)


@pytest.mark.parametrize(("rule", "number", "value"), [("best", 0, 0.2), ("last", 5, 0.25), ("final", 4, 0.4)])
def test_each_rule_names_its_own_best_trial(tmp_path: Path, rule: Any, number: int, value: float) -> None:
    experiment = load(small_experiment(tmp_path / "study", *VALUES))
    best = experiment.best(rule)
    assert (best.number, experiment.value(best, rule)) == (number, value)
    assert experiment.trials(rule)["value"].tolist()[number] == value


def test_failures_and_nan_have_no_value(tmp_path: Path) -> None:
    experiment = load(small_experiment(tmp_path / "study", *VALUES))
    for rule in ("best", "last", "final"):
        assert {t.number for t in experiment.ranked(rule)} & {2, 3} == set()  # type: ignore[arg-type]


def test_max_mode_mirrors_min_mode(tmp_path: Path) -> None:
    mirrored = [([-value for value in values], state) for values, state in VALUES]
    low = load(small_experiment(tmp_path / "low", *VALUES))
    high = load(small_experiment(tmp_path / "high", *mirrored, mode="max"))
    for rule in ("best", "last", "final"):
        numbers = [[t.number for t in e.ranked(rule)] for e in (low, high)]  # type: ignore[arg-type]
        assert numbers[0] == numbers[1]


def test_ties_go_to_the_lowest_number(tmp_path: Path) -> None:
    trials: list[tuple[list[float], str | None]] = [([0.5], "completed"), ([0.2], "stopped"), ([0.2], "completed")]
    assert load(small_experiment(tmp_path / "study", *trials)).best().number == 1


def test_an_unknown_rule_lists_the_known_ones(folder: Path) -> None:
    with pytest.raises(RaytuneError, match=r"'bset' is not a rule.*'best'.*'last'.*'final'"):
        load(folder).best("bset")  # type: ignore[arg-type]


def test_without_a_success_the_error_says_what_became_of_the_trials(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "study") as journal:
        header(journal)
        journal.append("trial", number=0, trial_id="00000", config={}, point={})
        error = {"type": "ValueError", "message": "bad\nline", "traceback": ""}
        journal.append("end", number=0, state="failed", error=error)
    with pytest.raises(ExperimentError, match=r"1 failed\. First error \(trial 0\): ValueError: bad$"):
        load(tmp_path / "study").best()
    empty = small_experiment(tmp_path / "empty")
    with pytest.raises(ExperimentError, match="no trial was started"):
        load(empty).best()
    assert load(empty).trials().empty
    assert load(empty).history().empty


def test_an_experiment_is_readable_while_it_runs(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "study") as journal:
        header(journal)
        journal.append("trial", number=0, trial_id="00000", config={"a": 1}, point={"a": 1})
        journal.append("start", number=0, attempt=0)
        journal.append("report", number=0, iteration=1, metrics={METRIC: 0.5}, elapsed=1.0)
        experiment = load(tmp_path / "study")
        assert experiment.status == "running"
        assert experiment.best().state is State.RUNNING
    experiment = load(tmp_path / "study")
    assert experiment.status == "crashed"
    assert experiment.best().state is State.INTERRUPTED


def test_an_experiment_is_readable_after_a_crash_and_after_a_move(folder: Path, tmp_path: Path) -> None:
    crashed = asha_experiment(tmp_path / "crashed", stop_after=60)
    with (crashed / "journal.jsonl").open("ab") as file:
        file.write(b'{"seq":')
    states = load(crashed).trials()["state"]
    assert (states == "interrupted").sum() == 4
    assert not (states == "running").any()
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "moved")
    there, here = load(moved), load(folder)
    assert there.best().number == here.best().number
    assert there.best_checkpoint() == moved / here.best_checkpoint().relative_to(folder)


def test_reading_imports_neither_ray_nor_torch(folder: Path) -> None:
    code = (
        "import sys; from raytune_suite.analysis import load; e = load(sys.argv[1]); e.best(); "
        "assert 'pandas' not in sys.modules; e.trials(); e.history(); "
        "print([m for m in ('ray', 'torch', 'bayes_opt', 'plotly', 'optuna') if m in sys.modules])"
    )
    root = Path(analysis.__file__).parents[1]
    command = [sys.executable, "-c", code, str(folder)]
    assert subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=60).stdout == "[]\n"


def test_the_best_checkpoint_is_the_best_of_those_still_there(tmp_path: Path) -> None:
    folder = small_experiment(tmp_path / "study", ([0.5, 0.1, 0.3, 0.4], "completed"))
    with pytest.raises(ExperimentError, match="Trial 0 of digits has no checkpoint"):
        load(folder).best_checkpoint()
    with Journal.open(folder) as journal:
        for iteration in (2, 3, 4):
            path = f"checkpoints/00000/{iteration:06d}"
            (folder / path).mkdir(parents=True)
            journal.append("checkpoint", number=0, iteration=iteration, path=path)
    assert load(folder).best_checkpoint().name == "000002"
    assert load(folder).best_checkpoint("last").name == "000004"
    shutil.rmtree(folder / "checkpoints/00000/000002")
    assert load(folder).best_checkpoint().name == "000003"


@pytest.mark.parametrize("what", ["trials", "history"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_exports_hold_the_same_numbers(folder: Path, tmp_path: Path, what: Any, suffix: str) -> None:
    experiment = load(folder)
    path = experiment.export(tmp_path / f"table{suffix}", what)
    back = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    frame = experiment.trials() if what == "trials" else experiment.history()
    assert list(back.columns) == list(frame.columns)
    numbers = frame.select_dtypes("number")
    pd.testing.assert_frame_equal(back[numbers.columns].astype(float), numbers.astype(float), check_dtype=False)


def test_parquet_takes_columns_of_mixed_types_as_json(tmp_path: Path) -> None:
    mixed = ["a", 1, True, None, [1, 2]]
    with Journal.create(tmp_path / "study") as journal:
        header(journal, space=[])
        for number, value in enumerate(mixed):
            journal.append("trial", number=number, trial_id=f"{number:05d}", config={"x": {"y": value}}, point={})
    path = load(tmp_path / "study").export(tmp_path / "t.parquet")
    column = pd.read_parquet(path)["config.x.y"].tolist()
    assert [None if v is None or v != v else json.loads(v) for v in column] == mixed


def test_an_export_names_the_suffixes_it_knows(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"must end in \.csv or \.parquet"):
        load(folder).export(tmp_path / "table.xlsx")


def test_a_wrong_folder_is_answered_with_what_lies_near(folder: Path) -> None:
    with pytest.raises(ExperimentError, match=f"There is no experiment .*digit. Did you mean {folder}"):
        load(folder.parent / "digit")
    with pytest.raises(ExperimentError, match="Experiments in it: digits"):
        load(folder.parent)


def test_experiments_are_found_below_a_storage_folder(tmp_path: Path) -> None:
    for name in ("b", "a", "deep/er"):
        small_experiment(tmp_path / name)
    assert [path.relative_to(tmp_path).as_posix() for path in find(tmp_path)] == ["a", "b", "deep/er"]
    assert find(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("state == 'failed'", [5]),
        ("state == 'oom' or state == 'timed_out'", [11, 23]),
        ("number < 2", [0, 1]),
        ("origin == 'default' and name == 'digits' and status == 'finished'", [0]),
        ("by == 'nan'", [17]),
        ("config.momentum > 0 and config.optimizer == 'adamw'", []),
        ("iterations == 27 and last.validation.loss < 0.3 and value < 0.175", [2]),
    ],
)
def test_filters_speak_of_columns(folder: Path, expression: str, expected: list[int]) -> None:
    assert [trial.number for trial in load(folder).select(expression)] == expected


def test_a_filter_with_an_unknown_name_is_an_error_with_near_misses(folder: Path) -> None:
    with pytest.raises(
        ExperimentError, match=r"No trial has 'config\.lerning_rate'\. Did you mean config\.learning_rate"
    ):
        load(folder).select("config.lerning_rate < 0.1")
    with pytest.raises(ExperimentError, match=r"The filter .* is wrong"):
        load(folder).select("state ==")


def test_a_filter_over_several_experiments_knows_the_names_of_all(folder: Path, tmp_path: Path) -> None:
    other = small_experiment(tmp_path / "other", ([1.0], "completed"), name="other")
    found = select([load(folder), load(other)], "config.momentum >= 0.5 or name == 'other'")
    assert {experiment.name for experiment, _ in found} == {"digits", "other"}
