"""The picture of the searcher's model: its tables, and what they leave out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from journals import METRIC, asha_experiment, header, small_experiment
from searched import searched

from raytune_suite.analysis import Experiment, load
from raytune_suite.journal import Journal
from raytune_suite.plots import draw, model, surrogate
from raytune_suite.report import html


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return load(searched(tmp_path_factory.mktemp("model") / "whole"))


@pytest.fixture(scope="module")
def stopping(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return load(asha_experiment(tmp_path_factory.mktemp("model") / "stopping"))


def noted(folder: Path, *trials: tuple[str, dict[str, Any], float, int]) -> Experiment:
    """Trials of nine iterations: (origin, note, value at each iteration, iterations done)."""
    with Journal.create(folder) as journal:
        header(journal, max_iterations=9)
        for number, (origin, note, value, done) in enumerate(trials):
            journal.append("trial", number=number, trial_id="", config={}, point={}, origin=origin, note=note)
            journal.append("start", number=number)
            for iteration in range(1, done + 1):
                journal.append("report", number=number, iteration=iteration, metrics={METRIC: value}, elapsed=1.0)
            state = "completed" if done == 9 else "stopped"
            journal.append("end", number=number, state=state, value=value, best=value, iteration=done)
    return load(folder)


def test_only_whole_trials_of_the_model_are_compared_with_their_predictions(tmp_path: Path) -> None:
    note = {"predicted": 0.5, "low": 0.4, "high": 0.6}
    experiment = noted(
        tmp_path / "study",
        ("design", {}, 0.5, 9),
        ("model", note, 0.55, 9),
        ("model", note, 0.7, 9),
        ("model", note, 0.5, 3),
        ("model", {"acquisition": 1.0}, 0.5, 9),
    )
    table = model.predictions(experiment)
    assert [(row.number, row.actual, row.inside) for row in table.rows] == [(1, 0.55, True), (2, 0.7, False)]
    assert (table.inside, table.left_out) == (1, 1)
    assert table.error == pytest.approx((0.05 + 0.2) / 2)


def test_the_model_is_built_again_as_the_searcher_had_it(whole: Experiment) -> None:
    from raytune_suite.search import build

    last = max(whole.record.trials)
    again = model._rebuilt(whole)
    assert {n: (o.value, o.iteration, o.state) for n, o in again.observed.items()} == {
        n: (t.value, t.iteration, t.state) for n, t in whole.record.trials.items()
    }
    fresh = build(whole.study)
    fresh.num_trials = again.num_trials = last + 2
    for observation in again.observed.values():
        fresh.tell(observation)  # every trial is whole, so that the last report is all that counts
    assert fresh.ask(last + 1) == again.ask(last + 1)


def test_each_parameter_has_a_panel_with_all_trials_the_model_knows(whole: Experiment, stopping: Experiment) -> None:
    for experiment in (whole, stopping):
        table = model.beliefs(experiment)
        assert table.missing is None
        assert [panel.axis.name for panel in table.panels] == [p["name"] for p in experiment.record.space]
        for panel in table.panels:
            active = [t for t in experiment.ranked() if panel.axis.name in t.point]
            assert len(panel.points) + len(panel.others) == len(active)
            assert panel.places == sorted(panel.places)
            first, last = panel.places[0], panel.places[-1]
            assert panel.axis.choices or panel.axis.lower <= first < last <= panel.axis.upper
    assert all(not panel.others for panel in model.beliefs(whole).panels)
    assert any(panel.others for panel in model.beliefs(stopping).panels)


def test_the_learning_rate_that_is_best_is_believed_to_be(whole: Experiment) -> None:
    rate = next(p for p in model.beliefs(whole).panels if p.axis.name == "learning_rate")
    assert 1e-3 < rate.places[int(np.argmin(rate.mean))] < 5e-2


def test_every_panel_has_the_same_value_axis_and_bands_stay_above_its_foot(whole: Experiment) -> None:
    table = model.beliefs(whole)
    drawn = [surrogate.effect_of(whole, table, panel) for panel in table.panels]
    assert len({figure.layout.yaxis.range for figure in drawn}) == 1
    rate = drawn[0]
    assert rate.layout.xaxis.type == "log"
    foot = rate.layout.yaxis.range[0]
    foot = 10**foot if rate.layout.yaxis.type == "log" else foot
    assert min(rate.data[0].y) >= foot - 1e-12


def test_predictions_in_and_out_of_their_range_are_told_apart(tmp_path: Path) -> None:
    note = {"predicted": 0.5, "low": 0.4, "high": 0.6}
    experiment = noted(tmp_path / "study", ("model", note, 0.55, 9), ("model", note, 0.7, 9))
    figure = surrogate.predicted_of(experiment, model.predictions(experiment))
    assert [trace.name for trace in figure.data if trace.showlegend is not False] == ["inside the range", "outside"]
    assert figure.layout.xaxis.range == figure.layout.yaxis.range


def test_where_there_is_no_model_the_picture_says_why(tmp_path: Path) -> None:
    few = load(small_experiment(tmp_path / "few", ([0.5] * 27, "completed"), ([0.4], "stopped")))
    assert "trained to the end: 1" in text_of(few)
    (few.folder / "study.yaml").unlink()
    assert "do not tell how to build the model again" in text_of(load(few.folder))
    drawn = load(small_experiment(tmp_path / "random", ([0.5, 0.4], "completed")))
    path = drawn.folder / "study.yaml"
    path.write_text(path.read_text().replace("{name: bayesian, initial_points: 10}", "random"))
    assert "The searcher was random" in text_of(load(drawn.folder))


def text_of(experiment: Experiment) -> str:
    return str(draw(experiment, "model").layout.annotations[0].text)


def test_points_that_the_study_does_not_know_are_not_guessed_at(tmp_path: Path) -> None:
    folder = small_experiment(tmp_path / "study", *[([float(n)] * 27, "completed") for n in range(1, 6)])
    path = folder / "study.yaml"
    path.write_text(path.read_text().replace("channels: {choice: [16, 32, 64]}", "channels: {choice: [16, 64]}")
                    .replace("channels: 32", "channels: 16"))  # fmt: skip
    assert "do not tell how to build the model again" in text_of(load(folder))


def test_the_report_has_the_model_after_the_parameters_only_where_there_is_one(
    whole: Experiment, tmp_path: Path
) -> None:
    page = html(whole)
    order = [page.index(f'<section id="{name}">') for name in ("parameters", "model", "timeline")]
    assert order == sorted(order)
    assert 'id="predictions"' in page
    assert page.count('id="effect-') == len(whole.record.space)
    without = load(small_experiment(tmp_path / "random", ([0.5, 0.4], "completed")))
    path = without.folder / "study.yaml"
    path.write_text(path.read_text().replace("{name: bayesian, initial_points: 10}", "random"))
    assert '<section id="model">' not in html(load(without.folder))


def test_the_whole_picture_is_plain_json_with_a_cell_for_each_part(whole: Experiment) -> None:
    figure = draw(whole, "model")
    assert len(json.loads(figure.to_json())["data"]) > len(whole.record.space)
    assert len({trace.xaxis for trace in figure.data}) == 1 + len(whole.record.space)


def test_a_value_that_is_not_finite_spoils_nothing(tmp_path: Path) -> None:
    trials = [([1.0 / n] * 27, "completed") for n in range(1, 6)] + [([math.nan], "stopped"), ([], "failed")]
    table = model.beliefs(load(small_experiment(tmp_path / "study", *trials)))
    assert table.panels
    assert all(math.isfinite(value) for panel in table.panels for value in (*panel.mean, *panel.low, *panel.high))
