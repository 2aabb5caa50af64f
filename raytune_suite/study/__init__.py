"""Studies: what is to be tuned, read from a file or made in Python, checked whole."""

from __future__ import annotations

from raytune_suite.study.model import Study
from raytune_suite.study.schema import study_schema
from raytune_suite.study.settings import (
    Checkpoint,
    EnvironmentSettings,
    NamedOptions,
    Plateau,
    Resources,
    Retries,
    Stop,
)

__all__ = [
    "Checkpoint",
    "EnvironmentSettings",
    "NamedOptions",
    "Plateau",
    "Resources",
    "Retries",
    "Stop",
    "Study",
    "study_schema",
]
