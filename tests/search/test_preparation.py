"""When a searcher imports, and what the garbage collector is told of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from raytune_suite.search.core import Point, Searcher
from raytune_suite.search.preparation import Preparation
from raytune_suite.space import Space


class Importing(Searcher):
    name = "importing"
    learns = True
    prepared = 0

    def suggest(self, number: int, rng: np.random.Generator) -> Point | None:
        return self.space.sample(rng)

    def prepare(self) -> None:
        self.prepared += 1


class Plain(Importing):
    learns = False


@pytest.fixture
def unfrozen() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def preparation(kind: type[Importing]) -> tuple[Preparation, Any]:
    searcher = kind(Space.parse({"x": {"uniform": [0, 1]}}))
    return Preparation(searcher), searcher


def test_imports_begin_with_the_first_report_and_once() -> None:
    made, searcher = preparation(Importing)
    for event, expected in (("trial", 0), ("report", 1), ("report", 1)):
        made({"event": event})
        made.wait()
        assert searcher.prepared == expected
    made.close()


@pytest.mark.usefixtures("unfrozen")
@pytest.mark.parametrize(("kind", "kept"), [(Importing, True), (Plain, False)])
def test_what_a_learning_searcher_imported_is_kept_from_the_collector_for_the_run(
    kind: type[Importing], kept: bool
) -> None:
    made, _ = preparation(kind)
    made({"event": "report"})
    made.wait()
    assert (gc.get_freeze_count() > 0) is kept
    made.close()
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("unfrozen")
def test_what_others_have_kept_from_the_collector_stays_so() -> None:
    gc.freeze()
    made, _ = preparation(Importing)
    made({"event": "report"})
    made.close()
    assert gc.get_freeze_count() > 0


def test_a_run_without_reports_imports_nothing() -> None:
    made, searcher = preparation(Importing)
    made.close()
    assert searcher.prepared == 0
