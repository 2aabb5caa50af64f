"""Every error the suite raises on purpose.

RaytuneError                    anything a caller may want to catch
├── StudyError                  a study (file or object) that is wrong: every problem at once
├── PlanError                   a study that is right but cannot run here (resources, scheduler options)
├── TrainableError              the user's training code cannot be found, imported, or breaks its contract
├── SpaceExhaustedError         no feasible configuration is left, or none can be found
├── ExperimentError             an experiment folder that is missing, taken, or not one
│   └── JournalError            its journal cannot be read or written (version, lock, disk)
├── EnvironmentMismatchError    driver and workers differ under ``environment: {policy: strict}``
├── JobError                    a cluster job could not be submitted, followed or stopped
└── MissingExtraError           an optional dependency is needed: names the extra to install
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class RaytuneError(Exception):
    """Anything that went wrong in a way the suite understands; its text is meant for the user."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a study: where, which rule, the value found, and the way out."""

    where: str
    rule: str
    value: Any = None
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.rule}"
        if self.value is not None:
            text += f", got {self.value!r}"
        return f"{text}. {self.fix}" if self.fix else text


class StudyError(RaytuneError):
    """A study that is wrong. ``problems`` holds all of them, so one edit can mend the file."""

    def __init__(self, problems: Sequence[Problem], source: str = "study") -> None:
        self.problems = tuple(problems)
        self.source = source
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        super().__init__("\n".join([f"{source} has {count}:", *(f"  - {p}" for p in self.problems)]))


class PlanError(RaytuneError):
    """A study that is right but cannot run here."""


class TrainableError(RaytuneError):
    """The user's training code cannot be found, imported, or breaks its contract."""


class SpaceExhaustedError(RaytuneError):
    """No feasible configuration is left, or none can be found."""


class ExperimentError(RaytuneError):
    """An experiment folder that is missing, already taken, or not an experiment."""


class JournalError(ExperimentError):
    """A journal that cannot be read or written."""


class EnvironmentMismatchError(RaytuneError):
    """Driver and workers run different software although the study asks for the same."""


class JobError(RaytuneError):
    """A cluster job could not be submitted, followed or stopped."""


class MissingExtraError(RaytuneError):
    """An optional dependency is missing; the text names the extra that brings it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'raytune-suite[{extra}]'")


def is_all_said(error: BaseException) -> bool:
    """Whether the text of ``error`` says everything: one of ours, in a traceback without any of the user's code."""
    if not isinstance(error, RaytuneError) or error.__cause__ is not None:
        return False
    package = Path(__file__).parent
    files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    return all(file.is_relative_to(package) or "ray" in file.parts for file in files)  # Ray wraps what it calls
