"""What Tune's controller is made to do while a slot waits for its suggestion."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

from ray.tune.execution.tune_controller import TuneController
from ray.tune.utils.object_cache import _ObjectCache

from raytune_suite.controller import LOOK_S, Waiting


class Manager:
    """Notes for how long it is to wait."""

    def __init__(self) -> None:
        self.waited: list[float | None] = []

    def next(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout)
        return False


class Waiter:
    """As much of a trial as matters here."""

    PENDING = "PENDING"

    def __init__(self, request: str, status: str = "RUNNING") -> None:
        self.placement_group_factory, self.status = request, status


def controller() -> Any:
    cache = _ObjectCache(may_keep_one=True)
    return SimpleNamespace(_actor_manager=Manager(), _actor_cache=cache, _resources_to_pending_trials=defaultdict(set))


def test_the_workers_of_slots_that_wait_are_kept_and_no_others() -> None:
    made, waiting = controller(), Waiting()
    waiting.attach(SimpleNamespace(_tune_controller=made))
    cache = made._actor_cache
    assert [cache.cache_object("cpu", worker) for worker in "ab"] == [True, False]  # Tune by itself keeps one
    trials = [Waiter("cpu"), Waiter("gpu")]
    waiting.on(trials, slots=3)
    assert [cache.cache_object("cpu", worker) for worker in "cde"] == [True, True, False]
    waiting.on(trials[1:], slots=3)  # the trial ended, its worker is idle
    waiting.on([], slots=3)
    assert cache.cache_object("gpu", "f")
    assert list(cache.flush_cached_objects()) == []
    waiting.off()
    assert cache.total_max_objects == 0
    assert len(list(cache.flush_cached_objects())) == 3


def test_a_trial_whose_own_worker_is_starting_takes_no_other_meanwhile() -> None:
    made, waiting = controller(), Waiting()
    takers = made._resources_to_pending_trials
    trials = [Waiter("cpu", "PENDING"), Waiter("cpu", "PENDING"), Waiter("cpu")]
    takers["cpu"].update(trials[:2])
    waiting.attach(made)
    waiting.on(trials, 3)
    assert takers["cpu"] == set()
    trials[0].status = "RUNNING"
    waiting.off()
    assert takers["cpu"] == {trials[1]}


def test_the_controller_looks_often_only_while_a_slot_waits() -> None:
    made, waiting = controller(), Waiting()
    waiting.attach(made)
    waiting.attach(controller())  # the first counts
    made._actor_manager.next(timeout=0.1)
    waiting.on([], 1)
    for timeout in (0.1, 0.001, None):
        made._actor_manager.next(timeout=timeout)
    waiting.off()
    made._actor_manager.next(timeout=0.1)
    assert made._actor_manager.waited == [0.1, LOOK_S, 0.001, None, 0.1]


def test_a_controller_without_these_attributes_is_left_alone() -> None:
    waiting = Waiting()
    waiting.on([Waiter("cpu")], 1)  # before there is one
    waiting.attach(SimpleNamespace())
    waiting.on([Waiter("cpu", "PENDING")], 1)
    waiting.off()


def test_this_version_of_ray_has_what_is_used() -> None:
    source = TuneController.__init__.__code__.co_names
    assert {"_actor_cache", "_actor_manager", "_resources_to_pending_trials"} <= set(source)
