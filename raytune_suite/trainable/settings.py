"""What the base class does only if asked: class attributes, which constants or parameters of a study override."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from raytune_suite.errors import Problem, TrainableError


class Settings:
    """The settings of a trainable. A top-level key of the configuration with the same name wins."""

    max_grad_norm: float | None = None
    """Clip gradients to this Euclidean norm, over all parameters of ``model``."""
    amp: bool | str = False
    """Mixed precision: True for what the device does best, or ``float16`` or ``bfloat16``."""
    compile: bool = False
    """``torch.compile`` the model."""
    deterministic: bool = False
    """Ask torch for deterministic algorithms; it warns where there is none."""
    epochs_per_step: int = 1
    """Epochs between two reports."""
    schedule_every: str = "epoch"
    """Step the learning-rate schedule every ``epoch`` or every ``batch``."""
    processes: int | None = None
    """Train in so many processes on one machine, each with its part of every batch; by default one for each GPU."""
    micro_batch: int | None = None
    """Compute a batch in pieces of at most so many samples and accumulate their gradients: one step of the optimiser
    a batch, as without it, in less memory."""

    def apply(self, config: Mapping[str, Any]) -> None:
        """Take the settings out of ``config``; raises :class:`TrainableError` naming a wrong one."""
        for name, (valid, rule) in _RULES.items():
            value = config.get(name, getattr(type(self), name))
            if not valid(value):
                raise TrainableError(str(Problem(name, f"must be {rule}", value)))
            setattr(self, name, value)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_grad_norm": (
        lambda v: v is None or (isinstance(v, (int, float)) and not isinstance(v, bool) and v > 0),
        "a positive number or null",
    ),
    "amp": (lambda v: _flag(v) or v in ("float16", "bfloat16"), "true, false, float16 or bfloat16"),
    "compile": (_flag, "true or false"),
    "deterministic": (_flag, "true or false"),
    "epochs_per_step": (lambda v: isinstance(v, int) and not _flag(v) and v >= 1, "a whole number from 1"),
    "schedule_every": (lambda v: v in ("epoch", "batch"), "epoch or batch"),
    "processes": (lambda v: v is None or (isinstance(v, int) and not _flag(v) and v >= 1), "a whole number from 1"),
    "micro_batch": (lambda v: v is None or (isinstance(v, int) and not _flag(v) and v >= 1), "a whole number from 1"),
}
