"""What other experiments give to a study's searcher, what cannot be used of them, and that they may go afterwards."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from raytune_suite import search, warmstart
from raytune_suite.errors import ExperimentError, StudyError
from raytune_suite.journal import Journal, read
from raytune_suite.replay import replay
from raytune_suite.search import Earlier, Observation
from raytune_suite.space import Space
from raytune_suite.states import State
from raytune_suite.study import Study

SPACE = {
    "lr": {"loguniform": [1e-4, 1e-1]},
    "width": {"qrandint": [16, 64, 16]},
    "optimizer": {"choice": ["sgd", "adamw"]},
    "momentum": {"uniform": [0.5, 0.99], "when": "optimizer == 'sgd'"},
    "data": "digits",
}
POINT = {"lr": 1e-2, "width": 32, "optimizer": "adamw"}


def a_study(project: Path, **fields: Any) -> Study:
    whole: dict[str, Any] = {
        "trainable": "anything:Model",
        "metric": "loss",
        "num_trials": 9,
        "max_iterations": 9,
        "space": SPACE,
        "search": "bayesian",
        "from": "old",
        "storage": ".",
        "name": "new",
    }
    return Study.from_dict({**whole, **fields}, project)


def experiment(folder: Path, *trials: Any, space: Any = SPACE, mode: str = "min", metric: str = "loss") -> Path:
    """An experiment with trials of (point, value) or (point, value, state)."""
    described = Space.parse(space)
    with Journal.create(folder) as journal:
        journal.append(
            "experiment", version=1, name="whatever", metric=metric, mode=mode, space=described.describe(),
            constants=described.constants,
        )  # fmt: skip
        journal.append("session", pid=1)
        for number, (point, value, *state) in enumerate(trials):
            config = described.config(point)
            journal.append("trial", number=number, config=config, point=point, origin="random")
            journal.append("start", number=number)
            journal.append(
                "report", number=number, iteration=number + 1, metrics={metric: value}, elapsed=0.5 * (number + 1)
            )
            if not state or state[0] != "running":
                how = state[0] if state else "completed"
                journal.append("end", number=number, state=how, value=value, iteration=number + 1)
    return folder


def only(study: Study) -> warmstart.Source:
    (source,) = warmstart.take(study)
    return source


def points(source: warmstart.Source) -> list[dict[str, Any]]:
    return [dict(observation.point) for observation in source.earlier.observations]


def test_completed_and_stopped_trials_are_taken_with_value_iteration_state_and_seconds(tmp_path: Path) -> None:
    states = ["completed", "stopped", "failed", "oom", "timed_out", "infeasible", "interrupted", "preempted", "running"]
    experiment(tmp_path / "old", *((POINT, 0.1 * n, state) for n, state in enumerate(states)))
    source = only(a_study(tmp_path))
    assert source.earlier == Earlier(
        "old",
        (
            Observation(0, POINT, 0.0, 1, State.COMPLETED, seconds=0.5),
            Observation(1, POINT, 0.1, 2, State.STOPPED, seconds=1.0),
        ),
    )
    assert source.lines == ("old: 9 trials, 2 usable; 4 failed; 3 unfinished",)


def test_a_trial_without_a_finite_value_is_left_out(tmp_path: Path) -> None:
    experiment(tmp_path / "old", (POINT, math.nan), (POINT, math.inf), (POINT, None), (POINT, 1))
    source = only(a_study(tmp_path))
    assert [o.value for o in source.earlier.observations] == [1.0]
    assert source.lines == ("old: 4 trials, 1 usable; 3 without a finite value",)


MAPPED = [
    # their space, their point, our changes, our point (or None), what is said
    (SPACE, {**POINT, "lr": 1}, {}, None, "1 out of range (lr 1)"),
    (SPACE, {**POINT, "lr": "fast"}, {}, None, "1 out of range (lr 1)"),
    (SPACE, {**POINT, "lr": math.nan}, {}, None, "1 out of range (lr 1)"),
    (SPACE, {**POINT, "width": 24}, {}, None, "1 out of range (width 1)"),
    (SPACE, {**POINT, "width": 32.0}, {}, None, "1 out of range (width 1)"),
    (SPACE, {**POINT, "width": 128, "lr": 1.0}, {}, None, "1 out of range (lr 1, width 1)"),
    (SPACE, {**POINT, "optimizer": "lion"}, {}, None, "1 out of range (optimizer 1)"),
    (SPACE, POINT, {"lr": {"choice": [0.01, 0.1]}}, POINT, ""),
    ({**SPACE, "lr": {"choice": [1, 2]}}, {**POINT, "lr": 1}, {"lr": {"uniform": [0, 1]}}, {**POINT, "lr": 1.0}, ""),
    (SPACE, {**POINT, "optimizer": "sgd", "momentum": 0.9}, {}, {**POINT, "optimizer": "sgd", "momentum": 0.9}, ""),
    (SPACE, {**POINT, "optimizer": "sgd", "momentum": 0.1}, {}, None, "1 out of range (momentum 1)"),
    # a condition here that was none there, and the other way round
    ({**SPACE, "momentum": {"uniform": [0, 1]}}, {**POINT, "momentum": 0.1}, {}, POINT, ""),
    (SPACE, POINT, {"momentum": {"uniform": [0.5, 1.0]}}, None, "1 without momentum"),
    # a constant there that is tuned here, and the other way round
    ({**SPACE, "width": 48}, {"lr": 0.01, "optimizer": "adamw"}, {}, {**POINT, "width": 48}, ""),
    (SPACE, POINT, {"width": 48}, {"lr": 0.01, "optimizer": "adamw"}, "not tuned here: width"),
    # nested sections are one dotted name
    ({**SPACE, "net": {"depth": {"randint": [1, 9]}}}, {**POINT, "net.depth": 3},
     {"net": {"depth": {"randint": [2, 5]}}}, {**POINT, "net.depth": 3}, ""),
    ({**SPACE, "net": {"depth": {"randint": [1, 9]}}}, {**POINT, "net.depth": 7},
     {"net": {"depth": {"randint": [2, 5]}}}, None, "1 out of range (net.depth 1)"),
    # parameters the other experiment knows nothing of
    (SPACE, POINT, {"decay": {"uniform": [0, 1]}}, None, "1 without decay"),
    (SPACE, POINT, {"decay": {"uniform": [0, 1]}, "beta": {"uniform": [0, 1]}}, None, "1 without decay and beta"),
    (SPACE, POINT, {"decay": {"uniform": [0, 1], "when": "optimizer == 'sgd'"}}, POINT, ""),
    # a condition that cannot be computed with a value of another type
    (SPACE, {**POINT, "width": "wide"}, {"decay": {"uniform": [0, 1], "when": "width + 1 > 40"}}, None,
     "1 out of range (width 1)"),
]  # fmt: skip


@pytest.mark.parametrize(("theirs", "point", "ours", "expected", "said"), MAPPED)
def test_a_point_is_restricted_to_this_space_or_left_out_and_counted(
    tmp_path: Path, theirs: Any, point: Any, ours: Any, expected: Any, said: str
) -> None:
    folder = experiment(tmp_path / "old", (POINT, 0.5), space=theirs)
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    (folder / "journal.jsonl").write_text("".join(lines[:2]))  # the points of a table are not always in their space
    with Journal.open(folder) as journal:
        described = Space.parse(theirs)
        journal.append("trial", number=0, config=described.config(point), point=point, origin="random")
        journal.append("end", number=0, state="completed", value=0.5, iteration=3)
    study = a_study(tmp_path, space={**SPACE, **ours})
    source = only(study)
    assert points(source) == ([] if expected is None else [expected])
    assert all(study.search_space.check(found) == [] for found in points(source))
    assert all(type(found[name]) is type(expected[name]) for found in points(source) for name in found)
    assert said in "\n".join(source.lines)
    assert ("out of range" in source.lines[0]) == ("out of range" in said)


def test_the_default_completes_what_the_other_experiment_knows_nothing_of(tmp_path: Path) -> None:
    experiment(tmp_path / "old", (POINT, 0.5), ({**POINT, "optimizer": "sgd", "momentum": 0.9}, 0.4))
    space = {**SPACE, "decay": {"uniform": [0, 1]}, "warmup": {"randint": [0, 9], "when": "optimizer == 'adamw'"}}
    default = {**POINT, "decay": 0.25, "warmup": 3}
    source = only(a_study(tmp_path, space=space, default=default))
    assert points(source) == [
        {**POINT, "decay": 0.25, "warmup": 3},
        {**POINT, "optimizer": "sgd", "momentum": 0.9, "decay": 0.25},
    ]
    assert source.lines == ("old: 2 trials, 2 usable", "     decay, warmup from this study's default")


def test_the_default_does_not_stand_in_for_what_was_inactive_there(tmp_path: Path) -> None:
    experiment(tmp_path / "old", (POINT, 0.5))
    space = {**SPACE, "momentum": {"uniform": [0.5, 1.0]}}
    source = only(a_study(tmp_path, space=space, default={**POINT, "momentum": 0.9}))
    assert points(source) == []
    assert source.lines[0] == "old: 1 trial, none usable; 1 without momentum"


def test_what_the_constraint_forbids_is_left_out(tmp_path: Path) -> None:
    experiment(tmp_path / "old", (POINT, 0.5), ({**POINT, "width": 64}, 0.4))
    source = only(a_study(tmp_path, constraint="width * lr <= 0.5"))
    assert [point["width"] for point in points(source)] == [32]
    assert source.lines == ("old: 2 trials, 1 usable; 1 that the constraint forbids",)


def test_a_constraint_that_cannot_be_computed_is_an_error(tmp_path: Path) -> None:
    experiment(tmp_path / "old", (POINT, 0.5))
    (tmp_path / "limits.py").write_text("def small(config):\n    return config['lr'] / 0 < 1\n")
    with pytest.raises(StudyError, match="constraint: raised ZeroDivisionError"):
        warmstart.take(a_study(tmp_path, constraint="limits:small"))


def test_counts_are_given_by_parameter_the_most_frequent_first(tmp_path: Path) -> None:
    wide, fast = {**POINT, "width": 64}, {**POINT, "lr": 0.05}
    trials = [POINT, wide, wide, fast, {**wide, "lr": 0.05}]
    experiment(tmp_path / "old", *((point, 0.5) for point in trials))
    space = {**SPACE, "lr": {"loguniform": [1e-3, 2e-2]}, "width": {"qrandint": [16, 48, 16]}}
    assert only(a_study(tmp_path, space=space)).lines == ("old: 5 trials, 1 usable; 4 out of range (width 3, lr 2)",)


def test_nothing_usable_is_a_warning_not_an_error(tmp_path: Path) -> None:
    experiment(tmp_path / "old", (POINT, 0.5))
    source = only(a_study(tmp_path, space={"other": {"uniform": [0, 1]}}))
    assert source.earlier == Earlier("old", ())
    assert source.lines[0] == "old: 1 trial, none usable; 1 without other"
    assert "the search starts without it" in source.lines[1]


def test_an_experiment_that_has_not_begun_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "journal.jsonl").touch()
    assert only(a_study(tmp_path, mode="max")).lines == ("old: no trials yet",)


def test_another_metric_is_allowed_and_said(tmp_path: Path) -> None:
    experiment(tmp_path / "old", (POINT, 250.0), metric="validation/error")
    source = only(a_study(tmp_path))
    assert [o.value for o in source.earlier.observations] == [250.0]
    assert source.lines[1].strip() == "its metric is validation/error"


def test_an_experiment_is_read_while_it_still_runs(tmp_path: Path) -> None:
    experiment(tmp_path / "old", (POINT, 0.5), (POINT, 0.4, "running"))
    with Journal.open(tmp_path / "old"):
        source = only(a_study(tmp_path))
    assert source.lines == ("old: 2 trials, 1 usable; 1 unfinished", "     still running")


def test_a_name_lies_in_storage_and_a_path_begins_at_the_project(tmp_path: Path) -> None:
    study = a_study(tmp_path, storage="results", **{"from": ["old", "./old", "a/b/", "/c/d", "~/e"]})
    found = [warmstart.locate(study, entry) for entry in study.from_]
    assert found == [
        tmp_path / "results" / "old",
        tmp_path / "old",
        tmp_path / "a" / "b",
        Path("/c/d"),
        Path.home() / "e",
    ]


def test_several_experiments_keep_their_order_and_get_names_of_their_own(tmp_path: Path) -> None:
    for place, value in (("a/old", 0.1), ("b/old", 0.2), ("c/older", 0.3)):
        experiment(tmp_path / place, (POINT, value))
    sources = warmstart.take(a_study(tmp_path, **{"from": ["b/old", "a/old", "c/older"]}))
    assert [source.earlier.name for source in sources] == ["b/old", "a/old", "older"]
    assert [source.earlier.observations[0].value for source in sources] == [0.2, 0.1, 0.3]


def test_every_entry_that_is_wrong_is_named_with_a_way_out(tmp_path: Path) -> None:
    experiment(tmp_path / "old", (POINT, 0.5), mode="max", metric="accuracy")
    experiment(tmp_path / "group" / "one", (POINT, 0.5))
    (tmp_path / "empty").mkdir()
    entries = ["old", "group", "empty", "olt", "group/two", "./nowhere/x", "nowhere"]
    with pytest.raises(StudyError) as raised:
        warmstart.take(a_study(tmp_path, **{"from": entries}))
    said = [str(problem).replace(f"{tmp_path}/", "") for problem in raised.value.problems]
    assert said == [
        "from[0]: it has mode max (accuracy), this study min: its best would be the worst here, got 'old'. "
        "Take it out of from, or report the metric with the other sign and change mode.",
        "from[1]: group is not an experiment: it has no journal.jsonl, got 'group'. In it: group/one.",
        "from[2]: empty is not an experiment: it has no journal.jsonl, got 'empty'. "
        "Give the folder of one, or take it out of from.",
        "from[3]: there is no experiment olt, got 'olt'. Did you mean old?",
        "from[4]: there is no experiment group/two, got 'group/two'. A path begins at the project folder.",
        "from[5]: there is no experiment nowhere/x, got './nowhere/x'. A path begins at the project folder.",
        "from[6]: there is no experiment nowhere, got 'nowhere'. A name alone is looked for in storage; "
        "a path, as ./nowhere, begins at the project folder.",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"event":"session"', '"event', "line 2 is broken"),
        ('"version":1', '"version":99', "format version 99"),
        ('"event":"start","number":0', '"event":"start","number":7', r"line 4 is no start event \(KeyError: 7\)"),
    ],
)
def test_a_damaged_journal_is_named_with_a_way_out(tmp_path: Path, old: str, new: str, said: str) -> None:
    journal = experiment(tmp_path / "old", (POINT, 0.5)) / "journal.jsonl"
    assert old in journal.read_text()
    journal.write_text(journal.read_text().replace(old, new))
    with pytest.raises(StudyError, match=said) as raised:
        warmstart.take(a_study(tmp_path))
    (problem,) = raised.value.problems
    assert (problem.where, problem.value) == ("from", "old")
    assert str(tmp_path / "old") in str(problem)
    assert str(problem).endswith("Or take it out of from.")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (3, "from: must be an experiment or a list of them, got 3"),
        ([], None),
        ("", "from: must be an experiment"),
        (["a", ""], "from: must be an experiment"),
        (["a", "b", "a"], "from: names an experiment twice, got 'a'"),
        (None, "from: must be an experiment"),
    ],
)
def test_what_from_may_be(tmp_path: Path, entry: Any, said: str | None) -> None:
    if said is None:
        assert a_study(tmp_path, **{"from": entry}).from_ == []
        return
    with pytest.raises(StudyError, match=said.replace("[", r"\[")):
        a_study(tmp_path, **{"from": entry})


def test_a_study_keeps_its_sources_in_its_file_and_says_nothing_without_them(tmp_path: Path) -> None:
    study = a_study(tmp_path, **{"from": ["old", "./older"]})
    assert "\nfrom: [old, ./older]\n" in study.dump()
    assert Study(**{**study.model_dump(exclude_unset=True), "from_": ["x"]}).from_ == ["x"]
    assert "from" not in a_study(tmp_path, **{"from": []}).dump()


# -- the new experiment's own journal --------------------------------------------------------------------------------

FOLLOWER = """
from raytune_suite.search import Searcher

class Follower(Searcher):
    name = "follower"
    learns = uses_earlier = True

    def suggest(self, number, rng):
        best = min((o for e in self.earlier for o in e.observations), key=lambda o: o.value)
        at = self.space.to_unit(best.point)
        near = at + rng.normal(0, 0.01, len(at))
        return self.space.from_unit(near)
"""
TYPED = {
    "shape": {"choice": [[1, 2], [3, 4]]},
    "scale": {"uniform": [0, 10]},
    "flag": {"choice": [True, None, "NaN"]},
    "count": {"randint": [0, 9]},
}


def test_what_was_taken_comes_back_from_the_journal_as_it_was(tmp_path: Path) -> None:
    there = [
        {"shape": [1, 2], "scale": 1, "flag": True, "count": 1},
        {"shape": [3, 4], "scale": 0.1 + 0.2, "flag": None, "count": 0},
        {"shape": [1, 2], "scale": 1e-300, "flag": "NaN", "count": 8},
    ]
    space = {**TYPED, "scale": {"choice": [1, 0.1 + 0.2, 1e-300]}}
    experiment(tmp_path / "old", *((point, 1 / 3) for point in there), space=space)
    study = a_study(tmp_path, space=TYPED)
    sources = warmstart.take(study)
    with Journal.create(tmp_path / "new") as journal:
        journal.append("experiment", version=1)
        for source in sources:
            journal.append("earlier", **source.event())
        journal.append("session", pid=1)
    again = warmstart.recorded(read(tmp_path / "new"), study.search_space)
    assert again == sources
    assert repr(again) == repr(sources)
    assert len(again[0].earlier.observations) == 3


def followed(project: Path) -> tuple[Study, Path]:
    """An experiment of a searcher that does nothing but follow what was earlier, written as a run writes it."""
    (project / "followers.py").write_text(FOLLOWER)
    experiment(project / "old", (POINT, 0.5), ({**POINT, "width": 64}, 0.1), ({**POINT, "lr": 9.0}, 0.0))
    study = a_study(project, search="followers:Follower", num_trials=4)
    sources = warmstart.take(study)
    searcher = search.build(study, [source.earlier for source in sources])
    with Journal.create(study.folder) as journal:
        journal.append("experiment", version=1, metric="loss", mode="min", num_trials=4)
        for source in sources:
            journal.append("earlier", **source.event())
        journal.append("session", pid=1, num_trials=4)
        for number in range(4):
            made = searcher.ask(number)
            assert made is not None
            config = study.search_space.config(made.point)
            journal.append("trial", number=number, config=config, point=made.point, origin=made.origin)
    return study, study.folder


def test_a_replay_needs_the_other_experiment_no_more(tmp_path: Path) -> None:
    study, folder = followed(tmp_path)
    shutil.rmtree(tmp_path / "old")
    outcome = replay(folder, study)
    assert outcome.identical
    assert outcome.counts.suggestions == 4


def test_a_replay_rests_on_what_the_journal_says_was_taken(tmp_path: Path) -> None:
    study, folder = followed(tmp_path)
    text = (folder / "journal.jsonl").read_text()
    assert text.count('"value":0.1,') == 1
    (folder / "journal.jsonl").write_text(text.replace('"value":0.1,', '"value":0.9,'))
    assert not replay(folder, study).identical


def test_a_space_changed_by_hand_is_named(tmp_path: Path) -> None:
    study, folder = followed(tmp_path)
    narrow = {**SPACE, "width": {"qrandint": [16, 48, 16]}}
    with pytest.raises(ExperimentError, match=r"event 2 of the journal, earlier, does not fit .* between 16 and 48"):
        replay(folder, a_study(tmp_path, search=study.search, space=narrow))


def test_an_experiment_that_took_nothing_has_nothing_on_record(tmp_path: Path) -> None:
    experiment(tmp_path / "old", (POINT, 0.5))
    assert warmstart.recorded(read(tmp_path / "old"), a_study(tmp_path).search_space) == ()


def test_the_plan_says_so_if_the_searcher_does_not_learn(tmp_path: Path) -> None:
    experiment(tmp_path / "old", (POINT, 0.5))
    (tmp_path / "followers.py").write_text(FOLLOWER)
    told = {}
    for name in ("followers:Follower", "random"):
        study = a_study(tmp_path, search=name)
        told[name] = warmstart.lines(warmstart.take(study), search.build(study))
    assert told["followers:Follower"] == ("old: 1 trial, 1 usable",)
    assert told["random"] == ("old: 1 trial, 1 usable", "not used: random does not learn from other experiments")
    assert warmstart.lines((), search.build(a_study(tmp_path, search="random"))) == ()


@pytest.mark.parametrize("name", search.names())
def test_a_searcher_says_truly_whether_it_learns_from_other_experiments(tmp_path: Path, name: str) -> None:
    space = {"x": {"uniform": [0, 1], "points": 6}, "y": {"uniform": [0, 1], "points": 6}}
    study = a_study(tmp_path, space=space, search=name, num_trials=12)
    found = [Observation(n, {"x": 0.9 - n / 200, "y": 0.1 + n / 300}, n / 10, 9, State.COMPLETED) for n in range(12)]
    searchers = search.build(study), search.build(study, [Earlier("old", tuple(found))])
    asked: list[list[Any]] = [[], []]
    for searcher, made in zip(searchers, asked, strict=True):
        for number in range(12):
            suggestion = searcher.ask(number)
            assert suggestion is not None
            made.append(suggestion.point)
            value = (suggestion.point["x"] - 0.3) ** 2 + suggestion.point["y"]
            searcher.tell(Observation(number, suggestion.point, value, 9, State.COMPLETED))
    assert (asked[0] != asked[1]) == searchers[1].uses_earlier
