"""Our engine inside ``bayes_opt``: the package keeps bounds and data, the engine chooses the next point.

The seam is public: an :class:`~bayes_opt.acquisition.AcquisitionFunction` may do in ``suggest`` what it
likes. Importing this module imports bayes_opt, which takes over a second; do it when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from bayes_opt import BayesianOptimization
from bayes_opt.acquisition import AcquisitionFunction

Array = npt.NDArray[np.float64]
Choose = Callable[[Array, Array], Array]


class EngineAcquisition(AcquisitionFunction):  # type: ignore[misc]
    """An acquisition function that answers ``suggest`` with ``choose(rows, losses)``."""

    def __init__(self, choose: Choose) -> None:
        super().__init__()
        self._choose = choose

    def base_acq(self, mean: Array, std: Array) -> Array:
        """A lower confidence bound of the loss, should the package ask for a plain acquisition value."""
        return mean + std

    def get_acquisition_params(self) -> dict[str, Any]:
        """Nothing to save: the engine is a function of the data."""
        return {}

    def set_acquisition_params(self, params: dict[str, Any]) -> None:
        """Nothing to restore."""

    def suggest(self, gp: Any, target_space: Any, *args: Any, **kwargs: Any) -> Array:
        """The engine's choice given the registered data."""
        return self._choose(target_space.params, -target_space.target)


def suggest(names: Sequence[str], rows: Array, losses: Array, choose: Choose) -> Array:
    """Register the data with ``BayesianOptimization`` and let ``choose`` answer its ``suggest``.

    Args:
        names: of the columns, each bounded to [0, 1].
        rows: inputs, shape (n, len(names)); equal rows are merged at their mean loss.
        losses: shape (n,), lower is better (the package maximises and gets the negative).
        choose: from (rows, losses) as registered to the row of the next point.
    """
    optimizer = BayesianOptimization(
        f=None,
        pbounds=dict.fromkeys(names, (0.0, 1.0)),
        acquisition_function=EngineAcquisition(choose),
        random_state=0,
        verbose=0,
    )
    for row, loss in _distinct(rows, losses):
        # the space's register, since the optimizer's also formats its whole history for a log that is off
        optimizer.space.register(row, -loss)
    chosen = optimizer.suggest()
    return np.array([float(chosen[name]) for name in names])


def _distinct(rows: Array, losses: Array) -> list[tuple[Array, float]]:
    """Rows without repeats: the package refuses them, or prints about them."""
    merged: dict[tuple[float, ...], list[float]] = {}
    for row, loss in zip(rows, losses, strict=True):
        merged.setdefault(tuple(row.tolist()), []).append(float(loss))
    return [(np.array(row), float(np.mean(found))) for row, found in merged.items()]
