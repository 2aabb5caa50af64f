"""Optuna behind the protocol: ``tpe`` (its default sampler with its defaults) or ``gp`` (GPSampler).

Conditional parameters are Optuna's own define-by-run: only those that exist are suggested. GPSampler models the
parameters all trials share and draws the others at random; TPE models those one by one.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any, ClassVar

import optuna
from protocol import Parameter, Peer, Point, serve


class OptunaPeer(Peer):
    """A study in memory; trials asked for and not told are running trials to the sampler."""

    packages: ClassVar[tuple[str, ...]] = ("optuna",)
    sampler: type[optuna.samplers.BaseSampler]

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore")
        self.study = optuna.create_study(sampler=self.sampler(seed=self.seed))  # type: ignore[call-arg]
        self.trials_asked: list[optuna.Trial] = []

    def ask(self, number: int) -> Point:
        """Suggest what exists, in order."""
        trial = self.study.ask()
        self.trials_asked.append(trial)
        point: Point = {}
        for parameter in self.parameters:
            if parameter.exists(point):
                point[parameter.name] = suggest(trial, parameter)
        return point

    def tell(self, number: int, value: float) -> None:
        """Complete a trial."""
        self.study.tell(self.trials_asked[number], value)


def suggest(trial: optuna.Trial, p: Parameter) -> Any:
    """One value of a trial."""
    if p.kind == "choice":
        return p.values[trial.suggest_categorical(p.name, list(range(len(p.values))))]
    if p.kind == "int":
        return trial.suggest_int(p.name, int(p.lower), int(p.upper), step=int(p.q or 1), log=p.log)
    return trial.suggest_float(p.name, p.lower, p.upper, step=p.q, log=p.log)


class TPE(OptunaPeer):
    """Optuna's default sampler: tree-structured Parzen estimators."""

    sampler = optuna.samplers.TPESampler


class GP(OptunaPeer):
    """Optuna's Gaussian process."""

    packages: ClassVar[tuple[str, ...]] = ("optuna", "torch")
    sampler = optuna.samplers.GPSampler


if __name__ == "__main__":
    serve({"tpe": TPE, "gp": GP}[sys.argv[1]])
