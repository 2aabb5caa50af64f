"""What a task of the comparison is: a space, a loss to minimise, and its noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from raytune_suite.space import Space

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """A loss over a space.

    Attributes:
        name: of the task.
        group: "synthetic", "formula" or "model".
        raw: the space as a study writes it.
        loss: the noise-free loss of a point, smaller is better.
        noise: standard deviation of what a searcher is told around the loss.
        optimum: the least loss where it is known analytically.
    """

    name: str
    group: str
    raw: Mapping[str, Any]
    loss: Callable[[Point], float]
    noise: float = 0.0
    optimum: float | None = None

    @cached_property
    def space(self) -> Space:
        """The parsed space."""
        return Space.parse(self.raw)

    def parameters(self) -> list[dict[str, Any]]:
        """The space as plain data: ``describe()`` with ``when`` as ``[parent, [values that activate]]``."""
        described = self.space.describe()
        values = {p.name: p.values() for p in self.space.parameters}
        for entry, parameter in zip(described, self.space.parameters, strict=True):
            if parameter.when is not None:
                (parent,) = parameter.when.names
                allowed = [v for v in values[parent] or () if parameter.when.evaluate({parent: v})]
                entry["when"] = [parent, allowed]
        return described
