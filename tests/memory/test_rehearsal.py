"""A training step without contents takes what it takes with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from rehearsed import Choosing, Converting, Custom, Reading, Square

from raytune_suite.memory.child import why_not
from raytune_suite.memory.rehearsal import Rehearsal, as_on_a_gpu, rehearse
from raytune_suite.trainable import Context, TorchTrainable

MATRIX = 4 * 64 * 64  # bytes of 64 x 64 float32


def on_cpu(cls: type[TorchTrainable], context: Context, **config: Any) -> Any:
    return rehearse(cls, {"width": 64, "batch_size": 64, **config}, context, on_gpu=False)


def real_peak(cls: type[TorchTrainable], context: Context, config: dict[str, Any]) -> int:
    """What the profiler saw allocated at most in the same step with contents."""
    trial: Any = type("Real", (Rehearsal, cls), {})(config, context)
    data = trial.build_data()
    trial.build_data = lambda: data
    assert all(len(list(loader)) for loader in data.loaders().values())  # read before anything is counted
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        trial.rehearse()
    now = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


def test_parameters_and_optimiser_states_are_told_apart(context: Context) -> None:
    found = on_cpu(Square, context, momentum=0.9)

    assert (found.parameters, found.optimizer) == (MATRIX, MATRIX)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("batch_size", [8, 64])
def test_a_step_without_contents_takes_as_much_as_the_profiler_sees_in_a_real_one(
    context: Context, batch_size: int, momentum: float
) -> None:
    config = {"width": 64, "batch_size": batch_size, "momentum": momentum}

    forecast = rehearse(Square, config, context, on_gpu=False).allocated

    assert abs(forecast - real_peak(Square, context, config)) <= 64  # a few scalars


def test_nothing_is_computed_and_nothing_large_is_allocated(context: Context) -> None:
    found = rehearse(Square, {"width": 64, "batch_size": 8}, context)
    wide = rehearse(Wide, {"width": 64, "batch_size": 8}, context)

    assert wide.allocated > 2**40  # a terabyte, on a machine that has none
    assert found.allocated < 2**20


class Wide(Square):
    """A layer that no machine holds."""

    def build_model(self) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(64, 2**32), torch.nn.Linear(2**32, 64))


def test_repeats_stand_side_by_side(context: Context) -> None:
    once = rehearse(Square, {"width": 512}, context)
    thrice = rehearse(Square, {"width": 512}, context, repeats=3)

    assert thrice.allocated == 3 * once.allocated
    assert thrice.parameters == 3 * once.parameters
    assert once.reserved < thrice.reserved <= 3 * once.reserved


def test_what_the_cuda_allocator_reserves_is_in_whole_segments(context: Context) -> None:
    found = rehearse(Square, {"width": 1024}, context)

    assert found.reserved % 2**21 == 0
    assert found.reserved >= found.allocated


def test_numbers_that_the_code_reads_are_made_up_and_those_that_may_be_sizes_counted(context: Context) -> None:
    found = rehearse(Reading, {"width": 64}, context)

    assert found.read == 2  # the hits of two batches; losses and whether they are NaN are no sizes
    assert found.parameters == MATRIX


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (Choosing, r"an operator whose result's size depends on values: aten.nonzero.* \(rehearsed.py, line \d+\)"),
        (Converting, r"RuntimeError: .*numpy.* \(rehearsed.py, line \d+\)"),
        (Custom, r"raytune_tests.*doubled.* \(rehearsed.py, line \d+\)"),
    ],
)
def test_what_cannot_run_without_contents_is_said_with_its_line(
    context: Context, cls: type[TorchTrainable], words: str
) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever torch raises
        rehearse(cls, {"width": 64}, context)

    assert re.search(words, why_not(raised.value)), why_not(raised.value)


@pytest.mark.parametrize("folder", ["raytune_suite", "torch"])
def test_the_line_is_said_whatever_the_projects_folder_is_called(tmp_path: Path, folder: str) -> None:
    code = compile("\nraise ValueError('seen')", str(tmp_path / folder / "mine.py"), "exec")
    with pytest.raises(ValueError, match="seen") as raised:
        exec(code)

    assert why_not(raised.value) == "ValueError: seen (mine.py, line 2)"


def test_torch_is_as_it_was_afterwards(context: Context) -> None:
    before = torch.nn.Module._apply, torch.nn.functional.dropout
    with as_on_a_gpu(True):
        assert torch.nn.functional.dropout is not before[1]
    rehearse(Square, {"width": 8}, context)

    assert (torch.nn.Module._apply, torch.nn.functional.dropout) == before
    assert torch.zeros(2).sum().item() == 0
