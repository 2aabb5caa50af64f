"""HEBO behind the protocol: heteroscedastic evolutionary Bayesian optimisation, winner of the 2020 black-box challenge.

It knows no conditions: it gets the flat space, and values of parameters that do not exist are ignored.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pandas as pd
import torch
from hebo.design_space.design_space import DesignSpace
from hebo.optimizers.hebo import HEBO
from protocol import Parameter, Peer, Point, active_only, serve


class HEBOPeer(Peer):
    """``suggest`` one at a time; points in flight are unknown to it."""

    packages = ("HEBO", "torch")

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        random.seed(self.seed)
        np.random.seed(self.seed)
        torch.manual_seed(self.seed)
        space = DesignSpace().parse([declared(p) for p in self.parameters])
        self.optimizer = HEBO(space, scramble_seed=self.seed)
        self.rows: list[pd.DataFrame] = []

    def ask(self, number: int) -> Point:
        """The next row, as values of the space."""
        row = self.optimizer.suggest(n_suggestions=1)
        self.rows.append(row)
        return active_only(self.parameters, {p.name: value_of(p, row.iloc[0][p.name]) for p in self.parameters})

    def tell(self, number: int, value: float) -> None:
        """Give the loss of a row."""
        self.optimizer.observe(self.rows[number], np.array([[value]]))


def declared(p: Parameter) -> dict[str, Any]:
    """One parameter in HEBO's terms."""
    if p.kind == "choice":
        return {"name": p.name, "type": "cat", "categories": [str(k) for k in range(len(p.values))]}
    if p.steps is not None:
        return {"name": p.name, "type": "int", "lb": 0, "ub": p.steps}
    if p.kind == "int":
        return {"name": p.name, "type": "pow_int" if p.log else "int", "lb": int(p.lower), "ub": int(p.upper)}
    return {"name": p.name, "type": "pow" if p.log else "num", "lb": p.lower, "ub": p.upper}


def value_of(p: Parameter, value: Any) -> Any:
    """A value of HEBO as the space has it."""
    if p.kind == "choice":
        return p.values[int(value)]
    if p.steps is not None:
        return p.of_step(round(value))
    if p.kind == "int":
        return min(int(p.upper), max(int(p.lower), round(value)))
    return min(p.upper, max(p.lower, float(value)))


if __name__ == "__main__":
    serve(HEBOPeer)
