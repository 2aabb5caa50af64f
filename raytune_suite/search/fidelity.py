"""Trainings of all lengths in one model, which is asked what whole ones would give.

A configuration's loss after so many iterations is a function of both. One Gaussian process learns it from every trial,
as far as each has come, with the logarithm of the iterations as one more input (as in Fabolas: Klein et al., 2017,
https://arxiv.org/abs/1605.07079): stopped and running trials tell how configurations begin, the few that went on how
they end, and what is proposed is judged by where it would end. Nobody's early value is taken for a final one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raytune_suite.search.gp import Kernel, Posterior

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Whole:
    """A process over (configuration, budget) as one over configurations, at the budget that is asked about.

    Attributes:
        process: over features with the budget as their last column.
        budget: of the trainings that are foreseen.
    """

    process: Posterior
    budget: float

    @property
    def kernel(self) -> Kernel:
        """The kernel of the whole process."""
        return self.process.kernel

    def believe(self, features: Array) -> Whole:
        """As if whole trainings at these rows had come out as foreseen."""
        return Whole(self.process.believe(self._rows(features)), self.budget)

    def mean(self, features: Array) -> Array:
        """The mean at rows, shape (m,)."""
        return self.process.mean(self._rows(features))

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Mean and standard deviation at rows, each of shape (m,)."""
        return self.process.predict(self._rows(features))

    def slopes(self, features: Array) -> tuple[Array, Array, Array, Array]:
        """Mean and standard deviation at rows, (m,), and their gradients in the features, (m, columns)."""
        mean, deviation, d_mean, d_deviation = self.process.slopes(self._rows(features))
        return mean, deviation, d_mean[:, :-1], d_deviation[:, :-1]

    def _rows(self, features: Array) -> Array:
        return np.column_stack([features, np.full(len(features), self.budget)])
