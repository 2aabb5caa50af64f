"""What TensorBoard is told of an experiment, read back with TensorBoard's own readers."""

from __future__ import annotations

import math
from pathlib import Path

import event_reader
import made_up
import pytest

from raytune_suite import hparams
from raytune_suite.states import State
from raytune_suite.tensorboard import write

SUCCESS, FAILURE = "STATUS_SUCCESS", "STATUS_FAILURE"


@pytest.fixture
def story(tmp_path: Path) -> made_up.Story:
    return made_up.Story(tmp_path / "made-up")


def written(story: made_up.Story) -> Path:
    """The folder, with the files that follow from the journal so far."""
    story.journal.close()
    write(story.folder)
    return story.folder


def test_fifty_trials_give_fifty_rows(tmp_path: Path) -> None:
    folder = tmp_path / "made-up"
    made_up.tell(folder, 50)
    write(folder)
    assert len(event_reader.runs(folder)) == 50
    rows = [event_reader.session(folder, run) for run in event_reader.runs(folder)]
    assert len({row["learning_rate"] for row in rows}) == 50


def test_a_row_is_there_before_the_trial_has_started(story: made_up.Story) -> None:
    story.trial(0)
    folder = written(story)
    assert event_reader.session(folder, "00000")["optimizer"] == "sgd"
    assert event_reader.status(folder, "00000") is None
    assert event_reader.last(folder, "00000", hparams.STATE) == hparams.STATE_CODES[State.PENDING]


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("completed", SUCCESS),
        ("stopped", SUCCESS),
        ("infeasible", FAILURE),
        ("failed", FAILURE),
        ("oom", FAILURE),
        ("timed_out", FAILURE),
        ("interrupted", None),
        ("preempted", None),
    ],
)
def test_a_row_ends_as_the_table_of_states_says(story: made_up.Story, state: str, status: str | None) -> None:
    story.whole(0, [0.5, 0.4], state)
    folder = written(story)
    assert event_reader.status(folder, "00000") == status
    assert event_reader.last(folder, "00000", hparams.STATE) == hparams.STATE_CODES[State(state)]


def test_every_state_has_a_code_of_its_own() -> None:
    assert set(hparams.STATE_CODES) == set(State)
    assert len(set(hparams.STATE_CODES.values())) == len(State)


def test_the_metric_columns_hold_last_best_epochs_seconds_and_rung(story: made_up.Story) -> None:
    story.whole(0, [0.5, 0.2, 0.3, 0.4])
    folder = written(story)
    columns = {
        made_up.METRIC: 0.4, hparams.BEST: 0.2, hparams.EPOCHS: 4, hparams.SECONDS: 8, hparams.RUNG: 3,
    }  # fmt: skip
    for tag, value in columns.items():
        assert event_reader.last(folder, "00000", tag) == pytest.approx(value), tag
    announced = [info.name.tag for info in event_reader.experiment(folder).metric_infos]
    assert set(announced) == {*columns, hparams.STATE}


def test_without_rungs_there_is_no_column_for_them(tmp_path: Path) -> None:
    story = made_up.Story(tmp_path / "made-up", rungs=[])
    story.whole(0, [0.5])
    folder = written(story)
    assert hparams.RUNG not in {info.name.tag for info in event_reader.experiment(folder).metric_infos}
    assert event_reader.scalars(folder, "00000", hparams.RUNG) == []


def test_every_metric_of_a_report_is_a_curve_under_its_own_name(story: made_up.Story) -> None:
    story.trial(0)
    story.start(0)
    story.report(0, 1, 0.5, **{"a/b/c": 7, "note": "text", "flag": True, "missing": None})
    folder = written(story)
    assert event_reader.scalars(folder, "00000", made_up.METRIC) == [(1, 0.5)]
    assert event_reader.scalars(folder, "00000", "training/loss") == [(1, 0.25)]
    assert event_reader.scalars(folder, "00000", "a/b/c") == [(1, 7.0)]
    assert event_reader.scalars(folder, "00000", "flag") == [(1, 1.0)]
    assert "note" not in event_reader.tags(folder, "00000")


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300])
def test_a_value_out_of_range_is_shown_and_never_the_best(story: made_up.Story, value: float) -> None:
    story.whole(0, [0.5, value])
    folder = written(story)
    shown = event_reader.last(folder, "00000", made_up.METRIC)
    assert math.isnan(shown) if math.isnan(value) else shown == math.inf
    assert event_reader.last(folder, "00000", hparams.BEST) == 0.5


def test_the_best_value_of_a_study_that_maximises_is_the_largest(tmp_path: Path) -> None:
    story = made_up.Story(tmp_path / "made-up", mode="max")
    story.whole(0, [0.5, 0.9, 0.7])
    story.whole(1, [0.2])
    folder = written(story)
    assert event_reader.last(folder, "00000", hparams.BEST) == pytest.approx(0.9)
    assert event_reader.scalars(folder, "", "study/best") == [(1, pytest.approx(0.9)), (2, pytest.approx(0.9))]


def test_the_steps_of_a_restored_trial_strictly_increase(story: made_up.Story) -> None:
    story.trial(0)
    story.start(0)
    for iteration, value in enumerate([0.9, 0.8, 0.7, 0.1, 0.6], start=1):
        story.report(0, iteration, value)
    story.retry(0, 1, "preempted")
    story.start(0, 1, restored=3)
    for iteration, value in ((4, 0.65), (5, 0.5)):
        story.report(0, iteration, value)
    story.end(0, "completed", iteration=5)
    folder = written(story)
    for tag in (made_up.METRIC, "training/loss", hparams.EPOCHS):
        steps = [step for step, _ in event_reader.scalars(folder, "00000", tag)]
        assert steps == sorted(set(steps)), tag
    curve = event_reader.scalars(folder, "00000", made_up.METRIC)
    assert [value for _, value in curve] == pytest.approx([0.9, 0.8, 0.7, 0.65, 0.5])
    assert event_reader.last(folder, "00000", hparams.BEST) == pytest.approx(0.5)


def test_a_trial_that_starts_from_nothing_again_forgets_its_first_curve(story: made_up.Story) -> None:
    story.trial(0)
    story.start(0)
    story.curve(0, [0.1, 0.2, 0.3])
    story.retry(0, 1)
    story.start(0, 1)
    story.report(0, 1, 0.9)
    folder = written(story)
    assert event_reader.scalars(folder, "00000", made_up.METRIC) == [(1, pytest.approx(0.9))]
    assert event_reader.last(folder, "00000", hparams.BEST) == pytest.approx(0.9)
    assert event_reader.session(folder, "00000")["optimizer"] == "sgd"


def test_a_failed_trial_that_is_tried_again_later_ends_once_as_a_success(story: made_up.Story) -> None:
    story.trial(0)
    story.start(0)
    story.report(0, 1, 0.5)
    story.fail(0)
    story.session(made_up.RUNGS)
    story.start(0, 1, restored=1)
    story.report(0, 2, 0.4)
    story.end(0, "completed", iteration=2)
    folder = written(story)
    ends = event_reader.tags(folder, "00000")["_hparams_/session_end_info"]
    assert (ends, event_reader.status(folder, "00000")) == (1, SUCCESS)
    assert [step for step, _ in event_reader.scalars(folder, "00000", made_up.METRIC)] == [1, 2]


def test_a_row_is_written_once(tmp_path: Path) -> None:
    folder = tmp_path / "made-up"
    made_up.tell(folder)
    write(folder)
    for run in event_reader.runs(folder):
        assert event_reader.tags(folder, run)["_hparams_/session_start_info"] == 1
        assert event_reader.tags(folder, run)["_hparams_/session_end_info"] == 1


def test_the_experiment_summary_comes_before_any_trial(story: made_up.Story) -> None:
    folder = written(story)
    assert event_reader.runs(folder) == []
    assert [info.name for info in event_reader.experiment(folder).hparam_infos] == [
        *(entry["name"] for entry in made_up.SPACE),
        *made_up.CONSTANTS,
    ]


def test_decisions_config_and_error_can_be_read_as_text(story: made_up.Story) -> None:
    story.trial(0)
    story.start(0)
    story.decide(0, 3, "exploit", "pbt")
    story.fail(0)
    folder = written(story)
    assert '"channels": 16' in event_reader.texts(folder, "00000", "trial/config")[0]
    assert "**exploit** by pbt" in event_reader.texts(folder, "00000", "trial/decisions")[0]
    assert "no such layer" in event_reader.texts(folder, "00000", "trial/end")[0]


def test_the_held_out_test_is_a_point_at_the_last_iteration(story: made_up.Story) -> None:
    story.whole(0, [0.5, 0.4])
    story.test(0, **{"accuracy": 0.9, "test/loss": 0.3})
    folder = written(story)
    assert event_reader.scalars(folder, "00000", "test/accuracy") == [(2, pytest.approx(0.9))]
    assert event_reader.scalars(folder, "00000", "test/loss") == [(2, pytest.approx(0.3))]


def test_a_trial_left_running_by_a_driver_that_died_is_interrupted(story: made_up.Story) -> None:
    story.trial(0)
    story.start(0)
    story.report(0, 1, 0.5)
    story.session(made_up.RUNGS)
    folder = written(story)
    assert event_reader.last(folder, "00000", hparams.STATE) == hparams.STATE_CODES[State.INTERRUPTED]
    assert event_reader.status(folder, "00000") is None


def test_the_study_shows_how_many_slots_are_taken_over_time(story: made_up.Story) -> None:
    for number in range(2):
        story.trial(number)
        story.start(number)
    for number in range(2):
        story.report(number, 1, 0.5)
        story.end(number)
    folder = written(story)
    assert [taken for _, taken in event_reader.scalars(folder, "", "study/slots_taken")] == [0, 1, 2, 1, 0]
    assert {slots for _, slots in event_reader.scalars(folder, "", "study/slots")} == {2}
    assert 0 < event_reader.last(folder, "", "study/training") < 1
