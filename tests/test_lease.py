"""Two machines never work on one experiment in remote storage at a time."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raytune_suite import lease
from raytune_suite.errors import ExperimentError
from raytune_suite.lease import Lease, LeaseLostError, held
from raytune_suite.remote import Remote

pytestmark = pytest.mark.usefixtures("quick_lease")


class Elsewhere:
    """A driver on another machine, which lives until it is told to die."""

    def __init__(self, uri: str, *, beats: bool = True) -> None:
        self.remote, self.dead = Remote(uri), threading.Event()
        self.held: dict[str, Any] = {"name": "process 7 on elsewhere", "token": "theirs", "process": ["their", 7, "1"]}
        self.remote.put(lease.FILE, json.dumps(self.held).encode())
        self.thread = threading.Thread(target=self._beat)
        if beats:
            self.thread.start()

    def _beat(self) -> None:
        while not self.dead.wait(0.05):
            self.remote.put(lease.FILE, json.dumps(self.held).encode())

    def die(self) -> None:
        self.dead.set()
        self.thread.join()


@pytest.fixture
def elsewhere(uri: str) -> Iterator[Elsewhere]:
    driver = Elsewhere(uri)
    yield driver
    driver.die()


def test_a_driver_that_lives_is_named_with_the_way_out(elsewhere: Elsewhere, uri: str) -> None:
    said: list[str] = []
    with (
        pytest.raises(ExperimentError, match=r"in use by process 7 on elsewhere.* stop it there"),
        held(uri, said.append),
    ):
        pass
    assert "waiting for a sign of life" in said[0]
    assert json.loads(Remote(uri).get(lease.FILE))["token"] == "theirs"


def test_a_driver_that_falls_silent_is_taken_to_be_dead(uri: str) -> None:
    Elsewhere(uri, beats=False)
    begun = time.monotonic()
    with held(uri) as mine:
        assert mine is not None
        mine.check()
    assert time.monotonic() - begun > 0.3
    assert Remote(uri).names() == []


def test_a_process_of_this_machine_is_believed_dead_when_it_is(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SILENT_S", 3600.0)
    code = f"from raytune_suite.lease import Lease; import os; Lease({uri!r}, print); os._exit(9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert json.loads(Remote(uri).get(lease.FILE))["process"]
    with held(uri) as mine:
        assert mine is not None


def test_one_that_lives_here_is_in_use_at_once(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SILENT_S", 3600.0)
    monkeypatch.setattr(lease, "BEAT_S", 3600.0)
    with held(uri), pytest.raises(ExperimentError, match=r"in use by process \d+ on"), held(uri):
        pass


def test_whoever_was_silent_too_long_sends_nothing_when_it_comes_back(uri: str) -> None:
    with held(uri) as mine:
        assert mine is not None
        Elsewhere(uri, beats=False)
        while mine.lost is None:
            time.sleep(0.01)
        with pytest.raises(LeaseLostError, match="process 7 on elsewhere goes on with it now"):
            mine.check()
    assert json.loads(Remote(uri).get(lease.FILE))["token"] == "theirs"  # not given up for another


def test_before_sending_after_a_silence_it_looks_again(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 3600.0)
    mine = Lease(uri, print)
    Elsewhere(uri, beats=False)
    mine.check()  # its last sign of life is young enough
    time.sleep(0.25)
    with pytest.raises(LeaseLostError):
        mine.check()
    mine.release()


def test_two_that_take_it_at_the_same_moment_are_told_apart(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_SETTLE_S", 0.3)
    won, lost = [], []

    def take() -> None:
        try:
            won.append(Lease(uri, print))
        except ExperimentError as error:
            lost.append(error)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 1)
    won[0].release()


def test_where_nothing_can_be_written_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "remote").write_text("a file")
    with pytest.raises(ExperimentError, match="cannot be used"), held(f"file://{tmp_path}/remote/toy"):
        pass
