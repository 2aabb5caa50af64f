"""Forecasts corrected by what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from raytune_suite.memory.calibration import PRIOR_MARGIN, Calibration, calibrate

GIB = 2**30
FORECASTS = np.linspace(1, 10, 20) * GIB


def test_without_a_measurement_a_forecast_is_taken_with_a_margin() -> None:
    made = calibrate([], [])

    assert made.expected(GIB) == GIB
    assert made.needed(GIB) == int(PRIOR_MARGIN * GIB)


def test_one_measurement_scales_the_others() -> None:
    made = calibrate([GIB], [1.2 * GIB])

    assert made.expected(4 * GIB) == pytest.approx(4.8 * GIB)
    assert 1.0 < made.margin < PRIOR_MARGIN


def test_a_factor_and_an_offset_are_found() -> None:
    made = calibrate(FORECASTS, 1.3 * FORECASTS + 0.4 * GIB)

    assert made.factor == pytest.approx(1.3)
    assert made.offset == pytest.approx(0.4 * GIB)


def test_a_fifth_of_wild_values_changes_next_to_nothing() -> None:
    measured = 1.3 * FORECASTS + 0.4 * GIB
    measured[::5] *= np.array([5, 0.1, 7, 3])

    made = calibrate(FORECASTS, measured)

    assert made.factor == pytest.approx(1.3, rel=0.02)
    assert made.offset == pytest.approx(0.4 * GIB, rel=0.2)


def test_trials_of_one_size_cannot_tell_an_offset_from_a_factor() -> None:
    made = calibrate([GIB] * 10, [1.5 * GIB] * 10)

    assert (made.factor, made.offset) == (1.5, 0.0)


def test_a_line_that_would_take_memory_away_from_small_trials_is_not_believed() -> None:
    assert calibrate(FORECASTS, 2 * FORECASTS - 0.9 * GIB).offset == 0.0


def test_the_margin_covers_nine_of_ten_and_shrinks_as_trials_agree() -> None:
    noise = np.random.default_rng(0).uniform(0.8, 1.2, 400)
    forecasts = np.random.default_rng(1).uniform(1, 10, 400) * GIB
    made = calibrate(forecasts, forecasts * noise)

    covered = np.mean([made.needed(f) >= m for f, m in zip(forecasts, forecasts * noise, strict=True)])
    assert 0.88 <= covered <= 0.93
    margins = [calibrate(FORECASTS[:n], FORECASTS[:n]).margin for n in (1, 3, 10, 20)]
    assert margins == sorted(margins, reverse=True)


@pytest.mark.parametrize(("forecast", "measured"), [(0, GIB), (GIB, 0), (-1, GIB)])
def test_values_that_say_nothing_are_left_out(forecast: float, measured: float) -> None:
    assert calibrate([forecast], [measured]) == Calibration()


def test_it_says_what_it_does() -> None:
    assert calibrate([], []).describe() == "not calibrated yet, margin 15%"
    assert (
        calibrate(FORECASTS, 1.3 * FORECASTS + GIB)
        .describe()
        .startswith("calibrated by 20: forecast x 1.30 + 1024 MiB")
    )
