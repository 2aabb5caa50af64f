"""What Ray is told, and what it says, around a run."""

from __future__ import annotations

import logging

import pytest
from ray._private import worker

from raytune_suite import ray_runtime


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
