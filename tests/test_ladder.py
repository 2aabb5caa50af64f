"""What a trial that ran out of memory is given next."""

from __future__ import annotations

import pytest

from raytune_suite.failures import HOST_MEMORY, Failure
from raytune_suite.ladder import beyond, climb
from raytune_suite.live import Given
from raytune_suite.resources import Request
from raytune_suite.states import State

GIB = 2**30


def cuda(divisible: int = 0) -> Failure:
    return Failure(State.OOM, "OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB", "", divisible)


def host(divisible: int = 0) -> Failure:
    return Failure(State.OOM, HOST_MEMORY, "Ray killed the worker", "", divisible)


def way(needs: Request, failure: Failure, most: float = 0.0) -> list[tuple[str, dict[str, float]]]:
    """All steps a trial is led through that fails in the same way each time, its pieces shrinking as they should."""
    given, steps, divisible = Given(), [], failure.divisible
    while True:
        now = Failure(failure.state, failure.kind, failure.message, "", -(-divisible // given.split))
        step = climb(beyond(needs, given), given, now, most)
        if step is None:
            return steps
        given = step.given
        steps.append((step.name, given.as_dict()))


@pytest.mark.parametrize(
    ("share", "shares"), [(0.25, [0.5, 1.0]), (0.1, [0.2, 0.4, 0.8, 1.0]), (0.3333, [0.6666, 1.0]), (1, []), (2, [])]
)
def test_a_share_grows_until_the_trial_is_alone(share: float, shares: list[float]) -> None:
    steps = [given["gpu"] for name, given in way(Request(gpu=share), cuda(4)) if name in ("share", "alone")]
    assert steps == shares


def test_batches_are_cut_only_when_the_trial_is_alone_and_until_a_piece_is_one_sample() -> None:
    names = [(name, given.get("split", 1)) for name, given in way(Request(gpu=0.5), cuda(6))]
    assert names == [("alone", 1), ("micro_batch", 2), ("micro_batch", 4), ("micro_batch", 8)]


def test_a_trainable_that_cannot_cut_its_batches_ends_alone() -> None:
    assert [name for name, _ in way(Request(gpu=0.5), cuda())] == ["alone"]


def test_what_cannot_be_given_more_is_tried_once_again() -> None:
    assert way(Request(gpu=1), cuda()) == [("again", {"again": 1})]
    assert way(Request(), host()) == [("again", {"again": 1})]


def test_a_budget_of_main_memory_is_doubled_up_to_the_largest_machine() -> None:
    needs = Request(custom={"memory": 3.0 * GIB})
    steps = way(needs, host(), most=10 * GIB)
    assert steps == [("memory", {"memory": 6 * GIB}), ("memory", {"memory": 10 * GIB})]


def test_main_memory_that_ran_out_beside_a_gpu_does_not_buy_a_larger_share() -> None:
    torch_on_cpu = Failure(State.OOM, "RuntimeError", "[enforce fail] DefaultCPUAllocator: not enough memory", "")
    step = climb(Request(gpu=0.25), Given(), torch_on_cpu)
    assert step is not None
    assert step.given == Given(again=1)
    assert beyond(Request(gpu=0.25), step.given) == Request(gpu=0.25)


def test_a_step_says_what_it_does() -> None:
    texts = []
    for had, given, failure in (
        (Request(gpu=0.25), Given(), cuda()),
        (Request(gpu=0.6), Given(gpu=0.6), cuda()),
        (Request(gpu=1), Given(gpu=1), cuda(33)),
    ):
        step = climb(had, given, failure)
        assert step is not None
        texts.append(step.text)
    assert texts == [
        "with 0.5 of a GPU instead of 0.25",
        "alone on a GPU instead of with 0.6 of it",
        "with batches computed in 2 pieces (of 17 samples at most), their gradients accumulated",
    ]
