"""What the benchmark of forecasts makes of replications and runs."""

from __future__ import annotations

import pytest
from predictions import Compared, made_up, study

from raytune_suite.simulate import replications


def test_what_was_foreseen_from_a_run_is_set_against_the_median_of_the_others() -> None:
    found = Compared(foreseen=[90.0, 150.0, 110.0], came=[80.0, 100.0, 120.0])

    assert found.errors(found.foreseen) == pytest.approx([90 / 110 - 1, 0.5, 110 / 90 - 1])
    assert found.errors(found.came) == pytest.approx([80 / 110 - 1, 0.0, 120 / 90 - 1])
    assert found.row() == "80, 100, 120 | 90, 150, 110 | +18% | 22% | 1 of 3 | 27%"


def test_a_forecast_of_the_shortened_study_is_reckoned_in_iterations_and_seconds() -> None:
    short = study("tabular", "/nowhere", "short", search="random", num_trials=12, max_iterations=9)
    (played,) = replications(short, made_up(8, 9), slots=2, count=1, budget_s=60.0)

    assert played.trials == 12
    assert 12 * 3 <= played.epochs < 12 * 9
    assert played.trained_s == pytest.approx(0.2 * played.epochs)
