import numpy as np
import pytest

from raytune_suite.search.encoding import Encoder
from raytune_suite.space import Space

SPACE = Space.parse(
    {
        "optimizer": {"choice": ["sgd", "adam", "lion"]},
        "momentum": {"uniform": [0.0, 1.0], "when": "optimizer == 'sgd'"},
        "nesterov": {"choice": [True, False], "when": "optimizer == 'sgd'"},
        "width": {"choice": [16, 32, 64, 128]},
        "rate": {"loguniform": [1e-4, 1.0]},
        "depth": {"randint": [1, 4]},
    }
)
ENCODER = Encoder(SPACE)


def test_choices_are_one_hot_numbers_take_one_column_and_conditional_ones_two() -> None:
    # optimizer 3, momentum 2, nesterov 2, width 1 (its values rise), rate 1, depth 1, one condition
    assert ENCODER.columns == 11
    assert ENCODER.groups.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6]


def test_points_survive_the_way_through_units() -> None:
    rng = np.random.default_rng(0)
    points = [SPACE.sample(rng) for _ in range(50)]
    units = ENCODER.snap(ENCODER.units(points))
    again = [ENCODER.point(row) for row in units]
    for point, found in zip(points, again, strict=True):
        assert found.keys() == point.keys()
        assert all(found[name] == pytest.approx(value) for name, value in point.items())


def test_inactive_parameters_are_as_far_from_every_value_and_marked() -> None:
    """No value stands for "not there": on a circle around it all are equally far."""
    sgd = [
        {"optimizer": "sgd", "momentum": m, "nesterov": True, "width": 16, "rate": 1e-2, "depth": 1}
        for m in (0.0, 0.5, 1.0)
    ]
    points = [{"optimizer": "adam", "width": 16, "rate": 1e-2, "depth": 1}, *sgd]
    features = ENCODER.features(ENCODER.snap(ENCODER.units(points)))
    away = np.linalg.norm(features[1:, 3:5] - features[0, 3:5], axis=1)
    assert away == pytest.approx(np.full(3, away[0]))
    near, far = (np.linalg.norm(features[1, 3:5] - features[k, 3:5]) for k in (2, 3))
    assert near == pytest.approx(0.5, rel=0.05)
    assert far == pytest.approx(1.0, rel=0.1)
    assert features[:, -1].tolist() == [0.0, 1.0, 1.0, 1.0]


def test_the_value_of_an_inactive_parameter_makes_no_difference() -> None:
    units = ENCODER.units([{"optimizer": "lion", "width": 32, "rate": 1e-1, "depth": 2}] * 2)
    units[:, 1] = [0.1, 0.9]
    features = ENCODER.features(ENCODER.snap(units))
    assert np.array_equal(features[0], features[1])


def test_snapping_moves_units_to_values_only() -> None:
    rng = np.random.default_rng(1)
    units = ENCODER.snap(rng.random((200, 6)))
    assert set(units[:, 5].round(6)) == {round((k + 0.5) / 3, 6) for k in range(3)}
    assert np.array_equal(np.nan_to_num(ENCODER.snap(units)), np.nan_to_num(units))
    assert np.isnan(units[:, 1]).tolist() == (units[:, 0] > 1 / 3).tolist()


def test_domains_of_very_many_values_are_treated_as_continuous() -> None:
    encoder = Encoder(Space.parse({"n": {"randint": [0, 10**9]}, "m": {"randint": [0, 7]}}))
    row = encoder.snap(np.array([[0.123456, 0.5]]))
    assert row[0, 0] == 0.123456
    assert isinstance(encoder.point(row[0])["n"], int)
