"""The seeds of a study: one number in the file, an independent one for every trial."""

from __future__ import annotations

import hashlib


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of trial ``number``: 31 bits that depend on nothing but the study's seed and the number."""
    digest = hashlib.sha256(f"{study_seed}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
