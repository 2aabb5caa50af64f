"""What other experiments found, as a first guess of the objective.

Each becomes a process of its own on its own scale (its values may be shifted or stretched). Their means, weighted by
how well each orders the trials of this search, are the prior mean of its model, which learns the rest: a stack of
regressors on residuals (Golovin et al., 2017, section 3.3) with weights by agreement, in the spirit of Feurer et al.
(2018), so that an experiment that misleads is soon ignored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau

from raytune_suite.search.encoding import Encoder
from raytune_suite.search.gp import Posterior, fit
from raytune_suite.search.warping import crowding, warp

Array = npt.NDArray[np.float64]

_MOST = 200
_FEWEST = 3
_DOUBT = 4.0
"""An agreement is drawn to one half as if by so many trials."""


class Transfer:
    """The prior mean of a search that other experiments come before.

    Args:
        encoder: of the space.
        sources: (units, losses) of each experiment, shapes (n, parameters) and (n,).
    """

    def __init__(self, encoder: Encoder, sources: Sequence[tuple[Array, Array]]) -> None:
        usable = [(units, losses) for units, losses in sources if len(losses) >= _FEWEST]
        self._models = [_model(encoder, units[-_MOST:], losses[-_MOST:]) for units, losses in usable]

    def __bool__(self) -> bool:
        return bool(self._models)

    def weights(self, features: Array, values: Array) -> Array:
        """How far each experiment is to be believed, given this search's own trials, shape (experiments,)."""
        agreements = [_agreement(model.mean(features), values) for model in self._models]
        every = np.maximum(np.array(agreements), 0.0)
        weights: Array = every / max(float(every.sum()), 1.0)
        return weights

    def mean(self, features: Array, weights: Array) -> Array:
        """The prior mean at rows of features, shape (m,)."""
        total: Array = weights @ np.array([model.mean(features) for model in self._models])
        return total

    def slopes(self, rows: Array, weights: Array) -> tuple[Array, Array]:
        """The prior mean, (m,), and its gradient, (m, columns)."""
        parts = [model.slopes(rows) for model in self._models]
        mean: Array = weights @ np.array([part[0] for part in parts])
        return mean, np.einsum("s,smc->mc", weights, np.array([part[2] for part in parts]))


def _model(encoder: Encoder, units: Array, losses: Array) -> Posterior:
    snapped = encoder.snap(units)
    features = encoder.features(snapped)
    values = warp(losses, crowding(snapped)).values
    return Posterior(fit(features, values, encoder.groups), features, values)


def _agreement(guessed: Array, values: Array) -> float:
    """Kendall's rank correlation, drawn to one half while there are few values."""
    if len(values) < 2 or np.ptp(values) == 0.0 or np.ptp(guessed) == 0.0:
        return 0.5
    tau = float(kendalltau(guessed, values).statistic)
    return (tau * len(values) + 0.5 * _DOUBT) / (len(values) + _DOUBT)
