"""The pictures: the tables they show, and that every kind can be drawn of every kind of experiment."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from journals import DEFAULT, METRIC, SPACE, asha_experiment, header, small_experiment

from raytune_suite.analysis import Experiment, load
from raytune_suite.errors import PlanError
from raytune_suite.journal import Journal
from raytune_suite.plots import KINDS, draw, figures, parameters, save, tables
from raytune_suite.plots.axes import Axis, axes, label, number
from raytune_suite.plots.importance import importance
from raytune_suite.plots.style import DARK, value_axis
from raytune_suite.record import fold
from raytune_suite.states import State


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return load(asha_experiment(tmp_path_factory.mktemp("plots") / "digits"))


def points(*given: tuple[dict[str, Any], float], space: list[dict[str, Any]] | None = None) -> Experiment:
    """An experiment that exists only in memory: points and the value each reached."""
    events: list[dict[str, Any]] = [
        {
            "event": "experiment",
            "metric": "loss",
            "mode": "min",
            "space": space if space is not None else SPACE,
            "time": 0.0,
        }
    ]
    for n, (point, value) in enumerate(given):
        events += [
            {"event": "trial", "number": n, "config": point, "point": point, "time": float(n)},
            {"event": "start", "number": n, "time": float(n), "pid": 1, "node": "a"},
            {"event": "report", "number": n, "iteration": 1, "metrics": {"loss": value}, "time": n + 0.5},
            {"event": "end", "number": n, "state": "completed", "value": value, "best": value, "time": n + 0.6},
        ]
    return Experiment(Path("nowhere"), fold(events), None)


def test_every_state_has_a_fate() -> None:
    assert {tables.fate(state) for state in State} == set(tables.FATES)
    assert tables.fate(State.OOM) == tables.fate(State.FAILED) == "failed"
    assert tables.fate(State.STOPPED) == "stopped"


def test_the_best_over_trials_never_gets_worse_and_skips_failures(digits: Experiment) -> None:
    rows = tables.best_over_trials(digits)
    assert [row.number for row in rows] == list(range(40))
    best = [row.best for row in rows if row.best is not None]
    assert best == sorted(best, reverse=True)
    assert best[-1] == digits.value(digits.best())
    assert {row.number for row in rows if row.fate == "failed"} == {5, 11, 23}
    assert all(row.value is None for row in rows if row.fate == "failed")


def test_the_best_over_time_counts_reports_of_trials_that_did_not_fail(tmp_path: Path) -> None:
    folder = small_experiment(
        tmp_path / "study", ([0.5, 0.7, 0.3], "completed"), ([0.1], "failed"), ([math.nan, 0.2], "stopped")
    )
    rows = tables.best_over_time(load(folder))
    assert [(row.number, row.iteration, row.value) for row in rows] == [(0, 1, 0.5), (0, 3, 0.3), (2, 2, 0.2)]
    assert [row.seconds for row in rows] == sorted(row.seconds for row in rows)


def test_in_max_mode_the_best_rises(tmp_path: Path) -> None:
    experiment = load(small_experiment(tmp_path / "s", ([0.1, 0.5], "completed"), ([0.3], "stopped"), mode="max"))
    assert [row.best for row in tables.best_over_trials(experiment)] == [0.5, 0.5]
    assert [row.value for row in tables.best_over_time(experiment)] == [0.1, 0.5]


def test_axes_know_logarithms_choices_and_inactive_parameters(digits: Experiment) -> None:
    found = {axis.name: axis for axis in axes(digits)}
    rate = found["learning_rate"]
    assert rate.log
    assert rate.unit(1e-3) == pytest.approx(0.5)
    assert [text for _, text in rate.ticks()] == ["1e-5", "0.0001", "0.001", "0.01", "0.1"]
    assert found["channels"].choices == ("16", "32", "64")
    assert found["optimizer"].place("adamw") == 1.0
    momentum = next(one for one in tables.slices(digits) if one.axis.name == "momentum")
    valued = digits.ranked()
    assert len(momentum.points) == sum("momentum" in trial.point for trial in valued)
    assert momentum.inactive == len(valued) - len(momentum.points) > 0


@pytest.mark.parametrize(
    ("space", "values", "expected"),
    [
        ([{"name": "x", "kind": "grid", "values": [8, 2, 4]}], [2, 4], Axis("x", 2.0, 8.0, whole=True)),
        ([{"name": "x", "kind": "normal", "mean": 0, "sd": 1}], [-1.5, 2.5], Axis("x", -1.5, 2.5)),
        ([{"name": "x", "kind": "choice", "values": [True, None, [1, 2]]}], [True], ("true", "null", "[1, 2]")),
        ([{"name": "x", "kind": "choice", "values": [64, 16]}], [16], ("16", "64")),
        ([], ["b", "a"], ("b", "a")),
        ([], [1, 3], Axis("x", 1.0, 3.0, whole=True)),
    ],
)
def test_an_axis_follows_from_its_description_or_its_values(space: Any, values: list[Any], expected: Any) -> None:
    (axis,) = axes(points(*(({"x": value}, 1.0) for value in values), space=space))
    assert (axis.choices if isinstance(expected, tuple) else axis) == expected


def test_values_without_a_place_have_none() -> None:
    assert Axis("x", 1, 10, log=True).place(-1) is None
    assert Axis("x", 1, 10).place(True) is None
    assert Axis("x", choices=("a",)).place("b") is None
    assert Axis("x", 1, 10).unit(99) == 1.0


def test_labels_are_short_and_as_in_a_study_file() -> None:
    assert [number(v) for v in (1e-5, 0.001, 3, 123456.0, True)] == ["1e-5", "0.001", "3", "1.235e5", "true"]
    assert label("x" * 50) == "x" * 37 + "..."


def test_curves_carry_the_fate_and_leave_nan_out(digits: Experiment) -> None:
    table = tables.curves(digits)
    by_number = {curve.number: curve for curve in table.curves}
    assert by_number[5].fate == "failed"
    assert len(by_number[17].values) == 1  # its second value is NaN
    assert [curve.number for curve in table.curves if curve.best] == [digits.best().number]
    assert table.rungs == [1, 3, 9]


def test_of_too_many_curves_the_best_are_shown_and_the_rest_counted(digits: Experiment) -> None:
    table = tables.curves(digits, limit=10)
    assert len(table.curves) == 10
    assert table.left_out == 30
    assert digits.best().number in {curve.number for curve in table.curves}


def test_long_curves_are_thinned_and_keep_their_end(tmp_path: Path) -> None:
    experiment = load(small_experiment(tmp_path / "study", ([1 / n for n in range(1, 2001)], "completed")))
    (curve,) = tables.curves(experiment, points=100).curves
    assert len(curve.values) <= 102
    assert (curve.iterations[0], curve.iterations[-1]) == (1, 2000)


def test_the_timeline_gives_each_worker_its_lane_and_bars_never_overlap(digits: Experiment) -> None:
    bars = tables.timeline(digits)
    assert [bar.lane for bar in bars] == sorted(bar.lane for bar in bars)
    assert {bar.lane for bar in bars} == {"node-a · 0", "node-a · 1", "node-b · 0", "node-b · 1"}
    assert len(bars) == 41  # trial 11 was tried twice
    for before, after in itertools.pairwise(bars):
        assert before.lane != after.lane or before.end <= after.start + 1e-6


def test_workers_that_are_replaced_use_a_free_lane_again() -> None:
    events: list[dict[str, Any]] = [{"event": "experiment", "metric": "loss", "time": 0.0}]
    for n in range(5):  # a new process for each trial, one after the other
        events += [
            {"event": "trial", "number": n, "time": 10.0 * n},
            {"event": "start", "number": n, "node": "a", "pid": 100 + n, "time": 10.0 * n},
            {"event": "end", "number": n, "state": "completed", "time": 10.0 * n + 9},
        ]
    assert {bar.lane for bar in tables.timeline(Experiment(Path("x"), fold(events), None))} == {"a · 0"}


def test_nodes_are_named_as_a_person_tells_them_apart() -> None:
    first, second = "a" * 56, "b" * 56
    starts: list[tuple[str | None, str]] = [(first, "10.0.0.1"), (second, "10.0.0.2"), (None, "")]
    assert lanes_of(starts) == ["10.0.0.1 · 0", "10.0.0.2 · 0", "unknown · 0"]
    assert lanes_of([(first, "127.0.0.1"), (second, "127.0.0.1")]) == ["127.0.0.1 aaaaaa · 0", "127.0.0.1 bbbbbb · 0"]
    assert lanes_of([(first, "127.0.0.1"), (None, "")]) == ["127.0.0.1 · 0", "127.0.0.1 · 1"]


def lanes_of(starts: list[tuple[str | None, str]]) -> list[str]:
    """The lanes of trials that run at the same time on these nodes."""
    events: list[dict[str, Any]] = [{"event": "experiment", "metric": "loss", "time": 0.0}]
    for n, (node, ip) in enumerate(starts):
        events += [{"event": "trial", "number": n, "time": 0.0}, {"event": "start", "number": n, "time": 1.0 + n}]
        events += [{"event": "worker", "number": n, "node": node, "ip": ip, "time": 2.0}] if node else []
    events.append({"event": "checkpoint", "number": 0, "iteration": 1, "path": "x", "time": 9.0})
    return [bar.lane for bar in tables.timeline(Experiment(Path("x"), fold(events), None))]


def test_panels_share_their_value_axis(digits: Experiment) -> None:
    ranges = {
        figures_of.layout.yaxis.range for figures_of in (parameters.slice_of(digits, s) for s in tables.slices(digits))
    }
    assert len(ranges) == 1


def test_parallel_lines_rank_trials_and_mark_inactive_parameters(digits: Experiment) -> None:
    table = tables.parallel(digits)
    assert table.lines[-1].number == digits.best().number
    assert (table.lines[-1].rank, table.lines[0].rank) == (0.0, 1.0)
    column = [axis.name for axis in table.axes].index("momentum")
    for line in table.lines:
        assert (line.places[column] is None) == ("momentum" not in digits.record.trials[line.number].point)
        assert all(place is None or 0 <= place <= 1 for place in line.places)
    few = tables.parallel(digits, limit=5)
    assert (len(few.lines), few.left_out) == (5, len(table.lines) - 5)


def test_decisions_are_counted_by_rung(digits: Experiment) -> None:
    rungs = tables.decisions(digits)
    assert [rung.iteration for rung in rungs] == [1, 3, 9]
    stopped = sum(rung.actions.get("stop", 0) for rung in rungs)
    assert stopped == sum(trial.by == "asha" for trial in digits.record.trials.values())


def test_a_trial_that_is_paused_and_then_promoted_is_one_trial_judged(tmp_path: Path) -> None:
    story: dict[int, list[tuple[int, str]]] = {
        0: [(1, "pause"), (1, "continue"), (3, "pause"), (3, "stop")],
        1: [(1, "pause"), (1, "stop")],
        2: [(1, "pause")],
    }
    with Journal.create(tmp_path / "study") as journal:
        header(journal)
        for number_, told in story.items():
            journal.append("trial", number=number_, trial_id=f"{number_:05d}", config={}, point={})
            for iteration, action in told:
                journal.append("decision", number=number_, iteration=iteration, action=action, by="asha")
    first, second = tables.decisions(load(tmp_path / "study"))
    assert (first.iteration, first.reached, first.actions) == (1, 3, {"continue": 1, "stop": 1, "pause": 1})
    assert (second.iteration, second.reached, second.actions) == (3, 1, {"stop": 1})


def mixed(number_of_trials: int) -> Experiment:
    """The value depends on the rate alone; momentum is there for one optimizer only; types are mixed."""
    space = [
        {"name": "rate", "kind": "float", "lower": 1e-4, "upper": 1.0, "log": True},
        {"name": "optimizer", "kind": "choice", "values": ["sgd", None, 3, [1, 2]]},
        {"name": "momentum", "kind": "float", "lower": 0.0, "upper": 1.0},
        {"name": "one", "kind": "choice", "values": ["only"]},
    ]
    given = []
    for n in range(number_of_trials):
        exponent = -4 + 4 * ((n * 0.618) % 1)
        point = {"rate": 10**exponent, "optimizer": ["sgd", None, 3, [1, 2]][n % 4], "one": "only"}
        if n % 4 == 0:
            point["momentum"] = (n * 0.37) % 1
        given.append((point, abs(exponent + 2)))
    return points(*given, space=space)


def test_importance_finds_the_parameter_that_matters_among_mixed_and_conditional_ones() -> None:
    table = importance(mixed(60), resamples=3)
    assert table.shares[0].name == "rate"
    assert table.shares[0].share > 0.7
    assert sum(share.share for share in table.shares) == pytest.approx(1.0)
    assert all(share.low <= share.share <= share.high for share in table.shares)
    assert {share.name: share.active for share in table.shares} == {"rate": 60, "optimizer": 60, "momentum": 15}
    assert (table.trials, table.used, table.warning) == (60, 60, None)


def test_importance_is_the_same_each_time() -> None:
    assert importance(mixed(20), resamples=2) == importance(mixed(20), resamples=2)


def test_importance_warns_under_30_trials_and_is_silent_under_4() -> None:
    few = importance(mixed(8), resamples=1)
    assert few.shares
    assert few.warning is not None
    assert "8 trials" in few.warning
    assert importance(mixed(3)).shares == []
    same = points(*[({"learning_rate": 10.0**-n}, 0.5) for n in range(1, 6)])
    assert importance(same).shares == []


def test_of_very_many_trials_importance_draws_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytune_suite.plots.importance.MOST", 40)
    table = importance(mixed(80), resamples=1)
    assert (table.trials, table.used, table.shares[0].name) == (80, 40, "rate")


def test_importance_leaves_failures_and_nan_out(digits: Experiment) -> None:
    assert importance(digits, resamples=1).trials == len(digits.ranked()) == 37


def test_outliers_do_not_squeeze_the_value_axis_and_magnitudes_make_it_logarithmic() -> None:
    assert value_axis([1.0, 1.1, 1.2, 1.3, -900.0])["range"][0] > 0
    assert value_axis([1e-4, 1.0])["type"] == "log"
    assert value_axis([1.0, 2.0, 3.0]) == {}
    assert value_axis([]) == {}
    low, high = value_axis([0.5, 0.5])["range"]
    assert low < 0.5 < high


EXPERIMENTS: dict[str, list[tuple[list[float], str | None]]] = {
    "nothing": [],
    "only failures": [([], "failed"), ([0.3], "oom"), ([math.nan], "stopped")],
    "one trial": [([0.5, 0.4], "completed")],
    "one running trial": [([0.5], None)],
    "nothing reported": [([], None)],
    "diverged": [([1e30, math.inf], "stopped"), ([0.5, -1.0], "completed"), ([0.0], "completed")],
}


@pytest.mark.parametrize("trials", EXPERIMENTS.values(), ids=EXPERIMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_can_be_drawn_of_every_experiment(
    tmp_path: Path, kind: str, trials: list[tuple[list[float], str | None]]
) -> None:
    figure = draw(load(small_experiment(tmp_path / "study", *trials)), kind)
    json.loads(figure.to_json())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])  # that study had no GPU
def test_pictures_of_a_whole_study_have_something_in_them(digits: Experiment, kind: str) -> None:
    figure = draw(digits, kind)
    assert sum(len(trace.x) for trace in figure.data) > 4


def test_fates_are_drawn_distinctly(digits: Experiment) -> None:
    figure = figures.curves(digits)
    marks = {t.name: (t.marker.color, t.marker.symbol) for t in figure.data if t.mode == "markers"}
    assert set(marks) == {"completed", "stopped", "failed"}
    assert len(set(marks.values())) == 3
    assert {trace.name for trace in figures.timeline(digits).data} == {"completed", "stopped", "failed"}


def test_the_default_configuration_is_marked(digits: Experiment) -> None:
    texts = [a.text for a in figures.best_over_trials(digits).layout.annotations]
    assert any(text.startswith("default 0.3") for text in texts)


def test_logarithmic_parameters_have_logarithmic_axes(digits: Experiment) -> None:
    one = next(s for s in tables.slices(digits) if s.axis.name == "learning_rate")
    assert parameters.slice_of(digits, one).layout.xaxis.type == "log"


def test_every_colour_has_one_for_dark_paper(digits: Experiment) -> None:
    used = {t.marker.color for t in figures.timeline(digits).data} | {"#0072b2"}
    assert used <= set(DARK)


def test_texts_of_the_experiment_cannot_be_markup(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "study") as journal:
        header(journal)
        journal.append("trial", number=0, trial_id="00000", config={}, point={**DEFAULT, "x": "<b>bold</b>"})
        journal.append("start", number=0)
        journal.append("report", number=0, iteration=1, metrics={METRIC: 0.5}, elapsed=1.0)
    text = tables.best_over_trials(load(tmp_path / "study"))[0].text
    assert "&lt;b&gt;bold" in text


def test_an_unknown_picture_is_an_error_with_the_known_ones(digits: Experiment) -> None:
    with pytest.raises(PlanError, match=r"'curvs' is not a picture: one of best, .*Did you mean curves\?"):
        draw(digits, "curvs")


def test_a_saved_picture_needs_no_network(digits: Experiment, tmp_path: Path) -> None:
    text = save(draw(digits, "timeline"), tmp_path / "timeline.html").read_text()
    assert "<script src=" not in text
    assert "cdn.plot.ly" not in text.split("</script>")[-2]


def test_the_commands_list_all_pictures() -> None:
    from raytune_suite.cli import report

    assert tuple(KINDS) == report.KINDS
