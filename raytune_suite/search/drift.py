"""How far a training still goes from where it stands, read off those that went further with similar hyperparameters.

Trials that start slowly (a small learning rate, much dropout) overtake others later. How trials moved against each
other from level to level (:mod:`raytune_suite.search.curves`), in units of what was usual there, is modelled as a
function of the hyperparameters by a process of its own; what it predicts for the way that lies ahead of a trial is
added to where the trial stands: the autoregressive model of Kennedy and O'Hagan (2000) for fidelities, with one
discrepancy for all steps.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from raytune_suite.search.curves import Linked
from raytune_suite.search.gp import Posterior, Prior, fit

Array = npt.NDArray[np.float64]

_FEWEST = 4
_OWN = 0.1
"""The part of the variance of moves that counts as known noise: similar trials move alike, and for what they do not
share the model fits a noise of its own. Counted whole was worse on one recorded table and better on another."""
_PRIOR = Prior(signal=(math.log(0.3), 1.0), main=(math.log(0.3), 1.0), noise=(math.log(0.3), 1.0))


def ahead(linked: Linked, features: Array, groups: npt.NDArray[np.intp]) -> tuple[Array, Array]:
    """Losses and variances of whole trainings, each shape (n,), of trials with these features."""
    crossed = ~np.isnan(linked.drift)
    if crossed.sum() < _FEWEST:
        return linked.losses, _OWN * linked.variances
    rows, drift = features[crossed], linked.drift[crossed]
    process = Posterior(fit(rows, drift, groups, _PRIOR, most=80), rows, drift)
    mean, deviation = process.predict(features)
    share = np.clip(deviation**2 + process.kernel.noise, 0.0, 1.0)
    return linked.losses + linked.ahead * mean, _OWN * share * linked.variances
