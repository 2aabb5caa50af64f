"""What is done for a trial that ran out of memory: the next step of a ladder, until there is none.

On a GPU: a share twice as large, up to a whole GPU, where it is alone; then batches computed in smaller pieces, whose
gradients are accumulated, if the trainable can. In main memory: twice the budget, up to all that a machine has; then
smaller pieces. What cannot be given more is started once again as it was, in a fresh process: memory may have been
taken by somebody else. A trial that has come to the end of the ladder has state ``oom``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from raytune_suite.failures import HOST_MEMORY, Failure
from raytune_suite.live import Given
from raytune_suite.resources import MEMORY, Request
from raytune_suite.shares import gib

_ON_HOST = ("MemoryError", HOST_MEMORY)


@dataclass(frozen=True)
class Step:
    """One step up: its name, what the trial is given from now on, and both in words."""

    name: str
    given: Given
    text: str


def climb(had: Request, given: Given, failure: Failure, most_memory: float = 0.0) -> Step | None:
    """The next step for a trial that asked for ``had``; None at the end of the ladder.

    ``given`` is what earlier steps gave, ``most_memory`` the bytes of the machine that has most.
    """
    steps = _in_main_memory(had, given, most_memory) if is_on_host(had, failure) else _on_gpu(had, given)
    return next((step for found in (steps, _smaller_pieces(given, failure), _again(given)) for step in found), None)


def beyond(needs: Request, given: Given) -> Request:
    """A study's request, with what a trial was given in the place of its amounts."""
    if given.gpu is not None:
        needs = replace(needs, gpu=given.gpu)
    if given.memory is not None:
        needs = replace(needs, custom={**needs.custom, MEMORY: float(given.memory)})
    return needs


def is_on_host(had: Request, failure: Failure) -> bool:
    """Whether it was main memory that ran out."""
    if not had.gpu or failure.kind in _ON_HOST:
        return True
    return "cpu" in failure.message.lower() and "cuda" not in failure.message.lower()


def _on_gpu(had: Request, given: Given) -> Iterator[Step]:
    if had.gpu < 0.5:
        share = 2 * had.gpu
        yield Step("share", replace(given, gpu=share), f"with {share:g} of a GPU instead of {had.gpu:g}")
    elif had.gpu < 1:
        yield Step("alone", replace(given, gpu=1.0), f"alone on a GPU instead of with {had.gpu:g} of it")


def _in_main_memory(had: Request, given: Given, most: float) -> Iterator[Step]:
    budget = had.custom.get(MEMORY, 0)
    if 0 < budget < most:
        larger = int(min(2 * budget, most))
        text = f"with {gib(larger)} of main memory instead of {gib(budget)}"
        yield Step("memory", replace(given, memory=larger), text)


def _smaller_pieces(given: Given, failure: Failure) -> Iterator[Step]:
    if failure.divisible > 1:
        split = 2 * given.split
        pieces = -(-failure.divisible // 2)
        text = f"with batches computed in {split} pieces (of {pieces} samples at most), their gradients accumulated"
        yield Step("micro_batch", replace(given, split=split), text)


def _again(given: Given) -> Iterator[Step]:
    if not given.again and given == Given():
        yield Step("again", replace(given, again=1), "as it was, in a fresh process")
