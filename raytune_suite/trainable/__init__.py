"""What a user writes training code on: :class:`TorchTrainable`, and what it hands around. Imports no Ray.

torch itself is imported when the first trainable is built, so that a worker hosting something else stays small.
"""

from __future__ import annotations

from raytune_suite.trainable.averaging import Mean
from raytune_suite.trainable.base import TorchTrainable
from raytune_suite.trainable.context import Context
from raytune_suite.trainable.data import ArrayLoader, Data
from raytune_suite.trainable.device import is_out_of_memory

__all__ = ["ArrayLoader", "Context", "Data", "Mean", "TorchTrainable", "is_out_of_memory"]
