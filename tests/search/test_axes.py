"""Values as numbers, steps and places, and points made value by value."""

import pytest

from raytune_suite.search import axes
from raytune_suite.space import Space

KINDS = {
    "uniform": {"uniform": [-1.0, 2.0]},
    "loguniform": {"loguniform": [1e-5, 1e-1]},
    "quniform": {"quniform": [0.0, 0.7, 0.1]},
    "qloguniform": {"qloguniform": [0.01, 1.0, 0.01]},
    "randint": {"randint": [-3, 4]},
    "qrandint": {"qrandint": [10, 70, 16]},
    "lograndint": {"lograndint": [1, 1000]},
    "qlograndint": {"qlograndint": [8, 512, 8]},
    "randn": {"randn": [1.0, 2.0]},
    "qrandn": {"qrandn": [1.0, 2.0, 0.25]},
    "choice": {"choice": [None, True, "x", [1, 2], 0.5]},
    "numbers": {"grid": [8, 1, 4, 2]},
    "words": {"grid": ["b", "a"]},
}


def domain(kind: str):
    (parameter,) = Space.parse({"x": KINDS[kind]}).parameters
    return parameter.domain


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_comes_back_from_its_number_as_it_was(kind: str) -> None:
    found = domain(kind)
    units = [0.0, 1e-6, *(k / 200 for k in range(201)), 1.0 - 1e-6]
    values = found.values() or [found.from_unit(u) for u in units]
    for value in values:
        number = axes.encode(found, value)
        assert type(number) in (int, float)
        back = axes.decode(found, number)
        assert back == value
        assert type(back) is type(value)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_between_and_beyond_the_values_stand_for_the_nearest(kind: str) -> None:
    found = domain(kind)
    for number in (-1e6, -0.5, -1e-9, 0.0, 0.123, 0.99, 1.4, 2.6, 37.0, 1e6):
        assert found.contains(axes.decode(found, number))


def test_a_step_on_a_log_scale_is_a_whole_number_of_steps() -> None:
    found = domain("qlograndint")
    assert axes.steps(found) == (1, 64)
    assert [axes.decode(found, step) for step in (0.2, 1, 2.4, 64, 99)] == [8, 8, 16, 512, 512]


def test_numbers_of_a_grid_are_placed_by_size_and_words_by_the_list() -> None:
    assert [axes.encode(domain("numbers"), value) for value in (1, 2, 4, 8)] == [0, 1, 2, 3]
    assert [axes.encode(domain("words"), value) for value in ("b", "a")] == [0, 1]


@pytest.mark.parametrize(
    ("declared", "fixed"),
    [({"choice": [3]}, True), ({"randint": [2, 3]}, True), ({"choice": [1, 2]}, False), ({"uniform": [0, 1]}, False)],
)
def test_one_value_is_nothing_to_search(declared, fixed: bool) -> None:
    (parameter,) = Space.parse({"x": declared}).parameters
    assert axes.fixed(parameter.domain) is fixed


def test_only_parameters_that_exist_are_asked_for_and_in_the_order_of_the_space() -> None:
    space = Space.parse(
        {
            "optimizer": {"choice": ["sgd", "adamw"]},
            "momentum": {"uniform": [0.5, 0.99], "when": "optimizer == 'sgd'"},
            "nesterov": {"choice": [True, False], "when": "momentum > 0.9"},
            "beta": {"uniform": [0.8, 0.999], "when": "optimizer == 'adamw'"},
            "rate": {"uniform": [0.0, 1.0]},
        }
    )
    answers = {"optimizer": "sgd", "momentum": 0.95, "nesterov": True, "rate": 0.5, "beta": 0.9}
    asked: list[str] = []

    def draw(parameter):
        asked.append(parameter.name)
        return answers[parameter.name]

    assert axes.define_by_run(space, draw) == {"optimizer": "sgd", "momentum": 0.95, "nesterov": True, "rate": 0.5}
    assert asked == ["optimizer", "momentum", "nesterov", "rate"]
    answers["momentum"] = 0.6
    assert "nesterov" not in axes.define_by_run(space, draw)
    answers["optimizer"] = "adamw"
    assert set(axes.define_by_run(space, draw)) == {"optimizer", "beta", "rate"}
