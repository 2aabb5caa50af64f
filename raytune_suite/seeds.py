"""The seeds of a study: one number in the file, an independent one for every trial."""

from __future__ import annotations

import hashlib


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of trial ``number``: 31 bits that depend on nothing but the study's seed and the number."""
    return _seed(f"{study_seed}/{number}")


def repeat_seeds(study_seed: int, repeats: int) -> tuple[int, ...]:
    """The seeds of the repeats of every trial, none where a trial is trained once.

    Repeat r has the same seed in all trials: common random numbers. What a seed does to every configuration alike
    (a split that is hard, a good start) then cancels where two are compared; see Glasserman & Yao, "Some guidelines
    and guarantees for common random numbers", Management Science 38 (1992).
    """
    return tuple(_seed(f"{study_seed}/repeat/{repeat}") for repeat in range(repeats)) if repeats > 1 else ()


def _seed(text: str) -> int:
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
