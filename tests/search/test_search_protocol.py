"""The base of all searchers, grid and random search: what the contract does not already say."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest, qmc

from raytune_suite.errors import SpaceExhaustedError, StudyError
from raytune_suite.search import Observation, Searcher
from raytune_suite.search.grid import GridSearcher
from raytune_suite.search.random import RandomSearcher, sobol
from raytune_suite.space import Space
from raytune_suite.states import State

SMALL = Space.parse({"a": {"choice": ["p", "q"]}, "b": {"randint": [0, 3]}})


def everything(searcher: Searcher, most: int = 1000) -> list[dict[str, Any]]:
    points = []
    for number in range(most):
        suggestion = searcher.ask(number)
        if suggestion is None:
            break
        points.append(suggestion.point)
    return points


def test_a_grid_walks_in_order_with_the_last_parameter_fastest() -> None:
    points = everything(GridSearcher(SMALL))
    assert [(p["a"], p["b"]) for p in points] == [(a, b) for a in "pq" for b in range(3)]


def test_a_grid_takes_the_default_first_and_not_again() -> None:
    searcher = GridSearcher(SMALL, default={"a": "q", "b": 1})
    points = everything(searcher)
    assert points[0] == {"a": "q", "b": 1}
    assert len(points) == 6 == searcher.total


def test_given_points_outside_the_grid_are_added_to_it() -> None:
    space = Space.parse({"x": {"uniform": [0.0, 1.0], "points": 3}})
    searcher = GridSearcher(space, default={"x": 0.3}, points_to_evaluate=[{"x": 0.5}])
    assert [p["x"] for p in everything(searcher)] == [0.3, 0.5, 0.0, 1.0]
    assert searcher.total == 4


def test_a_grid_skips_inactive_parameters_and_forbidden_points() -> None:
    space = Space.parse(
        {"kind": {"choice": ["flat", "deep"]}, "depth": {"randint": [1, 5], "when": "kind == 'deep'"}},
        "depth != 3 or kind == 'flat'",
    )
    assert everything(GridSearcher(space)) == [
        {"kind": "flat"},
        *({"kind": "deep", "depth": depth} for depth in (1, 2, 4)),
    ]


def test_a_grid_needs_points_for_every_continuous_parameter() -> None:
    space = Space.parse({"x": {"uniform": [0, 1]}, "y": {"loguniform": [1, 10]}, "n": {"randint": [0, 3]}})
    with pytest.raises(StudyError) as error:
        GridSearcher(space)
    assert {problem.where for problem in error.value.problems} == {"space.x", "space.y"}
    assert "points" in str(error.value)


def test_the_points_of_a_parameter_do_not_make_its_space_finite_for_other_searchers() -> None:
    space = Space.parse({"x": {"uniform": [0.0, 1.0], "points": 3}})
    assert RandomSearcher(space).total is None
    assert len({p["x"] for p in everything(RandomSearcher(space, num_trials=20))}) == 20


def test_the_last_points_of_a_finite_space_are_found_by_random_search() -> None:
    space = Space.parse({"a": {"randint": [0, 40]}, "b": {"randint": [0, 40]}}, "a * b % 7 == 3")
    assert len(everything(RandomSearcher(space), 3000)) == space.size()


def test_the_last_points_of_a_wide_space_are_found_too() -> None:
    space = Space.parse({"a": {"randint": [0, 400]}, "b": {"randint": [0, 400]}}, "a < 15 and b == 7")
    assert (space.size() or 0) > 100_000
    searcher = RandomSearcher(space)
    for number in range(14):
        searcher.tell(Observation(number, {"a": number, "b": 7}, 1.0, 1, State.COMPLETED))
    last = searcher.ask(14)
    assert last is not None
    assert last.point == {"a": 14, "b": 7}
    assert searcher.ask(15) is None


def test_a_space_without_a_feasible_point_is_an_error_not_an_end() -> None:
    for domain in ({"uniform": [0.0, 1.0]}, {"randint": [0, 2]}):
        with pytest.raises(SpaceExhaustedError, match="x > 2"):
            RandomSearcher(Space.parse({"x": domain}, "x > 2")).ask(0)


def test_random_draws_follow_the_domains() -> None:
    space = Space.parse({"x": {"uniform": [0.0, 1.0]}, "c": {"choice": ["a", "b"]}})
    points = everything(RandomSearcher(space, num_trials=300))
    assert kstest([p["x"] for p in points], "uniform").pvalue > 0.01
    assert 110 < sum(p["c"] == "a" for p in points) < 190


def test_sobol_points_cover_the_space_more_evenly_than_draws() -> None:
    space = Space.parse({"x": {"uniform": [0.0, 1.0]}, "y": {"uniform": [0.0, 1.0]}})

    def discrepancy(sampling: str) -> float:
        points = everything(RandomSearcher(space, num_trials=64, options={"sampling": sampling}))
        return float(qmc.discrepancy([[p["x"], p["y"]] for p in points]))

    assert discrepancy("sobol") < 0.3 * discrepancy("uniform")


def test_longer_sobol_sequences_begin_like_shorter_ones() -> None:
    assert np.array_equal(sobol(100, 3, 5)[:20], sobol(20, 3, 5))
    assert not np.array_equal(sobol(20, 3, 5), sobol(20, 3, 6))


def test_trials_differ_and_do_not_depend_on_the_order_of_asking() -> None:
    forward = [RandomSearcher(SMALL, seed=1).ask(number) for number in (4, 2)]
    searcher = RandomSearcher(SMALL, seed=1)
    assert searcher.ask(2) == forward[1]


def test_unknown_options_are_refused_with_a_correction() -> None:
    with pytest.raises(StudyError, match=r"search\.samplin: random has no such option.*Did you mean sampling"):
        RandomSearcher(SMALL, options={"samplin": "sobol"})


def test_wrong_option_values_are_refused_with_the_rule() -> None:
    with pytest.raises(StudyError, match=r"search\.sampling.*uniform.*sobol"):
        RandomSearcher(SMALL, options={"sampling": "halton"})


def test_all_problems_of_given_points_are_listed_at_once() -> None:
    with pytest.raises(StudyError) as error:
        RandomSearcher(SMALL, default={"a": "z"}, points_to_evaluate=[{"b": 1}, {"c": 1, "b": 9}])
    assert [problem.where for problem in error.value.problems] == [
        "default: a",
        "points_to_evaluate[1]: c",
        "points_to_evaluate[1]: b",
    ]


def test_a_given_point_that_repeats_an_earlier_one_is_replaced() -> None:
    searcher = RandomSearcher(SMALL, default={"a": "p", "b": 0}, points_to_evaluate=[{"a": "p", "b": 0}])
    first, second = searcher.ask(0), searcher.ask(1)
    assert first is not None
    assert second is not None
    assert second.point != first.point
    assert second.origin == "random"


def test_trials_are_pending_until_they_end_and_again_when_retried() -> None:
    searcher = RandomSearcher(SMALL)
    suggestion = searcher.ask(0)
    assert suggestion is not None

    def tell(state: State) -> list[int]:
        searcher.tell(Observation(0, suggestion.point, 1.0, 1, state))
        return list(searcher.pending)

    assert list(searcher.pending) == [0]
    assert tell(State.RUNNING) == [0]
    assert tell(State.OOM) == []
    assert tell(State.RUNNING) == []
    assert tell(State.PENDING) == [0]
    assert tell(State.COMPLETED) == []
    assert searcher.observed[0].state is State.COMPLETED
