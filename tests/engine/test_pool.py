"""The pool as Tune's controller sees it: who starts, what is told, in which order, and what a dead process costs."""

from __future__ import annotations

import pytest

from raytune_suite.engine.tenants import Stage
from tests.engine.scripted import Counter, Request, pool

CPU, GPU = Request(CPU=1), Request(GPU=1)


def test_trials_follow_each_other_in_one_process() -> None:
    _, workers, controller = pool()
    for name in "ab":
        controller.add(name, CPU, steps=2)
    assert controller.run() == ["a starts", "a 1", "a 2", "a left", "b starts", "b 1", "b 2", "b left"]
    assert len(workers.started) == 1
    assert Counter.log == ["made a"]  # b is a, reset


def test_a_trial_of_one_step_is_one_message() -> None:
    made, workers, controller = pool()
    for name in "abcd":
        controller.add(name, CPU)
    controller.run()
    assert workers.messages.count("turn") == 4
    assert workers.messages.count("obey") == 0
    made.next(timeout=0)
    assert workers.messages[-1] == "obey"  # the last one leaves although nobody comes


def test_brisk_trials_ride_together_where_they_may() -> None:
    _, workers, controller = pool(park=True)
    names = [f"t{i}" for i in range(12)]
    for name in names:
        controller.add(name, CPU)
    seen = controller.run()
    assert [line for line in seen if "starts" in line] == [f"{name} starts" for name in names]
    assert [line for line in seen if line.endswith(" 1")] == [f"{name} 1" for name in names]
    assert workers.messages.count("turn") <= 5


def test_no_more_processes_than_there_is_room_for() -> None:
    made, workers, controller = pool(most=2)
    for name in "abcde":
        controller.add(name, CPU, steps=3)
    assert (made.num_pending_actors, made.num_live_actors, made.num_total_actors) == (5, 0, 5)
    most = 0
    while made.num_total_actors:
        made.next(timeout=0)
        most = max(most, made.num_live_actors)
    assert (most, len(workers.started)) == (2, 2)
    assert len(controller.seen) == 5 * 5


def test_a_step_that_fails_is_told_and_the_process_goes_on() -> None:
    _, workers, controller = pool()
    controller.add("a", CPU, fails=1)
    controller.add("b", CPU)
    assert controller.run() == ["a starts", "a failed: RayTaskError(ZeroDivisionError)", "a left", *B]
    assert len(workers.started) == 1
    assert Counter.log == ["made a", "stopped a", "made b"]  # what failed is not reset


B = ["b starts", "b 1", "b left"]


def test_a_trainable_that_cannot_be_made_fails_its_own_trial_only() -> None:
    _, _, controller = pool()
    controller.add("a", CPU, setup="fails")
    controller.add("b", CPU)
    assert controller.run() == ["a starts", "a failed: RayTaskError(ValueError)", "a left", *B]


def test_a_dead_process_costs_its_own_trial_and_is_replaced() -> None:
    made, workers, controller = pool(park=True)
    first = controller.add("a", CPU, steps=3)
    controller.add("b", CPU)
    while first.stage is not Stage.LIVE:
        made.next(timeout=0)
    first.home.depth = 1
    made.next(timeout=0)  # b is parked behind a
    workers.kill(first.home)
    seen = controller.run()
    assert seen == ["a starts", "a 1", "a lost: ActorDiedError", "a failed: ActorDiedError", *B]
    assert made.is_actor_failed(first)
    assert len(workers.started) == 2


@pytest.mark.parametrize("guilty", [0, 2, 4])
def test_trials_that_rode_with_the_one_their_process_died_of_begin_again_unnoticed(guilty: int) -> None:
    made, workers, controller = pool(park=True)
    made.begin(CPU)
    workers.started[0].depth = 5
    tenants = [controller.add(f"t{i}", CPU, **({"kills": 1} if i == guilty else {})) for i in range(6)]
    seen = controller.run()
    for number, tenant in enumerate(tenants):
        told = [line.split(" ", 1)[1] for line in seen if line.startswith(f"t{number} ")]
        lost = ["starts", "lost: ActorDiedError", "failed: ActorDiedError"]
        assert told == (lost if number == guilty else ["starts", "1", "left"])
        assert made.is_actor_failed(tenant) is (number == guilty)
    assert len(workers.started) == 3


def test_a_trial_that_has_been_told_of_shares_no_turn() -> None:
    made, workers, controller = pool(park=True)
    first = controller.add("a", CPU, steps=2, kills=2)
    controller.add("b", CPU)
    while not first.heard:
        made.next(timeout=0)
    first.home.depth = 8
    seen = controller.run()
    assert seen == ["a starts", "a 1", "a lost: ActorDiedError", "a failed: ActorDiedError", *B]
    assert len(workers.started) == 2


def test_a_trial_that_begins_again_can_be_removed_before_it_does() -> None:
    made, workers, controller = pool(park=True)
    made.begin(CPU)
    workers.started[0].depth = 1
    first, other = controller.add("a", CPU), controller.add("b", CPU, kills=1)
    while len(workers.started) < 2:
        made.next(timeout=0)
    assert first.stage is Stage.PENDING
    assert made.num_live_actors == 1
    assert not made.remove_actor(first)
    assert not made.remove_actor(other)
    assert (made.num_live_actors, made.num_total_actors) == (0, 0)


def test_a_trial_removed_in_the_middle_of_a_step_leaves_when_it_is_over() -> None:
    made, workers, controller = pool()
    tenant = controller.add("a", CPU, steps=9)
    while not workers.messages.count("turn"):
        made.next(timeout=0)
    workers.deaf.add(id(tenant.home))
    assert made.remove_actor(tenant)
    assert not made.next(timeout=0)
    assert made.is_actor_started(tracked_actor=tenant)
    workers.deaf.clear()
    made.next(timeout=0)
    assert controller.seen == ["a starts", "a left"]
    assert not made.is_actor_started(tracked_actor=tenant)


def test_a_hanging_trial_can_be_killed_with_its_process() -> None:
    made, workers, controller = pool()
    tenant = controller.add("a", CPU, steps=9)
    controller.add("b", CPU)
    while not workers.messages.count("turn"):
        made.next(timeout=0)
    process = tenant.home
    workers.deaf.add(id(process))
    made.remove_actor(tenant)
    assert made.remove_actor(tenant, kill=True)
    assert controller.run() == ["a starts", "a left", *B]
    assert workers.ended[0] == (process, True)


def test_a_pending_trial_is_removed_without_a_word() -> None:
    made, _, controller = pool()
    tenant = controller.add("a", CPU)
    assert not made.remove_actor(tenant)
    assert controller.run() == []
    with pytest.raises(ValueError, match="Unknown tracked actor"):
        made.remove_actor(tenant)


def test_saving_is_a_call_with_an_answer_of_its_own() -> None:
    made, _, controller = pool()
    tenant = controller.add("a", CPU, steps=9)
    while "a 1" not in controller.seen:
        made.next(timeout=0)
    answers: list[int] = []
    made.clear_actor_task_futures(tenant)
    reference = made.schedule_actor_task(
        tenant, "save", on_result=lambda _, steps: answers.append(steps), _return_future=True
    )
    assert reference is not None
    while not answers:
        made.next(timeout=0)
    assert answers == [tenant.home.handle._tenants[tenant.actor_id].steps]


def test_a_process_is_replaced_after_so_many_trials() -> None:
    _, workers, controller = pool(trials=2)
    for name in "abcde":
        controller.add(name, CPU)
    controller.run()
    assert len(workers.started) == 3
    assert [at_once for _, at_once in workers.ended] == [False, False]


def test_a_process_is_replaced_above_a_limit_of_memory() -> None:
    _, workers, controller = pool(memory=1.0)  # a byte: every process is above it once it has answered
    for name in "abc":
        controller.add(name, CPU)
    controller.run()
    assert len(workers.started) == 3


def test_free_processes_of_one_kind_make_room_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytune_suite.engine.slots._PATIENCE_S", -1.0)
    made, workers, controller = pool()
    controller.add("a", CPU)
    controller.run()
    workers.deaf = {id(process) for process in workers.started}
    controller.add("b", GPU)
    made.next(timeout=0)
    made.next(timeout=0)
    assert workers.ended[0] == (workers.started[0], False)
    assert controller.run()[-3:] == B


def test_processes_left_over_serve_the_next_run() -> None:
    made, workers, controller = pool()
    controller.add("a", CPU)
    controller.run()
    made.cleanup()
    assert Counter.log == ["made a"]
    controller.add("b", CPU)
    controller.run()
    assert len(workers.started) == 1
    made.close()
    assert [at_once for _, at_once in workers.ended] == [False]
