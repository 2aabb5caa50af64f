"""Suggestions made in the background: of what a searcher knew, one at a time, and nothing left behind."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from raytune_suite.search.core import Observation, Point, Searcher
from raytune_suite.search.random import RandomSearcher
from raytune_suite.search.suggestions import PROMPT_S, Background, Suggestions
from raytune_suite.space import Space
from raytune_suite.states import State

SPACE = Space.parse({"x": {"uniform": [0, 1]}})


class Slow(Searcher):
    """Suggests the mean of what it knows once it is let, and notes what it is told."""

    name = "slow"
    learns = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(SPACE, **settings)
        self.begun, self.let = threading.Event(), threading.Event()
        self.told: list[int] = []
        self.thread = ""

    def suggest(self, number: int, rng: np.random.Generator) -> Point | None:
        self.thread = threading.current_thread().name
        self.begun.set()
        self.let.wait(10)
        return {"x": float(np.mean([found.value or 0.0 for found in self.observed.values()] or [0.5]))}

    def observe(self, observation: Observation) -> None:
        self.told.append(observation.number)


class Broken(Searcher):
    name = "broken"

    def suggest(self, number: int, rng: np.random.Generator) -> Point | None:
        raise ZeroDivisionError("no observations")


def ended(number: int, x: float, value: float) -> Observation:
    return Observation(number, {"x": x}, value, 1, State.COMPLETED)


@pytest.fixture
def background() -> Iterator[Background]:
    made = Background("searcher-test")
    yield made
    made.close()


def test_what_is_told_while_a_suggestion_is_made_does_not_change_it(background: Background) -> None:
    searcher = Slow()
    suggestions = Suggestions(searcher, background)
    suggestions.tell(ended(0, 0.1, 0.25))
    suggestions.begin(5, seen=3)
    assert searcher.begun.wait(10)
    for number in (1, 2):
        suggestions.tell(ended(number, 0.2 + number / 10, 100.0))
    assert searcher.told == [0]
    searcher.let.set()
    assert suggestions.wait(10)
    made = suggestions.take()
    assert made.suggestion is not None
    assert (made.number, made.seen, made.suggestion.point) == (5, 3, {"x": 0.25})
    assert searcher.told == [0, 1, 2]
    assert searcher.thread == "searcher-test"


def test_the_next_suggestion_knows_the_last_one(background: Background) -> None:
    searcher = RandomSearcher(Space.parse({"x": {"choice": [1, 2, 3]}}), seed=0)
    suggestions = Suggestions(searcher, background)
    given = []
    for number in range(4):
        suggestions.begin(number, 0)
        assert suggestions.wait(10)
        made = suggestions.take().suggestion
        given.append(made and made.point["x"])
    assert sorted(given[:3]) == [1, 2, 3]
    assert given[3] is None


def test_only_one_suggestion_is_made_at_a_time() -> None:
    work: list[Any] = []
    suggestions = Suggestions(RandomSearcher(SPACE), work.append)
    for number in range(3):
        suggestions.begin(number, 0)
    assert len(work) == 1
    assert suggestions.open
    with pytest.raises(RuntimeError, match="no suggestion"):
        suggestions.take()
    work[0]()
    assert suggestions.take().number == 0
    assert not suggestions.open


def test_a_long_wait_ends_when_its_reason_does(background: Background) -> None:
    searcher = Slow()
    suggestions = Suggestions(searcher, background)
    assert not suggestions.wait(10)  # nothing is being made
    suggestions.begin(0, 0)
    looks: list[int] = []
    assert not suggestions.wait(float("inf"), unless=lambda: bool(looks.append(1) or len(looks) > 1))
    searcher.let.set()


def test_a_searcher_that_is_usually_quick_is_waited_for_a_moment(background: Background) -> None:
    suggestions = Suggestions(RandomSearcher(SPACE), background)
    suggestions.begin(0, 0)
    assert suggestions.wait(10)
    suggestions.take()
    assert suggestions.expected_s < PROMPT_S
    begun = threading.Event()
    suggestions.searcher.suggest = lambda number, rng: begun.wait(10) and None  # type: ignore[method-assign]
    suggestions.begin(1, 0)
    threading.Timer(PROMPT_S / 4, begun.set).start()
    assert suggestions.wait(0.0)


def test_an_error_is_handed_over(background: Background) -> None:
    suggestions = Suggestions(Broken(SPACE), background)
    suggestions.begin(0, 0)
    assert suggestions.wait(10)
    assert isinstance(suggestions.take().error, ZeroDivisionError)


def test_no_thread_is_left_behind_and_none_begun_for_nothing() -> None:
    before = threading.active_count()
    unused, used = Background("unused"), Background("used")
    assert threading.active_count() == before
    used(lambda: None)
    assert threading.active_count() == before + 1
    unused.close()
    used.close()
    assert threading.active_count() == before


def test_work_that_does_not_end_is_not_waited_for_without_end(caplog: pytest.LogCaptureFixture) -> None:
    let = threading.Event()
    stuck = Background("stuck")
    stuck(lambda: let.wait(10) and None)
    stuck.close(patience_s=0.01)
    assert "still at work" in caplog.text
    let.set()
    stuck.close()


def test_threads_change_often_during_a_computation_and_as_before_after_it() -> None:
    usual, during = sys.getswitchinterval(), []
    background = Background("quick")
    background(lambda: during.append(sys.getswitchinterval()))
    background.close()
    assert during[0] < usual == sys.getswitchinterval()
