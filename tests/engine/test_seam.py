"""What the engine relies on in Ray Tune, and what happens where it differs."""

from __future__ import annotations

import importlib

import pytest

from raytune_suite.engine import choice, running, seam
from raytune_suite.engine.pool import Pool
from raytune_suite.errors import PlanError

controller = importlib.import_module(seam.CONTROLLER)


def test_this_version_of_ray_is_as_expected() -> None:
    assert seam.differences() == []


def test_a_method_with_another_parameter_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Changed(getattr(controller, seam.MANAGER)):  # type: ignore[misc]
        def next(self, timeout: float, deadline: float) -> bool:
            return False

    monkeypatch.setattr(controller, seam.MANAGER, Changed)
    assert seam.differences() == ["RayActorManager.next takes timeout deadline, not timeout"]


def test_a_manager_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(controller, seam.MANAGER)
    assert "RayActorManager is not there" in seam.differences()[0]


def test_a_controller_that_asks_for_more_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seam, "USED", seam.USED - {"cleanup"})
    monkeypatch.setattr(seam, "ASKED", seam.ASKED - {"save"})
    assert seam.differences() == [
        "the controller uses cleanup of its manager",
        "the controller calls save of its actors",
    ]


def test_the_pool_has_everything_the_controller_uses() -> None:
    missing = {name for name in seam.USED if not hasattr(Pool, name)}
    assert missing == {"_live_actors_to_ray_actors_resources", "_actor_task_events"}  # an attribute; not supported


def test_tunes_manager_is_back_after_the_run_and_after_an_error() -> None:
    before = getattr(controller, seam.MANAGER)

    def broken() -> None:
        with seam.installed(lambda: "the pool"):
            assert controller.RayActorManager(resource_manager=None) == "the pool"
            raise ValueError("broke off")

    with pytest.raises(ValueError, match="broke off"):
        broken()
    assert getattr(controller, seam.MANAGER) is before


def test_the_engine_is_what_is_asked_for_else_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.VARIABLE, "pool")
    assert choice.choose() == "pool"
    assert choice.choose("tune") == "tune"
    with pytest.raises(PlanError, match="no engine 'pols': choose one of pool, tune"):
        choice.choose("pols")


def test_where_ray_differs_tunes_own_workers_are_used_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(seam, "differences", lambda: ["next takes nothing"])
    monkeypatch.setattr(choice, "_told", set())
    assert choice.choose("pool") == choice.choose("pool") == "tune"
    assert (
        capsys.readouterr().err == "This version of Ray differs (next takes nothing): Ray Tune's own workers are used\n"
    )


def test_when_a_worker_is_replaced_is_a_number_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(running.TRIALS, "50")
    assert running._number(running.TRIALS) == 50
    assert running._number(running.MEMORY) is None
    for wrong in ("0", "-1", "many", "nan"):
        monkeypatch.setenv(running.MEMORY, wrong)
        with pytest.raises(PlanError, match=f"must be a number above 0, not '{wrong}'"):
            running._number(running.MEMORY)
