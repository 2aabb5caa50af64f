"""What ASHA's promotion rule needs, says of a plan, and says of a decision.

Li et al., "A System for Massively Parallel Hyperparameter Tuning", https://arxiv.org/abs/1810.05934, Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raytune_suite.errors import Problem
from raytune_suite.schedulers.core import count, share, trials_of
from raytune_suite.schedulers.rungs import Ladder, Rung, Standing, kept

if TYPE_CHECKING:
    from raytune_suite.study import Study


def check(study: Study, factor: float, rungs: Sequence[int]) -> list[Problem]:
    """Return what cannot work: no checkpoints to resume from, or too few trials for anybody to be promoted."""
    problems = []
    if study.checkpoint.every == 0:
        rule = "must be at least 1 with rule promotion, which pauses trials at their rungs and resumes them later"
        problems.append(Problem("checkpoint.every", rule, 0, "Or use rule stopping."))
    total = trials_of(study)
    if rungs and total is not None and kept(total, factor) == 0:
        rule = (
            f"{count(total, 'trial')} are too few for rule promotion: the best {share(factor)} of them is nobody, so "
            f"none would be trained beyond iteration {rungs[0]}"
        )
        fix = f"Use num_trials {needed(1, factor)} or more, or rule stopping."
        problems.append(Problem("num_trials", rule, total, fix))
    return problems


def needed(rungs: int, factor: float) -> int:
    """Return with how many trials one is sure to be promoted from the last of so many rungs."""
    trials = 1
    for _ in range(rungs):
        trials = next(n for n in range(trials, int(trials * factor) + 3) if kept(n, factor) >= trials)
    return trials


def expected(trials: int, rungs: int, factor: float) -> list[int]:
    """Return how many trials reach each of so many rungs, and then the last iteration, if all come in good order."""
    reach = [trials]
    for _ in range(rungs):
        reach.append(kept(reach[-1], factor))
    return reach


def warning(trials: int, rungs: int, factor: float, last: int) -> list[str]:
    """Return a plan line if there are so few trials that perhaps nobody is trained to the last iteration."""
    if expected(trials, rungs, factor)[-1]:
        return []
    enough = needed(rungs, factor)
    return [f"perhaps no trial is trained to iteration {last}: that takes {enough} trials, or fewer rungs"]


@dataclass(frozen=True)
class Place:
    """Where a trial stands at a rung, in words. ``sign`` is -1 where larger values are better."""

    at: Standing
    rung: Rung
    ladder: Ladder
    sign: float
    bracket: int | None
    factor: float
    last_iteration: int

    def reason(self) -> dict[str, Any]:
        """Return the numbers that were compared, in the user's sign."""
        at = self.at
        return {
            "bracket": self.bracket or 0,
            "rung": self.rung.iteration,
            "score": self.sign * at.entry.loss,
            "cutoff": None if at.cutoff is None else self.sign * at.cutoff,
            "rank": at.rank,
            "kept": at.kept,
            "compared": at.compared,
            "reduction_factor": self.factor,
        }

    def __str__(self) -> str:
        at = self.at
        where = f"rung {self.rung.iteration}" + ("" if self.bracket is None else f" of bracket {self.bracket}")
        place = f"{self.sign * at.entry.loss:.4g} is number {at.rank} of {at.compared} at {where}"
        if at.cutoff is None:
            return f"{place}, too few for anybody to go on (the best {share(self.factor)} do)"
        best, last = (
            ("the best one goes on", "it") if at.kept == 1 else (f"the best {at.kept} go on", "the last of them")
        )
        return f"{place}, {best}" + ("" if at.rank == at.kept else f" ({last} has {self.sign * at.cutoff:.4g})")

    def ahead(self) -> str:
        """Say how far a promoted trial goes."""
        following = self.ladder.after(self.rung)
        return f"it goes on to {f'iteration {self.last_iteration}' if following is None else f'rung {following}'}"
