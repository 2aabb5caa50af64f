"""Contracts for parts written elsewhere: subclass one in a test file, and pytest checks your part.

``SearcherContract`` for searchers, ``TrainableContract`` for trainables. Each is imported when it is asked
for, so that testing a searcher does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raytune_suite.testing.searchers import SearcherContract
    from raytune_suite.testing.trainables import TrainableContract

__all__ = ["SearcherContract", "TrainableContract"]

_WHERE = {
    "SearcherContract": "raytune_suite.testing.searchers",
    "TrainableContract": "raytune_suite.testing.trainables",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
