"""Seeds for schedulers: one stream per trial and moment, so that no order of events changes a draw."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

BRACKETS, MUTATIONS = 1, 2


def stream(seed: int, purpose: int, trial_id: str, moment: int = 0) -> np.random.SeedSequence:
    """Return the seed of what one trial draws for one purpose at one moment (its iteration)."""
    number = int(trial_id) if trial_id.isdecimal() else zlib.crc32(trial_id.encode())
    # Two more words than a searcher's spawn key (number,), so the streams never coincide.
    return np.random.SeedSequence(seed, spawn_key=(number, purpose, moment))


def drawn_bracket(seed: int, trial_id: str, weights: Sequence[float]) -> int:
    """Return a trial's bracket, drawn with these probabilities from the study's seed and the trial alone."""
    rng = np.random.default_rng(stream(seed, BRACKETS, trial_id))
    return int(rng.choice(len(weights), p=weights))


@contextmanager
def global_state(seeds: np.random.SeedSequence) -> Iterator[None]:
    """Seed ``random`` and ``numpy.random`` for the block and give back the state the process had.

    For code of Ray's that draws from the global generators and takes no other.
    """
    python, legacy = random.getstate(), np.random.get_state()
    words = seeds.generate_state(4)
    try:
        random.seed(int(words[0]) << 32 | int(words[1]))
        np.random.seed(words[2:])
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
