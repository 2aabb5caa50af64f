"""Samples drawn at random: distinct, from the whole of the data, and without putting all of it in order."""

from __future__ import annotations

import pytest
import torch

from raytune_suite.trainable.draws import DrawnSampler, drawn


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("length", "samples"), [(1, 1), (10, 10), (10, 3), (100, 1), (100, 24), (1000, 250), (5, 0)])
def test_no_sample_comes_twice_while_there_are_enough(length: int, samples: int) -> None:
    found = drawn(length, samples, generator()).tolist()
    assert len(found) == len(set(found)) == samples
    assert all(0 <= index < length for index in found)


def test_more_samples_than_there_are_come_with_repeats() -> None:
    found = drawn(10, 25, generator()).tolist()
    assert len(found) == 25
    assert set(found) <= set(range(10))


def test_a_few_of_very_many_are_drawn_without_listing_all() -> None:
    assert len(set(drawn(10**15, 512, generator()).tolist())) == 512, "an order of all would take petabytes"


def test_every_place_of_a_pass_is_taken_by_every_sample_as_often() -> None:
    one = generator()
    counts = torch.zeros(3, 20)
    for _ in range(4000):
        counts[torch.arange(3), drawn(20, 3, one)] += 1
    assert counts.min() > 140, "200 are expected, with a deviation of 14"
    assert counts.max() < 260


def test_passes_differ_and_a_generator_put_back_draws_the_same_again() -> None:
    sampler = DrawnSampler(1000, 20, generator())
    state = sampler.generator.get_state()
    first, second = list(sampler), list(sampler)
    assert first != second
    sampler.generator.set_state(state)
    assert [list(sampler), list(sampler)] == [first, second]
    assert len(sampler) == 20
