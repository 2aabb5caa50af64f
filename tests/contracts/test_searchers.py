"""The searchers that must keep the contract; a new one is three lines here."""

from typing import Any

import pytest

from raytune_suite.search.bayesian import BayesianSearcher
from raytune_suite.search.core import Searcher
from raytune_suite.search.grid import GridSearcher
from raytune_suite.search.hyperopt import HyperoptSearcher
from raytune_suite.search.optuna import OptunaCmaEsSearcher, OptunaGPSearcher, OptunaTPESearcher
from raytune_suite.search.random import RandomSearcher
from raytune_suite.space import Space
from raytune_suite.testing import SearcherContract


class TestGrid(SearcherContract):
    unbounded = False

    def make(self, space: Space, **settings: Any) -> Searcher:
        return GridSearcher(space, **settings)


class TestRandom(SearcherContract):
    def make(self, space: Space, **settings: Any) -> Searcher:
        return RandomSearcher(space, **settings)


class TestSobol(SearcherContract):
    def make(self, space: Space, **settings: Any) -> Searcher:
        return RandomSearcher(space, options={"sampling": "sobol"}, **settings)


class TestBayesian(SearcherContract):
    def make(self, space: Space, **settings: Any) -> Searcher:
        return BayesianSearcher(space, options={"initial_points": 4}, **settings)


class TestOptunaTPE(SearcherContract):
    def make(self, space: Space, **settings: Any) -> Searcher:
        return OptunaTPESearcher(space, options={"n_startup_trials": 4}, **settings)


@pytest.mark.slow
class TestOptunaGP(SearcherContract):
    trials = 10

    def make(self, space: Space, **settings: Any) -> Searcher:
        return OptunaGPSearcher(space, options={"n_startup_trials": 4}, **settings)


class TestOptunaCmaEs(SearcherContract):
    rebuilds = False  # it must be told in the order of events

    def make(self, space: Space, **settings: Any) -> Searcher:
        return OptunaCmaEsSearcher(space, **settings)


class TestHyperopt(SearcherContract):
    def make(self, space: Space, **settings: Any) -> Searcher:
        return HyperoptSearcher(space, options={"n_startup_jobs": 4}, **settings)


class TestOptunaThroughRay(SearcherContract):
    rebuilds = False

    def make(self, space: Space, **settings: Any) -> Searcher:
        from ray.tune.search.optuna import OptunaSearch

        from raytune_suite.search.foreign import ForeignSearcher

        return ForeignSearcher(space, searcher=OptunaSearch, **settings)
