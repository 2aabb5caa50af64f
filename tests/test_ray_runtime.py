"""What Ray is told, and what it says, around a run."""

from __future__ import annotations

import logging

import pytest
from ray._private import worker

from raytune_suite import ray_runtime
from raytune_suite.errors import PlanError


def test_rays_words_about_dead_workers_go_to_the_log(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    before = worker.print_to_stdstream
    said = {"lines": ["A worker died"], "pid": "raylet", "is_err": False}
    with caplog.at_level(logging.WARNING, "raytune_suite"), ray_runtime._raylet_in_the_log(0):
        worker.print_to_stdstream(said, ignore_prefix=False)
    assert caplog.messages == ["raylet: A worker died"]
    assert capsys.readouterr().out == ""
    assert worker.print_to_stdstream is before


def test_a_verbose_run_shows_rays_own_words() -> None:
    before = worker.print_to_stdstream
    with ray_runtime._raylet_in_the_log(1):
        assert worker.print_to_stdstream is before


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (None, "Ray did not start here .*timed out.*room"),
        ("10.0.0.1:6379", "no Ray to join at 10.0.0.1:6379 .*timed out"),
    ],
)
def test_a_ray_that_does_not_start_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, address: str | None, words: str
) -> None:
    def init(**_: object) -> None:
        raise Exception("The current node\ntimed out during startup.")

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(PlanError, match=words), ray_runtime.connected(address, 0, None, None):
        pass


def test_a_cluster_that_somebody_started_here_is_joined_only_when_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.init", lambda **options: asked.append(options["address"]))
    monkeypatch.setattr("ray.shutdown", lambda: None)  # other tests of this process share a Ray
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    for address in (None, "auto"):
        with ray_runtime.connected(address, -1, None, None):
            pass
    assert asked == ["local", "auto"]
