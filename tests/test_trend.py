"""What curves do over the space."""

from __future__ import annotations

import numpy as np
import pytest

from raytune_suite.trend import Trend


@pytest.mark.parametrize("shift", [1.0, -10.0])
def test_curves_get_better_beyond_the_recorded_ones_where_these_point(shift: float) -> None:
    units = np.linspace(0.5, 1.0, 40)[:, None]
    curves = shift + 5 * (units - 0.3) ** 2 + 1 / np.arange(1, 10)

    found = Trend(units, curves).row(np.array([0.35]), near=0)

    assert found.shape == (9,)
    assert (found < curves.min(axis=0)).all()
    assert (np.diff(found) < 0).all()


def test_a_trial_keeps_what_its_neighbour_lies_off_the_trend() -> None:
    units = np.linspace(0, 1, 40)[:, None]
    curves = np.full((40, 3), -1.0)
    curves[20] = 0.0
    trend = Trend(units, curves)

    high, usual = trend.row(units[20], near=20), trend.row(units[20], near=19)

    assert high - usual == pytest.approx([1.0, 1.0, 1.0], abs=0.05)
