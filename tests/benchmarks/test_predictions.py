"""What the benchmark of forecasts makes of replications and runs."""

from __future__ import annotations

import pytest
from predictions import Compared, made_up, study

from raytune_suite.simulate import replications


def test_the_median_foreseen_is_set_against_the_median_run() -> None:
    found = Compared(foreseen=[90, 110, 130], came=[100.0, 80.0, 120.0, 131.0, 133.0])

    assert found.error == pytest.approx(110 / 120 - 1)
    assert found.within == 3  # of 88 to 132
    assert found.row() == "110 (94 to 126) | 100, 80, 120, 131, 133 | 120 | -8% | 3 of 5"


def test_a_forecast_of_the_shortened_study_is_reckoned_in_iterations_and_seconds() -> None:
    short = study("tabular", "/nowhere", "short", search="random", num_trials=12, max_iterations=9)
    (played,) = replications(short, made_up(8, 9), slots=2, count=1, budget_s=60.0)

    assert played.trials == 12
    assert 12 * 3 <= played.epochs < 12 * 9
    assert played.trained_s == pytest.approx(0.2 * played.epochs)
