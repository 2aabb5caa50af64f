# ruff: noqa: E501 - a message stands on one line
from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytune_suite.errors import SpaceExhaustedError, StudyError
from raytune_suite.space import Choice, Domain, Float, Grid, Int, Normal, Space, identity, written

EVERYTHING = {
    "lr": {"loguniform": [1e-5, 1e-1]},
    "dropout": {"quniform": [0, 0.5, 0.1]},
    "channels": {"choice": [16, 32, 64]},
    "batch_size": {"qrandint": [32, 256, 32]},
    "width": {"qlograndint": [8, 512, 8]},
    "optimizer": {
        "name": {"choice": ["sgd", "adamw", None]},
        "momentum": {"uniform": [0.5, 0.99], "when": "optimizer.name == 'sgd'"},
        "nesterov": {"choice": [True, False], "when": "optimizer.momentum > 0.7"},
    },
    "noise": {"randn": [0, 2]},
    "layers": {"choice": [[8], [8, 16]]},
    "steps": {"lograndint": [1, 100]},
    "table": {"values": {"grid": [3, 1, 2]}},
    "epochs_per_step": 1,
    "model": {"name": "cnn", "deep": True, "betas": [0.9, 0.99], "nothing": None},
}
FINITE = {
    "a": {"choice": ["x", "y"]},
    "b": {"randint": [0, 3], "when": "a == 'x'"},
    "c": {"quniform": [0, 1, 0.5]},
    "d": {"uniform": [0, 1], "points": 2, "when": "b >= 1"},
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def space(raw: dict[str, Any] | None = None, constraint: Any = None) -> Space:
    return Space.parse(EVERYTHING if raw is None else raw, constraint)


def problem(raw: dict[str, Any], constraint: Any = None) -> str:
    """The one problem of a space."""
    with pytest.raises(StudyError) as error:
        Space.parse(raw, constraint)
    (only,) = error.value.problems
    return str(only)


# --- domains


@st.composite
def domains(draw: st.DrawFn) -> Domain:
    kind = draw(st.sampled_from(["float", "int", "choice", "normal", "grid"]))
    log = draw(st.booleans())
    if kind == "float":
        q = draw(st.sampled_from([None, 0.1, 0.25, 1.0, 3.0]))
        unit = q or 0.37
        low = draw(st.integers(1 if log else -50, 50))
        high = low + draw(st.integers(1, 100))
        return Float(float(low * unit), float(high * unit), log=log, q=q)
    if kind == "int":
        q = draw(st.integers(1, 7))
        low = draw(st.integers(1 if log else -50, 50)) * q
        return Int(low, low + draw(st.integers(0, 80)) * q, log=log, q=q)
    if kind == "normal":
        return Normal(draw(st.floats(-5, 5)), draw(st.floats(0.1, 10)), draw(st.sampled_from([None, 0.5])))
    if kind == "grid":
        return Grid(tuple(draw(st.lists(st.integers(-20, 20), min_size=1, max_size=8, unique=True))))
    values: list[Any] = [1, 1.0, True, "a", None, [1, 2], "1", 0, False, 0.5]
    return Choice(tuple(draw(st.lists(st.sampled_from(values), min_size=1, max_size=9, unique_by=identity))))


@given(domains(), st.integers(0, 2**32))
@settings(max_examples=150)
def test_a_domain_contains_what_it_draws(domain: Domain, seed: int) -> None:
    assert domain.contains(domain.sample(rng(seed)))


@given(domains(), st.floats(0, 1))
@settings(max_examples=200)
def test_a_value_comes_back_from_the_unit_interval(domain: Domain, u: float) -> None:
    value = domain.from_unit(u)
    unit = domain.to_unit(value)
    assert 0.0 <= unit <= 1.0
    back = domain.from_unit(unit)
    if domain.count is not None:
        assert identity(back) == identity(value)
    else:
        assert math.isclose(back, value, rel_tol=1e-6, abs_tol=1e-6)


@given(domains(), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=150)
def test_ordered_domains_keep_the_order_of_the_unit_interval(domain: Domain, u: float, v: float) -> None:
    if domain.ordered:
        low, high = sorted((u, v))
        assert domain.from_unit(low) <= domain.from_unit(high)


@given(domains())
@settings(max_examples=100)
def test_listed_values_are_distinct_contained_counted_and_all_reachable(domain: Domain) -> None:
    values = domain.values()
    if values is None:
        assert domain.count is None
        return
    assert len({identity(value) for value in values}) == len(values) == domain.count
    assert all(domain.contains(value) for value in values)
    assert all(identity(domain.from_unit(domain.to_unit(value))) == identity(value) for value in values)


@given(domains(), st.integers(1, 12))
@settings(max_examples=100)
def test_a_spread_has_no_repeats_and_reaches_both_ends(domain: Domain, points: int) -> None:
    values = domain.spread(points)
    assert len({identity(value) for value in values}) == len(values) <= points
    assert all(domain.contains(value) for value in values)
    if points > 1 and isinstance(domain, (Float, Int)):
        assert (values[0], values[-1]) == (domain.lower, domain.upper)


@given(domains())
@settings(max_examples=60)
def test_a_description_is_plain_data(domain: Domain) -> None:
    described = domain.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["kind"] in {"float", "int", "choice", "normal", "grid"}


def test_units_outside_the_interval_are_clipped() -> None:
    for domain in (Float(1.0, 2.0), Float(1.0, 2.0, log=True), Int(1, 5), Int(1, 5, log=True), Choice((1, 2))):
        assert domain.contains(domain.from_unit(-0.5))
        assert domain.contains(domain.from_unit(1.5))


@pytest.mark.parametrize(
    ("domain", "value"),
    [
        (Float(0.0, 1.0), 1),
        (Float(0.0, 1.0), True),
        (Float(0.0, 1.0), np.float64(0.5)),
        (Float(0.0, 1.0), float("nan")),
        (Float(0.0, 1.0), "0.5"),
        (Float(0.0, 1.0, q=0.1), 0.25),
        (Int(0, 5), 1.0),
        (Int(0, 5), True),
        (Int(0, 5), np.int64(1)),
        (Int(0, 6, q=2), 3),
        (Choice((1, 2)), 1.0),
        (Choice((0, 2)), False),
        (Choice(("a",)), "b"),
        (Normal(0.0, 1.0), math.inf),
    ],
)
def test_contains_is_exact_about_types(domain: Domain, value: Any) -> None:
    assert not domain.contains(value)


@pytest.mark.parametrize(
    ("domain", "value", "cast"),
    [
        (Float(0.0, 1.0), 1, 1.0),
        (Float(0.0, 1.0), np.float32(0.5), 0.5),
        (Float(0.0, 1.0, q=0.1), 0.1 * 3, 0.3),
        (Int(0, 5), np.int64(3), 3),
        (Choice((1, 2)), 1.0, 1),
        (Choice((1, 1.0, True)), 1.0, 1.0),
        (Choice((1, 1.0, True)), True, True),
        (Choice(([1, 2],)), (1, 2), [1, 2]),
        (Choice((0.5, 1)), np.float64(0.5), 0.5),
    ],
)
def test_cast_gives_the_exact_value_meant(domain: Domain, value: Any, cast: Any) -> None:
    found = domain.cast(value)
    assert found == cast
    assert type(found) is type(cast)


def test_a_grid_of_numbers_is_ordered_by_size_but_listed_as_written() -> None:
    grid = Grid((3, 1, 2))
    assert grid.values() == (3, 1, 2)
    assert [grid.from_unit(u) for u in (0.1, 0.5, 0.9)] == [1, 2, 3]
    assert not Grid(("a", "b")).ordered
    assert not Grid((True, False)).ordered


def test_quantised_floats_have_the_decimals_of_their_step() -> None:
    assert Float(0.0, 1.0, q=0.1).values() == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


# --- against real draws of ray.tune's own domains

RAY = [
    ("uniform", [0.5, 2]), ("quniform", [0, 1, 0.1]), ("quniform", [-1, 1, 0.25]), ("loguniform", [1e-4, 1e-1]),
    ("qloguniform", [0.1, 1, 0.1]), ("randint", [1, 5]), ("randint", [-3, 0]), ("qrandint", [1, 5, 1]),
    ("qrandint", [32, 256, 32]), ("qrandint", [1, 10, 4]), ("qrandint", [0, 10, 3]), ("lograndint", [1, 9]),
    ("qlograndint", [1, 9, 1]), ("qlograndint", [2, 8, 2]), ("qlograndint", [1, 10, 4]), ("randn", [1, 2]),
    ("qrandn", [0, 1, 0.5]), ("choice", [["a", None, 3, True]]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments"), RAY, ids=lambda value: str(value))
def test_a_type_draws_what_rays_type_of_that_name_draws(name: str, arguments: list[Any]) -> None:
    from ray.tune.search import sample

    count = 6000
    theirs = getattr(sample, name)(*arguments).sample(size=count, random_state=rng(1))
    ours_raw = arguments[0] if name == "choice" else arguments
    domain = space({"x": {name: ours_raw}}).parameters[0].domain
    generator = rng(2)
    ours = [domain.sample(generator) for _ in range(count)]
    if domain.count is None and getattr(domain, "q", None) is None:
        quantiles = np.linspace(0.02, 0.98, 25)
        ranks = np.searchsorted(np.sort(np.array(theirs)), np.quantile(ours, quantiles)) / count
        assert np.abs(ranks - quantiles).max() < 0.035
        return
    # repr tells 1 from True; rounding forgives ray's 0.30000000000000004
    a, b = (Counter(round(v, 9) if isinstance(v, float) else repr(v) for v in map(plain, vs)) for vs in (ours, theirs))
    if domain.count is not None:
        assert a.keys() == b.keys()
    assert max(abs(a[v] - b[v]) for v in a.keys() | b.keys()) / count < 0.035


def plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


@pytest.mark.parametrize(
    ("name", "arguments", "values"),
    [
        ("randint", [1, 5], (1, 2, 3, 4)),
        ("qrandint", [1, 5, 1], (1, 2, 3, 4)),
        ("qrandint", [1, 5], (1, 2, 3, 4)),
        ("qrandint", [32, 96, 32], (32, 64, 96)),
        ("qrandint", [1, 10, 4], (4, 8)),
        ("lograndint", [1, 3], (1, 2)),
        ("qlograndint", [2, 6, 2], (2, 4, 6)),
        ("quniform", [0, 0.2, 0.1], (0.0, 0.1, 0.2)),
    ],
)
def test_upper_bounds_are_rays(name: str, arguments: list[Any], values: tuple[Any, ...]) -> None:
    domain = space({"x": {name: arguments}}).parameters[0].domain
    assert domain.values() == values
    assert [type(v) for v in domain.values() or ()] == [type(v) for v in values]


def test_live_ray_domains_are_the_same_as_their_written_form() -> None:
    from ray import tune

    live = {
        "a": tune.uniform(0, 1),
        "b": tune.quniform(0, 1, 0.5),
        "c": tune.loguniform(1e-3, 1),
        "d": tune.qloguniform(0.5, 2, 0.5),
        "e": tune.randint(1, 5),
        "f": tune.qrandint(0, 8, 2),
        "g": tune.lograndint(1, 9),
        "h": tune.qlograndint(2, 8, 2),
        "i": tune.choice(["x", None, (1, 2)]),
        "j": tune.randn(1, 2),
        "k": tune.qrandn(0, 1, 0.5),
        "l": {"m": tune.grid_search([1, 2]), "n": np.int64(3)},
    }
    plain_form = written(live)
    assert plain_form == {
        "a": {"uniform": [0, 1]},
        "b": {"quniform": [0, 1, 0.5]},
        "c": {"loguniform": [1e-3, 1]},
        "d": {"qloguniform": [0.5, 2, 0.5]},
        "e": {"randint": [1, 5]},
        "f": {"qrandint": [0, 8, 2]},
        "g": {"lograndint": [1, 9]},
        "h": {"qlograndint": [2, 8, 2]},
        "i": {"choice": ["x", None, [1, 2]]},
        "j": {"randn": [1.0, 2.0]},
        "k": {"qrandn": [0.0, 1.0, 0.5]},
        "l": {"m": {"grid_search": [1, 2]}, "n": 3},
    }
    assert space(live) == space(plain_form)


def test_what_ray_cannot_write_down_is_refused() -> None:
    from ray import tune

    assert "cannot be written down" in problem({"x": tune.sample_from(lambda config: 1), "y": 1})
    assert "choice between domains" in problem({"x": tune.choice([tune.uniform(0, 1)])})


# --- the forms of a point


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_points_keep_their_value_in_every_form(seed: int) -> None:
    s = space()
    point = s.sample(rng(seed))
    assert s.check(point) == []
    assert s.activate(point) == point
    assert s.point(s.config(point)) == point
    again = s.from_unit(s.to_unit(point))
    assert again.keys() == point.keys()
    for name, value in point.items():
        assert type(again[name]) is type(value)
        assert again[name] == pytest.approx(value, rel=1e-6) if type(value) is float else again[name] == value


@given(st.lists(st.floats(0, 1), min_size=12, max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_corner_of_the_unit_cube_is_a_valid_point(units: list[float]) -> None:
    s = space()
    assert len(s.parameters) == len(units)
    point = s.from_unit(units)
    assert s.check(point) == []
    assert np.array_equal(np.isnan(s.to_unit(point)), [name not in point for name in s.names])


def test_values_are_python_values_never_numpys() -> None:
    s = space()
    generator = rng()
    for _ in range(50):
        for value in s.sample(generator).values():
            assert type(value) in (int, float, str, bool, list, type(None))


def test_a_config_is_nested_has_the_constants_and_lacks_what_is_inactive() -> None:
    s = space({"a": {"b": {"choice": [1, 2]}, "c": {"uniform": [0, 1], "when": "a.b == 2"}, "d": [1]}, "e": {}})
    config = s.config({"a.b": 1})
    assert config == {"a": {"b": 1, "d": [1]}, "e": {}}
    config["a"]["d"].append(2)
    assert s.config({"a.b": 1})["a"]["d"] == [1]


def test_a_config_is_its_owners_to_change() -> None:
    s = space({"layers": {"choice": [[8, 16]]}})
    point = s.sample(rng())
    s.config(point)["layers"].append(32)
    assert s.sample(rng())["layers"] == [8, 16]


def test_keys_tell_values_of_different_types_apart() -> None:
    s = space({"x": {"choice": [1, 1.0, True, "1"]}})
    keys = {s.key({"x": value}) for value in (1, 1.0, True, "1")}
    assert len(keys) == 4
    assert s.key({"a": 1, "b": 2}) == s.key({"b": 2, "a": 1})


def test_the_same_seed_draws_the_same_points() -> None:
    s = space()
    one, other = rng(3), rng(3)
    assert [s.sample(one) for _ in range(5)] == [s.sample(other) for _ in range(5)]


def test_global_random_state_is_neither_used_nor_changed() -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    space().sample(rng())
    assert np.array_equal(before, np.random.get_state()[1])


def test_a_description_is_ready_for_json() -> None:
    described = space().describe()
    assert json.loads(json.dumps(described)) == described
    momentum = next(p for p in described if p["name"] == "optimizer.momentum")
    assert momentum["when"] == "optimizer.name == 'sgd'"


# --- conditions


def test_a_parameter_exists_only_where_its_condition_holds() -> None:
    s = space()
    for seed in range(60):
        point = s.sample(rng(seed))
        assert ("optimizer.momentum" in point) == (point["optimizer.name"] == "sgd")
        assert ("optimizer.nesterov" in point) == (point.get("optimizer.momentum", 0) > 0.7)


def test_a_parameter_comes_after_those_its_condition_names() -> None:
    raw = {"c": {"choice": [1], "when": "b == 1"}, "b": {"choice": [1], "when": "a == 1"}, "a": {"choice": [1]}}
    assert space(raw).names == ("a", "b", "c")
    assert space({"z": {"choice": [1]}, "a": {"choice": [1]}}).names == ("z", "a")


def test_conditions_may_look_at_constants() -> None:
    s = space({"deep": False, "x": {"choice": [1]}, "y": {"uniform": [0, 1], "when": "deep"}})
    assert s.sample(rng()) == {"x": 1}


# --- constraints


def test_samples_and_grids_satisfy_the_constraint() -> None:
    s = space({"a": {"randint": [0, 10]}, "b": {"randint": [0, 10]}}, "a < b")
    generator = rng()
    assert all(p["a"] < p["b"] for p in (s.sample(generator) for _ in range(50)))
    assert s.size() == 45 == len(list(s.enumerate()))
    assert 0.35 < s.feasible_share(rng(), 2000) < 0.55


def test_a_constraint_may_be_a_function_of_the_config() -> None:
    s = space({"m": {"a": {"randint": [0, 4]}}, "c": 2}, lambda config: config["m"]["a"] >= config["c"])
    assert [p["m.a"] for p in s.enumerate()] == [2, 3]


def test_an_empty_space_says_how_small_its_feasible_share_is() -> None:
    s = space({"a": {"uniform": [0, 1]}}, "a > 2")
    with pytest.raises(SpaceExhaustedError, match=r"none of 10000 draws .* 'a > 2'.* below about 0.0003"):
        s.sample(rng())


def test_an_empty_space_points_at_conditions_that_make_comparisons_false() -> None:
    raw = {"o": {"choice": ["a"]}, "m": {"uniform": [0, 1], "when": "o != 'a'"}}
    with pytest.raises(SpaceExhaustedError, match="Where m does not exist, comparisons with it are false"):
        space(raw, "m < 2").sample(rng())


def test_a_constraint_that_fails_is_named_with_the_point() -> None:
    with pytest.raises(StudyError, match=r"constraint: 'a / b > 1' cannot be computed for {'a': .*, 'b': 0}"):
        space({"a": {"choice": [1]}, "b": {"choice": [0]}}, "a / b > 1").sample(rng())
    with pytest.raises(StudyError, match="constraint: raised KeyError: 'z'"):
        space({"a": {"choice": [1]}}, lambda config: config["z"]).sample(rng())


# --- completing and checking


def test_a_partial_point_is_completed_around_what_it_gives() -> None:
    s = space()
    for seed in range(20):
        point = s.complete({"optimizer": {"momentum": 0.8}, "channels": 32}, rng(seed))
        assert point["optimizer.momentum"] == 0.8
        assert point["optimizer.name"] == "sgd"
        assert point["channels"] == 32
        assert s.check(point) == []


def test_a_complete_point_is_taken_as_it_is() -> None:
    s = space({"a": {"uniform": [0, 1]}, "b": {"choice": ["x", "y"]}})
    assert s.complete({"a": 1, "b": "y"}, rng()) == {"a": 1.0, "b": "y"}
    assert type(s.complete({"a": 1}, rng())["a"]) is float


def test_a_completed_point_satisfies_the_constraint() -> None:
    s = space({"a": {"randint": [0, 100]}, "b": {"randint": [0, 100]}}, "a + b == 100")
    assert s.complete({"a": 60}, rng()) == {"a": 60, "b": 40}


def test_constants_may_be_repeated_but_not_changed_in_a_point() -> None:
    s = space({"a": {"choice": [1, 2]}, "c": {"d": 5}})
    assert s.complete({"a": 1, "c": {"d": 5}}, rng()) == {"a": 1}
    (found,) = s.check({"a": 1, "c.d": 6})
    assert str(found) == "c.d: is a constant (5), got 6. Leave it out, or give c.d a range in the space."


@pytest.mark.parametrize(
    ("point", "text"),
    [
        ({"lr": 1}, "lr: must lie between 1e-05 and 0.1, got 1"),
        ({"learning_rat": 1, "l": 1}, "learning_rat: is not a parameter of the space"),
        ({"batchsize": 32}, "batchsize: is not a parameter of the space. Did you mean batch_size?"),
        ({"batch_size": 33}, "batch_size: must be a multiple of 32, got 33"),
        ({"batch_size": 64.0}, "batch_size: must be a whole number, got 64.0. Write 64."),
        ({"channels": 17}, "channels: must be one of 16, 32, 64, got 17"),
        ({"optimizer": {"name": "sdg"}}, "optimizer.name: must be one of 'sgd', 'adamw', None, got 'sdg'. Did you mean sgd?"),
        (
            {"optimizer": {"name": "adamw", "momentum": 0.9}},
            "optimizer.momentum: exists only when optimizer.name == 'sgd', got 0.9. Leave it out.",
        ),
        ({"noise": "x"}, "noise: must be a number, got 'x'"),
    ],
)  # fmt: skip
def test_a_wrong_point_is_explained(point: dict[str, Any], text: str) -> None:
    found = [str(p) for p in space().check(point, partial=True)]
    assert any(text in line for line in found), found
    with pytest.raises(StudyError) as error:
        space().complete(point, rng())
    assert text in str(error.value)


def test_a_whole_point_must_have_every_active_parameter_and_be_feasible() -> None:
    s = space({"a": {"randint": [0, 9]}, "b": {"randint": [0, 9]}}, "a < b")
    assert [str(p) for p in s.check({"a": 1})] == ["b: is missing. Give it a value."]
    assert s.check({"a": 1}, partial=True) == []
    (found,) = s.check({"a": 2, "b": 1})
    assert str(found) == ": does not satisfy the constraint 'a < b', got {'a': 2, 'b': 1}"


def test_a_wrong_value_is_reported_once_and_what_depends_on_it_not_at_all() -> None:
    s = space({"o": {"choice": ["sgd"]}, "m": {"uniform": [0, 1], "when": "o == 'sgd'"}})
    assert len(s.check({"o": "sdg", "m": 0.5})) == 1


def test_values_that_exclude_each_other_are_refused_with_the_conditions() -> None:
    s = space({"a": {"choice": [1, 2]}, "b": {"choice": [1], "when": "a == 1"}, "c": {"choice": [1], "when": "a == 2"}})
    with pytest.raises(StudyError, match=r"no configuration has these values.*b exists only when a == 1"):
        s.complete({"b": 1, "c": 1}, rng())


# --- counting


def test_enumeration_is_distinct_ordered_and_as_long_as_the_size() -> None:
    s = space(FINITE)
    points = list(s.enumerate())
    assert len({s.key(p) for p in points}) == len(points) == s.size() == (1 + 2 * 2) * 3 + 3
    assert points == list(s.enumerate())
    assert points[:2] == [{"a": "x", "b": 0, "c": 0.0}, {"a": "x", "b": 0, "c": 0.5}]
    assert {s.key(p) for p in points} >= {s.key(s.activate(p)) for p in points}


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_the_size_is_the_number_of_points_whatever_the_conditions(data: st.DataObject) -> None:
    raw: dict[str, Any] = {}
    for index in range(data.draw(st.integers(1, 4))):
        raw[f"p{index}"] = {"randint": [0, data.draw(st.integers(1, 4))]}
        if index and data.draw(st.booleans()):
            parent = data.draw(st.integers(0, index - 1))
            raw[f"p{index}"]["when"] = f"p{parent} >= {data.draw(st.integers(0, 3))}"
    s = space(raw, data.draw(st.sampled_from([None, "p0 != 1"])))
    points = list(s.enumerate())
    assert len({s.key(p) for p in points}) == len(points) == s.size()
    assert all(s.check(p) == [] for p in points)


def test_large_spaces_are_counted_without_being_walked() -> None:
    raw = {f"x{i}": {"randint": [0, 10]} for i in range(12)} | {"y": {"choice": [1, 2], "when": "x0 == 0"}}
    assert space(raw).size() == 9 * 10**11 + 2 * 10**11
    assert space(raw, "x0 < 5").size() == 9 * 10**11 + 2 * 10**11
    assert space({"x": {"randint": [0, 10**12]}}).size() == 10**12


def test_a_continuous_space_has_no_size_and_no_grid() -> None:
    s = space({"a": {"uniform": [0, 1]}, "b": {"choice": [1]}})
    assert s.size() is None
    with pytest.raises(StudyError, match=r"space.a: .*a grid needs a number of points. Add points"):
        s.enumerate()


def test_points_spread_over_the_scale_of_the_parameter() -> None:
    s = space({"lr": {"loguniform": [1e-4, 1e-2], "points": 3}, "n": {"randint": [0, 100], "points": 3}})
    assert [p["lr"] for p in s.enumerate()][::3] == pytest.approx([1e-4, 1e-3, 1e-2])
    assert [p["n"] for p in s.enumerate()][:3] == [0, 50, 99]
    assert s.size() == 9


# --- parsing: sections, parameters, and what is wrong


def test_sections_and_parameters_cannot_be_confused() -> None:
    s = space({"a": {"x": {"choice": [1]}, "when_done": 1}, "b": {"choices": 3}, "c": {"betas": [0.9, 0.99]}})
    assert s.names == ("a.x",)
    assert s.constants == {"a.when_done": 1, "b.choices": 3, "c.betas": [0.9, 0.99]}


def test_arguments_may_be_given_by_name() -> None:
    assert space({"x": {"quniform": {"lower": 0, "upper": 1, "q": 0.5}}}) == space({"x": {"quniform": [0, 1, 0.5]}})
    assert "has no argument low. Did you mean lower?" in problem({"x": {"uniform": {"low": 0, "upper": 1}}})
    assert "needs upper" in problem({"x": {"uniform": {"lower": 0}}})


WRONG_SPACES = [
    ({"unifrom": [0, 1]}, "space.x: unifrom is not a type of parameter. Did you mean uniform? As in {uniform: [0, 1]}."),
    ({"log_uniform": [1, 2]}, "space.x: log_uniform is not a type of parameter. Did you mean loguniform? As in {loguniform: [1e-5, 1e-1]}."),
    ({"categorical": ["a"]}, "space.x: categorical is not a type of parameter. Did you mean choice? As in {choice: [a, b]}."),
    ({"uniform": [0, 1], "wen": "y == 1"}, "space.x: unknown key wen beside uniform. Did you mean when? No entry of a section can be called uniform: it is a type."),
    ({"uniform": [0, 1], "choice": [1]}, "space.x: has more than one type: uniform, choice. Keep one."),
    ({"uniform": [1, 0]}, "space.x: uniform: lower must be less than upper, got [1.0, 0.0]. Swap them: [0, 1]."),
    ({"randint": [3, 3]}, "space.x: randint: lower must be less than upper, got [3, 3]. For one value write a constant."),
    ({"uniform": [0]}, "space.x: uniform: takes [lower, upper], got [0]. As in {uniform: [0, 1]}."),
    ({"uniform": [0, 1, 0.1]}, "space.x: uniform: takes [lower, upper], got [0, 1, 0.1]. Did you mean quniform?"),
    ({"uniform": 3}, "space.x: uniform: takes [lower, upper], got 3. As in {uniform: [0, 1]}."),
    ({"uniform": ["a", 1]}, "space.x: uniform: lower must be a finite number, got 'a'"),
    ({"uniform": ["1e-5", 1]}, "space.x: uniform: lower must be a number, got '1e-5'. Leave the quotes out."),
    ({"uniform": [0, math.inf]}, "space.x: uniform: upper must be a finite number, got inf"),
    ({"loguniform": [0, 1]}, "space.x: loguniform: lower must be greater than 0 on a logarithmic scale, got 0.0. Start above 0; if the bounds are exponents, write the numbers themselves (1e-5, not -5)."),
    ({"randint": [0, 1.5]}, "space.x: randint: upper must be a whole number, got 1.5"),
    ({"randint": [0, 2.0]}, "space.x: randint: upper must be a whole number, got 2.0. Write 2."),
    ({"quniform": [0.05, 1, 0.1]}, "space.x: quniform: lower must be a multiple of q=0.1, got 0.05. Use 0 or 0.1."),
    ({"quniform": [0, 1, 0]}, "space.x: quniform: q must be greater than 0, got 0.0"),
    ({"qrandint": [1, 3, 4]}, "space.x: qrandint: there is no multiple of q=4 between 1 and 3. Use a smaller q."),
    ({"choice": []}, "space.x: choice: needs at least one value, got []"),
    ({"choice": "ab"}, "space.x: choice: takes a list of values, got 'ab'. As in {choice: [a, b]}."),
    ({"choice": [1, 2, 1]}, "space.x: choice: lists a value twice, got 1. Leave one out."),
    ({"randn": [0, 0]}, "space.x: randn: sd must be greater than 0, got 0"),
    ({"uniform": [0, 1], "when": True}, "space.x: `when` must be an expression, got True. As in when: \"optimizer == 'sgd'\"."),
    ({"uniform": [0, 1], "when": "y = 1"}, "space.x.when: 'y = 1' is not an expression. Write == to compare."),
    ({"uniform": [0, 1], "when": "z == 1"}, "space.x.when: z is not a parameter or constant of the space. Known: y."),
    ({"uniform": [0, 1], "when": "yy == 1"}, "space.x.when: yy is not a parameter or constant of the space. Did you mean y?"),
    ({"uniform": [0, 1], "when": "y == a"}, "space.x.when: a is not a parameter or constant of the space. A text stands in quotes: 'a'."),
    ({"uniform": [0, 1], "when": "y == 'q'"}, "space.x.when: y is never 'q'. It is one of 'a', 'beta'."),
    ({"uniform": [0, 1], "when": "y in ['a', 'bta']"}, "space.x.when: y is never 'bta'. Did you mean 'beta'?"),
    ({"uniform": [0, 1], "when": "x > 1"}, "space.x.when: x is not a parameter or constant of the space. Known: y."),
    ({"uniform": [0, 1], "points": 0}, "space.x: `points` must be a whole number of at least 1, got 0"),
    ({"choice": [1], "points": 3}, "space.x: `points` is for ranges; a list has its values, got 3. Leave `points` out."),
    ({"when": "y == 1"}, "space.x: `when` belongs to a parameter, not to a section, got 'y == 1'. Write it on each parameter of the section; a constant cannot be conditional."),
    ({"when": "y == 'a'", "z": {"uniform": [0, 1]}}, "space.x: `when` belongs to a parameter, not to a section, got \"y == 'a'\". Write it on each parameter of the section; a constant cannot be conditional."),
    ({"between": [0, 1], "when": "y == 'a'"}, "space.x: between is not a type of parameter. Types: uniform, quniform,"),
    (object, "space.x: a value must be something that a file can hold"),
    ([1, {2: 3}], "space.x: the keys of a mapping must be strings, got 2. Write '2' in quotes."),
]  # fmt: skip


@pytest.mark.parametrize(("declared", "text"), WRONG_SPACES, ids=[str(raw)[:40] for raw, _ in WRONG_SPACES])
def test_a_wrong_declaration_is_named_with_its_rule_value_and_correction(declared: Any, text: str) -> None:
    found = problem({"x": declared, "y": {"choice": ["a", "beta"]}})
    assert found == text if text.endswith((".", "?")) else found.startswith(text)


def test_all_problems_are_listed_at_once() -> None:
    raw = {
        "a": {"unifrom": [0, 1]},
        "b": {"uniform": [1, 0]},
        "c": {"d": {"choice": []}},
        3: 1,
        "e.f": 1,
        "uniform": [0, 1],
    }
    with pytest.raises(StudyError) as error:
        Space.parse(raw, "nope > 1 and")
    assert [p.where for p in error.value.problems] == [
        "space.a", "space.b", "space.c.d", "space.3", "space.e.f", "space.uniform", "constraint",
    ]  # fmt: skip


def test_conditions_in_a_circle_are_refused() -> None:
    raw = {"a": {"choice": [1], "when": "b == 1"}, "b": {"choice": [1], "when": "a == 1"}}
    assert problem(raw) == "space: the conditions of a, b depend on each other. Make one of them unconditional."


def test_names_in_sections_are_written_whole() -> None:
    text = problem({"s": {"o": {"choice": ["a"]}, "m": {"uniform": [0, 1], "when": "o == 'a'"}}})
    assert text.endswith("Write the whole path: s.o.")


def test_constraints_name_known_parameters() -> None:
    assert problem({"lr": {"uniform": [0, 1]}}, "lrr > 1") == (
        "constraint: lrr is not a parameter or constant of the space. Did you mean lr?"
    )


def test_problems_show_values_not_memory_addresses() -> None:
    assert not re.search("0x[0-9a-f]{6}", problem({"x": {"choice": [1, 2, 2]}}))
