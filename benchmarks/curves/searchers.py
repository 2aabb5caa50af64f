"""The searchers that are played, each with the same first points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.curves.play import Asked
from benchmarks.curves.table import Table
from benchmarks.curves.tpe import TELLINGS, Tpe
from raytune_suite.search.bayesian import BayesianSearcher
from raytune_suite.search.random import RandomSearcher
from raytune_suite.space import Space

DESIGN = 10
NAMES = ("random", *(f"tpe-{telling}" for telling in TELLINGS), "bayesian")


def design(space: Space, seed: int) -> list[dict[str, Any]]:
    """The points every searcher of one seed begins with: a scrambled Sobol sequence, without repeats."""
    cover = RandomSearcher(space, seed=seed, options={"sampling": "sobol"})
    asked = (cover.ask(number) for number in range(DESIGN))
    return [suggestion.point for suggestion in asked if suggestion is not None]


def make(name: str, table: Table, seed: int, options: Mapping[str, Any]) -> Asked:
    """The searcher of this name; ``options`` are the Bayesian one's.

    That one counts what configurations cost, as in every study that ends by the clock.
    """
    first = design(table.space, seed)
    if name.startswith("tpe-"):
        return Tpe(table.space, seed, first, name.removeprefix("tpe-"), table.iterations)
    settings: dict[str, Any] = {"seed": seed, "num_trials": len(table.points), "max_iterations": table.iterations}
    settings["points_to_evaluate"] = first
    if name == "random":
        return RandomSearcher(table.space, **settings)
    return BayesianSearcher(table.space, **settings, options={"cost_aware": True, **options})
