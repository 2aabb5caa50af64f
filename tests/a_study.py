"""Studies for tests of what decides: a small whole study with some of its fields replaced."""

from __future__ import annotations

from typing import Any

from raytune_suite.study import Study


def a_study(**fields: Any) -> Study:
    """Return a valid study; ``fields`` replace or add top-level fields."""
    whole: dict[str, Any] = {
        "trainable": "package.module:Class",
        "metric": "loss",
        "mode": "min",
        "num_trials": 40,
        "max_iterations": 27,
        "space": {"learning_rate": {"loguniform": [1e-5, 1e-1]}, "momentum": {"uniform": [0.5, 0.99]}},
        "search": "random",
        "name": "test",
    }
    return Study.from_dict({**whole, **fields})
