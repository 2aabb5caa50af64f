"""Ax (BoTorch) behind the protocol, with the generation strategy it chooses itself.

Conditions are not given: it gets the flat space, and values of parameters that do not exist are ignored.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from protocol import Parameter, Peer, Point, active_only, serve


class Ax(Peer):
    """Ax's client; trials asked for and not completed are pending to it."""

    packages = ("ax-platform", "botorch", "torch")

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        self.client = Client(random_seed=self.seed)
        self.client.configure_experiment(parameters=[declared(p) for p in self.parameters])
        self.client.configure_optimization(objective="-loss")
        self.keys: list[int] = []

    def ask(self, number: int) -> Point | None:
        """The next trial, as values of the space."""
        trials = self.client.get_next_trials(max_trials=1)
        if not trials:
            return None
        ((key, values),) = trials.items()
        self.keys.append(key)
        return active_only(self.parameters, {p.name: value_of(p, values[axname(p.name)]) for p in self.parameters})

    def tell(self, number: int, value: float) -> None:
        """Complete a trial."""
        self.client.complete_trial(trial_index=self.keys[number], raw_data={"loss": value})


def axname(name: str) -> str:
    """Ax forbids dots."""
    return name.replace(".", "__")


def declared(p: Parameter) -> Any:
    """One parameter in Ax's terms."""
    name = axname(p.name)
    if p.kind == "choice":
        values = [str(k) for k in range(len(p.values))]
        return ChoiceParameterConfig(name=name, values=values, parameter_type="str", is_ordered=False)
    if p.steps is not None:
        return RangeParameterConfig(name=name, bounds=(0, p.steps), parameter_type="int")
    scaling = "log" if p.log else None
    bounds = (int(p.lower), int(p.upper)) if p.kind == "int" else (p.lower, p.upper)
    return RangeParameterConfig(name=name, bounds=bounds, parameter_type=p.kind, scaling=scaling)


def value_of(p: Parameter, value: Any) -> Any:
    """A value of Ax as the space has it."""
    if p.kind == "choice":
        return p.values[int(value)]
    if p.steps is not None:
        return p.of_step(int(value))
    return int(value) if p.kind == "int" else float(value)


if __name__ == "__main__":
    serve(Ax)
