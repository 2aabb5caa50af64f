"""What the terminal shows of a run: lines for a log, a live view for a terminal, a summary for both."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made_up
import pytest
from rich.console import Console

from raytune_suite import liveview
from raytune_suite.journal import read
from raytune_suite.progress import STATUS_SECONDS, Progress
from raytune_suite.record import Record

GPU = {"gpu/utilisation": 83.0, "memory/gpu_mb": 4200.0, "memory/gpu_of_share": 0.68}


class Screen:
    """A run whose output is kept, with a clock of its own; nothing is drawn unless ``draw`` is called."""

    def __init__(self, folder: Path, *, tty: bool = False, verbosity: int = 0, **facts: Any) -> None:
        self.now = 0.0
        self.output = io.StringIO()
        console = Console(file=self.output, force_terminal=tty, width=120, height=30)
        self.story = made_up.Story(folder, **facts)
        self.record = Record(keep_reports=False)
        for event in read(folder):
            self.record.apply(event)
        plan = ["slots 2"]
        self.view = Progress(
            self.record, plan, console, verbosity, tty, folder=Path("runs/made-up"), clock=lambda: self.now
        )
        for listener in (self.record.apply, self.view.apply):
            self.story.journal.subscribe(listener)
        self.console = console

    def text(self) -> str:
        """What has been printed so far; what comes next is asked for separately."""
        self.view.draw()
        return self.take()

    def take(self) -> str:
        text = self.output.getvalue()
        self.output.seek(0)
        self.output.truncate()
        return text

    def summary(self) -> str:
        self.take()
        self.story.close()
        self.view.stop()
        return self.take()

    def live(self) -> str:
        with self.console.capture() as captured:
            self.console.print(liveview.live(self.view.tally, self.console))
        return captured.get()


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    made = Screen(tmp_path / "made-up")
    yield made
    made.view.stop()


def test_each_ended_trial_is_one_line_with_value_time_and_config(screen: Screen) -> None:
    screen.story.whole(0, [0.5, 0.4])
    (line,) = screen.text().splitlines()
    assert line.startswith("[ 1/10] trial 0  completed")
    for part in ("2/9", "0.4", "learning_rate=0.00312", "model.channels=16", "best so far"):
        assert part in line


def test_a_stopped_trial_names_who_stopped_it(screen: Screen) -> None:
    screen.story.whole(0, [0.5], "stopped", by="asha")
    assert "(asha)" in screen.text()


def test_the_first_failure_is_told_with_traceback_config_and_node_and_equal_ones_are_counted(
    screen: Screen,
) -> None:
    for number in range(4):
        screen.story.trial(number)
        screen.story.start(number)
        screen.story.fail(number, message=f"no layer {number}")
    text = screen.text()
    assert "Trial 0 failed on node-a: ValueError: no layer 0" in text
    assert "epochs_per_step=1" in text
    assert text.count('File "model.py", line 3') == 1
    assert "4x ValueError: no layer 0 (trials 0, 1, 2, 3)" in screen.summary()


def test_different_errors_are_told_apart(screen: Screen) -> None:
    screen.story.whole(0, [0.5])
    for number, message in ((1, "no such layer"), (2, "no such file")):
        screen.story.trial(number)
        screen.story.start(number)
        screen.story.fail(number, message=message)
    assert screen.text().count('File "model.py", line 3') == 2


def test_a_long_traceback_is_cut_to_its_end(screen: Screen) -> None:
    screen.story.trial(0)
    screen.story.start(0)
    trace = "\n".join(f"line {i}" for i in range(50))
    screen.story.end(0, "failed", error={"type": "E", "message": "m", "traceback": trace})
    text = screen.text()
    assert "line 49" in text
    assert "line 10" not in text


def test_a_log_gets_a_status_line_a_minute(screen: Screen) -> None:
    screen.story.whole(0, [0.5, 0.25])
    screen.story.trial(1)
    screen.story.start(1)
    screen.text()
    screen.now = STATUS_SECONDS - 1
    assert screen.text() == ""
    screen.now = STATUS_SECONDS
    status = screen.text()
    assert "1/10 trials, 1 running, best 0.25 (trial 0), 1m 00s elapsed, about" in status
    assert screen.text() == ""


def test_decisions_are_explained_only_when_asked_for(tmp_path: Path) -> None:
    for verbosity, expected in ((0, False), (1, True)):
        screen = Screen(tmp_path / str(verbosity), verbosity=verbosity)
        screen.story.trial(0)
        screen.story.start(0)
        screen.story.decide(0, 3)
        assert ("stop by asha: 0.9 is worse than the cutoff 0.5" in screen.text()) is expected


def test_a_second_attempt_is_announced(screen: Screen) -> None:
    screen.story.trial(0)
    screen.story.start(0)
    screen.story.retry(0, 1, "oom")
    assert "trial 0 starts again, attempt 2: oom" in screen.text()


def test_quiet_prints_only_the_summary(tmp_path: Path) -> None:
    screen = Screen(tmp_path / "made-up", verbosity=-1)
    screen.view.start()
    screen.story.whole(0, [0.5])
    screen.now = 10 * STATUS_SECONDS
    assert screen.text() == ""
    assert "best     trial 0" in screen.summary()


def test_the_plan_comes_first(screen: Screen) -> None:
    screen.view.start()
    assert screen.take().startswith("slots 2\n")


def test_the_summary_compares_the_winner_with_the_default_and_says_where_to_look(screen: Screen) -> None:
    screen.story.whole(0, [0.5])
    screen.story.whole(1, [0.3, 0.25, 0.28])
    screen.story.test(0, accuracy=0.9)
    screen.story.test(1, accuracy=0.95)
    text = screen.summary()
    for part in (
        "made-up finished after",
        "2 trials (2 completed)",
        "trial 1, validation/loss 0.25 at iteration 2",
        "learning_rate: 0.00625",
        "default  validation/loss 0.5: the best is 50% lower",
        "test accuracy 0.95, default 0.9",
        "runs/made-up",
        "raytune tensorboard runs/made-up",
        "raytune report runs/made-up",
    ):
        assert part in text


def test_accuracies_of_the_held_out_test_come_with_their_intervals(screen: Screen) -> None:
    screen.story.whole(0, [0.5])
    screen.story.whole(1, [0.3])
    screen.story.test(0, **{"test/accuracy": 0.9, "test/samples": 100})
    screen.story.test(1, **{"test/accuracy": 0.95, "test/samples": 100})
    text = screen.summary()
    assert "test/accuracy 0.95 (0.888 to 0.978), default 0.9 (0.826 to 0.945)" in text
    assert "on 100 held-out samples" in text


def test_a_default_that_wins_is_said_to_have_won(screen: Screen) -> None:
    screen.story.whole(0, [0.2])
    screen.story.whole(1, [0.3])
    assert "No trial was better than the default configuration." in screen.summary()


def test_a_study_in_which_everything_failed_says_so(screen: Screen) -> None:
    screen.story.trial(0)
    screen.story.start(0)
    screen.story.fail(0)
    text = screen.summary()
    assert "No trial has a value of validation/loss: 1 failed." in text
    assert "1x ValueError" in text


def test_a_best_trial_that_fails_gives_way_to_the_next(screen: Screen) -> None:
    screen.story.whole(0, [0.5])
    screen.story.trial(1)
    screen.story.start(1)
    screen.story.report(1, 1, 0.1)
    assert "trial 1 at iteration 1" in screen.live()
    screen.story.fail(1)
    assert "trial 0 at iteration 1" in screen.live()


def test_the_live_view_shows_bar_best_slots_states_and_running_trials(tmp_path: Path) -> None:
    screen = Screen(tmp_path / "made-up", tty=True)
    screen.story.whole(0, [0.5, 0.25])
    screen.story.trial(1)
    screen.story.start(1)
    screen.story.curve(1, [0.9, 0.8, 0.7])
    screen.story.trial(2)
    screen.story.start(2)
    screen.now = 10.0
    view = screen.live()
    for part in ("1/10 trials", "2/2 slots", "10s elapsed", "left", "validation/loss 0.25", "1 completed"):
        assert part in view
    rows = [line for line in view.splitlines() if "3/9" in line or "starting" in line]
    assert "0.7" in rows[0]
    assert "█▅▁" in rows[0]
    assert "starting" in rows[1]


def test_a_terminal_that_is_short_shows_as_many_trials_as_fit(tmp_path: Path) -> None:
    screen = Screen(tmp_path / "made-up", tty=True)
    for number in range(50):
        screen.story.trial(number)
        screen.story.start(number)
    view = screen.live().splitlines()
    assert len(view) < 30
    assert "and 28 more" in view[-1]


def test_in_a_terminal_ended_trials_do_not_scroll_by_but_failures_stay(tmp_path: Path) -> None:
    screen = Screen(tmp_path / "made-up", tty=True)
    screen.view.start()
    screen.story.whole(0, [0.5])
    screen.story.trial(1)
    screen.story.start(1)
    screen.story.fail(1)
    text = screen.text()
    screen.view.stop()
    assert "[ 1/10]" not in text
    assert "Trial 1 failed on node-a" in text


def test_the_time_left_follows_from_the_iterations_trials_need(screen: Screen) -> None:
    assert screen.view.tally.left is None
    for number in range(5):
        screen.story.whole(number, [0.5, 0.4])
    screen.now = 20.0
    assert screen.view.tally.left == pytest.approx(20.0)  # 10 iterations done, 5 trials of 2 to come


def test_a_console_that_breaks_does_not_reach_the_driver(tmp_path: Path) -> None:
    screen = Screen(tmp_path / "made-up")
    screen.view.start()
    screen.output.close()
    screen.story.whole(0, [0.5])
    screen.view.stop()
    assert screen.view.tally.ended.total() == 1


def test_a_trial_on_a_gpu_shows_how_busy_it_is_and_how_much_of_its_share_it_takes(tmp_path: Path) -> None:
    screen = Screen(tmp_path, tty=True)
    screen.story.trial(0, learning_rate=0.1)
    screen.story.start(0)
    screen.story.report(0, 1, 0.5, **GPU)
    assert "GPU 83%, 4.1 GiB, 68% of its share" in screen.live()


def test_the_summary_says_where_the_time_of_the_slots_went(tmp_path: Path) -> None:
    screen = Screen(tmp_path)
    screen.story.session([])
    screen.story.trial(0, learning_rate=0.1)
    screen.story.start(0)
    screen.story.report(0, 1, 0.5)
    screen.story.end(0)
    assert re.search(r"^slots    \d+% ", screen.summary(), re.MULTILINE)
