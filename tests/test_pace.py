"""How quickly trials went by the clock."""

from __future__ import annotations

import pytest

from raytune_suite.pace import Pace
from raytune_suite.record import Record, Report, Run, TrialRecord


def trial(number: int, reports: list[tuple[int, float, float]], *runs: tuple[float, float]) -> TrialRecord:
    """Reports are (iteration, time, seconds trained so far), runs are (started, ended)."""
    record = Record()
    record.apply({"event": "trial", "number": number, "trial_id": f"{number:05d}", "config": {}, "point": {}})
    made = record.trials[number]
    made.reports = [Report(iteration, {"loss": 1.0}, time, elapsed) for iteration, time, elapsed in reports]
    made.runs = [Run(0, started, ended) for started, ended in runs]
    return made


def test_what_lies_between_steps_counts_to_them_and_the_rest_to_the_trial() -> None:
    pace = Pace.of(
        [
            trial(0, [(1, 19.0, 2.0), (3, 25.0, 6.0)], (0.0, 26.0)),  # the first one waits for its process
            trial(1, [(1, 33.0, 1.0), (3, 36.0, 3.0)], (30.0, 36.5)),
            trial(2, [(1, 44.0, 2.0)], (40.0, 45.0)),
        ]
    )
    assert pace.seconds == pytest.approx((3.0, 1.5, 3.0))  # 9 s by the clock for 6 s of steps
    assert pace.beside == pytest.approx(2.0)


def test_a_trial_that_paused_tells_only_what_its_steps_took() -> None:
    pace = Pace.of([trial(0, [(1, 1.0, 1.0), (2, 90.0, 2.0)], (0.0, 1.0), (89.0, 90.0))])
    assert (pace.seconds, pace.beside) == ((1.0,), 0.0)


def test_the_first_step_in_a_process_does_not_count() -> None:
    cold, colder, warm = (
        trial(0, [(1, 9.0, 9.0), (3, 13.0, 13.0)], (0.0, 13.0)),
        trial(1, [(1, 9.0, 9.0)], (0.0, 9.0)),
        trial(2, [(1, 14.0, 1.0), (2, 15.0, 2.0)], (13.0, 15.0)),
    )
    for made, hosted in ((cold, 1), (colder, 1), (warm, 2)):
        made.runs[0].worker_trials = hosted
    assert Pace.of([cold, colder, warm]).seconds == pytest.approx((2.0, 1.5, 1.0))
    assert Pace.of([colder]).seconds == (9.0,)
