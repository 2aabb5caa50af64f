"""How often a confirmation's claims are right, in simulated confirmations whose best configuration is known.

    python benchmarks/certainty.py [--rounds 600]

Each round draws true means (normal, ``spread`` wide in units of the noise), effects of five seeds on all of them, and
noise, of one size or of very unequal sizes (log-normal, sigma 0.8); a claim is a probability of at least 0.95.
"""

from __future__ import annotations

import argparse

import numpy as np

from raytune_suite import certainty
from raytune_suite.verdict import CERTAIN

SEEDS = 5
CASES = [(2, 1.0, False), (2, 1.0, True), (6, 1.0, False), (6, 1.0, True), (6, 3.0, False), (6, 3.0, True)]


def play(count: int, spread: float, unequal: bool, rounds: int) -> tuple[int, int]:
    """How many claims were made, and how many of them were right."""
    rng = np.random.default_rng(count)
    claims = right = 0
    for number in range(rounds):
        means = spread * rng.normal(size=count)
        noise = np.exp(0.8 * rng.normal(size=count)) if unequal else np.ones(count)
        values = means[:, None] + rng.normal(size=SEEDS) + noise[:, None] * rng.normal(size=(count, SEEDS))
        best = certainty.posterior(values, "min", number).best
        if best.max() >= CERTAIN:
            claims, right = claims + 1, right + int(best.argmax() == means.argmin())
    return claims, right


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=600)
    rounds = parser.parse_args().rounds
    certainty._CHAINS = 150
    print(f"{'configurations':>14}  {'spread':>6}  {'noise':<7}  {'claims':>6}  {'right':>6}")
    for count, spread, unequal in CASES:
        claims, right = play(count, spread, unequal, rounds)
        noise = "unequal" if unequal else "equal"
        print(
            f"{count:>14}  {spread:>6g}  {noise:<7}  {claims / rounds:>6.0%}  {right / max(claims, 1):>6.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
