"""Hyperparameter tuning for PyTorch on Ray Tune.

The names below are all that a user imports. Each is loaded when it is first asked for: ``import raytune_suite`` costs
nothing, and a worker that needs only :class:`TorchTrainable` loads only that.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raytune_suite.analysis import Experiment, load
    from raytune_suite.confirmation import Confirmation, confirm
    from raytune_suite.engine.session import Session
    from raytune_suite.errors import RaytuneError
    from raytune_suite.reproduction import Reproduction, reproduce
    from raytune_suite.resuming import resume, retry
    from raytune_suite.runner import Results, run
    from raytune_suite.states import State
    from raytune_suite.study import Study
    from raytune_suite.trainable import Context, TorchTrainable
    from raytune_suite.tune_trainable import as_tune

__version__ = "0.1.0"
__all__ = [
    "Confirmation",
    "Context",
    "Experiment",
    "RaytuneError",
    "Reproduction",
    "Results",
    "Session",
    "State",
    "Study",
    "TorchTrainable",
    "as_tune",
    "confirm",
    "load",
    "reproduce",
    "resume",
    "retry",
    "run",
]

_HOMES = {
    "Confirmation": "confirmation",
    "Context": "trainable",
    "Experiment": "analysis",
    "RaytuneError": "errors",
    "Reproduction": "reproduction",
    "Results": "runner",
    "Session": "engine.session",
    "State": "states",
    "Study": "study",
    "TorchTrainable": "trainable",
    "as_tune": "tune_trainable",
    "confirm": "confirmation",
    "load": "analysis",
    "reproduce": "reproduction",
    "resume": "resuming",
    "retry": "resuming",
    "run": "runner",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
