"""SMAC3's facade for hyperparameter optimisation (random forest, log expected improvement) behind the protocol.

Conditions are ConfigSpace's own; quantised parameters, which it no longer has, are integer steps. The scenario is
deterministic, so that each point is evaluated once, as for everyone; everything else is the facade's default.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

from ConfigSpace import (
    CategoricalHyperparameter,
    ConfigurationSpace,
    InCondition,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)
from protocol import Parameter, Peer, Point, serve
from smac import HyperparameterOptimizationFacade, Scenario
from smac.runhistory import TrialInfo, TrialValue


class SMAC(Peer):
    """The facade's ask and tell; it remembers what was asked for and not told."""

    packages = ("smac", "ConfigSpace", "scikit-learn")

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.folder = tempfile.TemporaryDirectory()
        scenario = Scenario(
            declare(self.parameters),
            deterministic=True,
            n_trials=self.trials,
            seed=self.seed,
            output_directory=Path(self.folder.name),
        )
        self.facade = HyperparameterOptimizationFacade(
            scenario, target_function=_never_called, overwrite=True, logging_level=logging.ERROR
        )
        self.asked: list[TrialInfo] = []

    def ask(self, number: int) -> Point | None:
        """The next configuration, as values of the space."""
        try:
            info = self.facade.ask()
        except StopIteration:
            return None
        self.asked.append(info)
        values = dict(info.config)
        return {p.name: value_of(p, values[p.name]) for p in self.parameters if p.name in values}

    def tell(self, number: int, value: float) -> None:
        """Complete a trial."""
        self.facade.tell(self.asked[number], TrialValue(cost=value), save=False)


def _never_called(config: Any, seed: int = 0) -> float:
    del config, seed
    raise RuntimeError("trials are told, not run")


def declare(parameters: list[Parameter]) -> ConfigurationSpace:
    """The space in ConfigSpace's terms."""
    space = ConfigurationSpace()
    made = {p.name: hyperparameter(p) for p in parameters}
    space.add(*made.values())
    by_name = {p.name: p for p in parameters}
    for p in parameters:
        if p.parent is not None:
            values = [encoded(by_name[p.parent], value) for value in p.active]
            space.add(InCondition(made[p.name], made[p.parent], values))
    return space


def hyperparameter(p: Parameter) -> Any:
    """One hyperparameter; choices are the numbers of their values as text."""
    if p.kind == "choice":
        return CategoricalHyperparameter(p.name, [str(k) for k in range(len(p.values))])
    if p.steps is not None:
        return UniformIntegerHyperparameter(p.name, 0, p.steps)
    if p.kind == "int":
        return UniformIntegerHyperparameter(p.name, int(p.lower), int(p.upper), log=p.log)
    return UniformFloatHyperparameter(p.name, p.lower, p.upper, log=p.log)


def encoded(p: Parameter, value: Any) -> Any:
    """A value of the space as ConfigSpace has it."""
    return str(p.values.index(value)) if p.kind == "choice" else value


def value_of(p: Parameter, value: Any) -> Any:
    """A value of ConfigSpace as the space has it."""
    if p.kind == "choice":
        return p.values[int(value)]
    if p.steps is not None:
        return p.of_step(int(value))
    return int(value) if p.kind == "int" else float(value)


if __name__ == "__main__":
    serve(SMAC)
