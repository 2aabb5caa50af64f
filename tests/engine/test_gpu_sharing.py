"""Trials of different shares on the same GPUs: none is over-committed, none idle for long, nobody waits for ever."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytune_suite.engine.reservation import PASSES, emptiest
from raytune_suite.engine.tenants import Process
from raytune_suite.engine.workers import Early
from raytune_suite.shares import CONTEXT, fitting_share
from tests.engine.fake_gpus import GRACE_S, START_S, Study

GPU = 24 * 2**30
LONGEST = 9
TENSORS = st.integers(2**20, GPU - CONTEXT)
TRIALS = st.lists(st.tuples(TENSORS, st.integers(1, LONGEST)), min_size=1, max_size=60)


def share(tensors: int) -> float:
    return fitting_share(tensors + CONTEXT, GPU)


@settings(max_examples=150, deadline=None)
@given(trials=TRIALS, gpus=st.integers(1, 4), seed=st.integers(0, 2**16))
def test_any_mixture_of_trials_ends_without_crowding_idling_or_starving(
    trials: list[tuple[int, int]], gpus: int, seed: int
) -> None:
    study = Study([(share(tensors), seconds) for tensors, seconds in trials], gpus, seed).run()

    assert sorted(study.ended) == list(range(len(trials))), "a trial did not end"
    for _, gpu, together in study.crowded:
        needed = sum(trials[number][0] + CONTEXT for number in together)
        assert needed <= GPU * 1.002, f"GPU {gpu} is over-committed: {needed / GPU:.2f} of its memory"
    assert study.longest_idle <= GRACE_S, "a GPU stood idle although something would have fitted"
    for number, since in study.reserved.items():
        assert study.began[number] - since <= LONGEST + GRACE_S, "room was kept and the trial still starved"


def test_a_whole_gpu_is_had_even_while_small_trials_keep_coming() -> None:
    small = [(0.25, 3.0 + number % 5) for number in range(160)]

    study = Study([*small[:20], (1.0, 5.0), *small[20:]]).run()

    passed = sum(study.began[number] < study.began[20] for number in range(21, 161))
    assert PASSES <= passed <= PASSES + 24, "others may fill the gaps, but not for ever"
    assert study.ended[20] < max(study.ended.values()) / 2


def test_other_gpus_work_on_while_one_is_emptied() -> None:
    small = [(0.25, 3.0 + number % 5) for number in range(80)]
    study = Study([*small[:20], (1.0, 5.0), *small[20:]]).run()

    kept = study.reserved[20], study.began[20]
    assert sum(kept[0] < at <= kept[1] for at in study.began.values()) > 3


def test_free_workers_of_another_size_make_room_although_together_they_leave_enough() -> None:
    study = Study([(0.5, 1.0)] * 8 + [(1.0, 1.0)] * 4).run()

    assert len(study.ended) == 12
    assert study.workers.now < 6 * START_S + 12


def test_trials_of_one_size_fill_every_gpu_and_start_no_more_workers_than_fit() -> None:
    study = Study([(0.25, 4.0)] * 40, gpus=2).run()

    assert study.workers.now == pytest.approx(START_S + 5 * 4.0, abs=1.0)
    assert len(study.pool.processes) == 8


def at(gpu: str, share: float, *, busy: bool, node: str = "a") -> Process:
    tenants: list[object] = [object()] if busy else []
    return Process(Early({"GPU": share}), None, gpus=frozenset({(node, gpu)}), tenants=tenants)  # type: ignore[arg-type]


def test_the_gpu_with_least_to_wait_for_is_emptied() -> None:
    processes = [at("0", 0.5, busy=True), at("0", 0.5, busy=True), at("1", 0.5, busy=True), at("1", 0.5, busy=False)]

    assert emptiest(1.0, processes) == {("a", "1")}
    assert emptiest(0.5, processes) == {("a", "1")}
    assert emptiest(2.0, processes) == {("a", "0"), ("a", "1")}
    assert emptiest(3.0, processes) is None
    assert emptiest(0.0, processes) is None


def test_several_gpus_for_one_trial_are_of_one_node() -> None:
    processes = [at("0", 1, busy=False), at("0", 1, busy=True, node="b"), at("1", 1, busy=True, node="b")]

    assert emptiest(2.0, processes) == {("b", "0"), ("b", "1")}
