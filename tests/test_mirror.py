"""An experiment is copied to remote storage while it runs, whatever becomes of the storage, and comes back whole."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytune_suite import mirror
from raytune_suite.checkpoints import TrialCheckpoints
from raytune_suite.copies import fetch, must_be_new
from raytune_suite.errors import ExperimentError, StudyError
from raytune_suite.journal import Journal, read
from raytune_suite.mirror import Mirror
from raytune_suite.remote import Remote, below, name_of, problem, uri_of
from raytune_suite.study import Study


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_QUIET_S": 0.05, "_GATHER_S": 0.0, "_LONGEST_WAIT_S": 0.1}.items():
        monkeypatch.setattr(mirror, name, value)


class Running:
    """An experiment that runs in ``folder`` and is copied to ``uri``."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder = folder
        new = not (folder / "journal.jsonl").exists()
        self.journal = Journal.create(folder) if new else Journal.open(folder)
        (folder / "study.yaml").write_text("name: toy\n")
        if new:
            self.journal.append("experiment", version=1, name="toy")
        self.copy = Mirror(uri, folder)
        self.journal.subscribe(self.copy)

    def trial(self, number: int, *, steps: int = 2) -> None:
        store = TrialCheckpoints(self.folder / "checkpoints" / f"{number:05d}")
        for iteration in range(1, steps + 1):
            saved = store.write(iteration, 1.0, 1.0 / iteration, self._save)
            path = str(saved.path.relative_to(self.folder))
            self.journal.append("checkpoint", number=number, iteration=iteration, path=path)
            self.journal.append("report", number=number, iteration=iteration, metrics={"loss": 1.0})
        store.settle()
        self.journal.append("end", number=number, state="completed")

    def close(self, patience_s: float = 10.0) -> str | None:
        missing = self.copy.close(patience_s)
        self.journal.close()
        return missing

    @staticmethod
    def _save(folder: Path) -> None:
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "state").write_bytes(bytes(5000))


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"file://{tmp_path}/remote/toy"


def eventually(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


def test_what_was_copied_comes_back_as_it_was(tmp_path: Path, uri: str) -> None:
    running = Running(tmp_path / "here", uri)
    running.trial(0)
    running.trial(1, steps=3)
    assert running.close() is None
    there = fetch(uri, tmp_path / "there")
    assert list(read(there)) == list(read(tmp_path / "here"))
    assert (there / "study.yaml").read_text() == "name: toy\n"
    latest, broken = TrialCheckpoints(there / "checkpoints" / "00001").latest_intact()
    assert latest is not None
    assert (latest.iteration, broken) == (3, [])


def test_an_ended_trial_is_there_while_the_study_goes_on(tmp_path: Path, uri: str) -> None:
    running = Running(tmp_path / "here", uri)
    running.trial(0)
    eventually(lambda: any("00000/000002/raytune.json" in name for name in Remote(uri).names()))
    eventually(lambda: mirror.last_event(Remote(uri).names("journal")) == running.journal.seq)
    running.close()


def test_the_journal_goes_in_segments_that_never_change(tmp_path: Path, uri: str) -> None:
    running = Running(tmp_path / "here", uri)
    seen: dict[str, bytes] = {}
    for number in range(4):
        running.trial(number, steps=1)
        eventually(lambda: mirror.last_event(Remote(uri).names("journal")) == running.journal.seq)
        now = {name: Remote(uri).get(name) for name in Remote(uri).names("journal")}
        assert now.items() >= seen.items()
        seen = now
    assert len(seen) >= 4
    running.close()


def test_a_checkpoint_that_is_no_longer_kept_goes_there_too(tmp_path: Path, uri: str) -> None:
    running = Running(tmp_path / "here", uri)
    running.trial(0)
    eventually(lambda: mirror.complete(Remote(uri).names("checkpoints")))
    TrialCheckpoints(running.folder / "checkpoints" / "00000", keep=[]).prune()
    running.close()
    assert Remote(uri).names("checkpoints") == []


def test_a_study_that_goes_on_sends_only_what_is_new(tmp_path: Path, uri: str) -> None:
    first = Running(tmp_path / "here", uri)
    first.trial(0)
    first.close()
    before = Remote(uri).names("journal")
    second = Running(tmp_path / "here", uri)
    second.trial(1)
    assert second.close() is None
    assert set(before) < set(Remote(uri).names("journal"))
    assert list(read(fetch(uri, tmp_path / "there"))) == list(read(tmp_path / "here"))


class Failing:
    """Makes the remote side refuse everything, or answer never, until it is told to work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, hangs: bool = False) -> None:
        self.broken, self.hangs, self.tries = True, hangs, 0
        self.released = threading.Event()
        for name in ("put", "put_file", "names"):
            monkeypatch.setattr(Remote, name, self._wrapped(getattr(Remote, name)))

    def _wrapped(self, works: Callable[..., Any]) -> Callable[..., Any]:
        def call(remote: Remote, *arguments: Any) -> Any:
            self.tries += 1
            if self.broken and self.hangs:
                self.released.wait(30)
            if self.broken:
                raise OSError("no route to host")
            return works(remote, *arguments)

        return call


def test_a_remote_that_fails_is_tried_again_and_what_was_missed_is_sent(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(monkeypatch)
    running = Running(tmp_path / "here", uri)
    running.trial(0)
    eventually(lambda: failing.tries > 3)
    failing.broken = False
    assert running.close() is None
    assert list(read(fetch(uri, tmp_path / "there"))) == list(read(tmp_path / "here"))


def test_what_is_not_there_in_the_end_is_said(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Failing(monkeypatch)
    running = Running(tmp_path / "here", uri)
    running.trial(7)
    missing = running.close(5.0) or ""
    assert f"Not in {uri}: the last 6 events of the journal and checkpoints of trial 7 (no route to host)" in missing
    assert str(tmp_path / "here") in missing


def test_a_remote_that_never_answers_delays_nobody(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Failing(monkeypatch, hangs=True)
    running = Running(tmp_path / "here", uri)
    running.trial(0)
    assert "the last 6 events" in (running.close(0.1) or "")
    failing.released.set()


def test_a_process_ends_although_a_request_hangs(tmp_path: Path) -> None:
    """Under the timeout of the test, that is: pyarrow alone would wait for more than 40 s."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"s3://bucket/toy?endpoint_override=127.0.0.1:{silent.getsockname()[1]}&scheme=http&region=us-east-1"
        code = f"""
import sys
from pathlib import Path
from raytune_suite.journal import Journal
from raytune_suite.mirror import Mirror
from raytune_suite.signals import leave
with Journal.create({str(tmp_path / "toy")!r}) as journal:
    journal.append("experiment", version=1)
    copy = Mirror({uri!r}, Path({str(tmp_path / "toy")!r}))
    print(copy.close(0.5))
sys.exit(leave(143))
"""
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        command, environment = [sys.executable, "-c", code], {**os.environ, **keys}
        done = subprocess.run(command, env=environment, timeout=30, capture_output=True, text=True, check=False)
    assert done.returncode == 143, done.stderr
    assert "the last 1 event of the journal" in done.stdout


def test_a_local_folder_that_is_ahead_is_taken_as_it_is(tmp_path: Path, uri: str) -> None:
    running = Running(tmp_path / "here", uri)
    running.trial(0)
    running.close()
    with Journal.open(tmp_path / "here") as more:
        more.append("close", state="finished")
    before = (tmp_path / "here" / "journal.jsonl").read_bytes()
    assert fetch(uri, tmp_path / "here") == tmp_path / "here"
    assert (tmp_path / "here" / "journal.jsonl").read_bytes() == before


def test_a_local_folder_that_is_behind_is_brought_up_to_date(tmp_path: Path, uri: str) -> None:
    running = Running(tmp_path / "here", uri)
    running.trial(0)
    running.close()
    behind = fetch(uri, tmp_path / "there")
    lines = (behind / "journal.jsonl").read_text().splitlines(keepends=True)
    (behind / "journal.jsonl").write_text("".join(lines[:3]))
    fetch(uri, behind)
    assert list(read(behind)) == list(read(tmp_path / "here"))


def test_another_experiment_of_the_same_name_is_not_overwritten(tmp_path: Path, uri: str) -> None:
    running = Running(tmp_path / "here", uri)
    running.close()
    with Journal.create(tmp_path / "other") as other:
        other.append("experiment", version=1, name="other")
    with pytest.raises(ExperimentError, match="went different ways"):
        fetch(uri, tmp_path / "other")
    with pytest.raises(ExperimentError, match="never reused"):
        must_be_new(uri)


def test_a_gap_in_the_segments_is_an_error(tmp_path: Path, uri: str) -> None:
    running = Running(tmp_path / "here", uri)
    running.trial(0)
    eventually(lambda: mirror.last_event(Remote(uri).names("journal")) == running.journal.seq)
    running.trial(1)
    running.close()
    first, *_ = Remote(uri).names("journal")
    (tmp_path / "remote" / "toy" / first).unlink()
    with pytest.raises(ExperimentError, match=r"the events from 1 to .* are missing"):
        fetch(uri, tmp_path / "there")


def test_a_place_without_an_experiment_says_what_is_there(tmp_path: Path, uri: str) -> None:
    Running(tmp_path / "here", uri).close()
    with pytest.raises(ExperimentError, match="It holds toy"):
        fetch(f"file://{tmp_path}/remote", tmp_path / "there")


def test_uris_survive_being_paths() -> None:
    assert uri_of(Path("s3://bucket/runs/toy")) == "s3://bucket/runs/toy"
    assert uri_of(Path("file:///tmp/toy")) == "file:///tmp/toy"
    assert uri_of("runs/toy") is None
    assert below("s3://b/runs?region=x", "toy") == "s3://b/runs/toy?region=x"
    assert name_of("s3://b/runs/toy?region=x") == "toy"


@pytest.mark.parametrize("bad", ["s3://key:secret@bucket/x", "s3://b/x?secret_key=y", "http://host/x", "ftp://h/x"])
def test_a_uri_with_credentials_or_of_another_kind_is_refused(bad: str) -> None:
    assert problem(bad)
    with pytest.raises(StudyError, match="storage"):
        Study.from_dict(
            {
                "name": "toy",
                "trainable": "m:M",
                "metric": "loss",
                "max_iterations": 1,
                "num_trials": 1,
                "space": {"x": {"uniform": [0, 1]}},
                "search": "random",
                "storage": bad,
            }
        )


@pytest.mark.filterwarnings("ignore")
def test_a_server_that_speaks_s3_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}.items():
            monkeypatch.setenv(name, value)
        where = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        system, _ = Remote(f"s3://bucket?{where}&allow_bucket_creation=true")._place
        system.create_dir("bucket")
        uri = f"s3://bucket/runs/toy?{where}"
        must_be_new(uri)
        running = Running(tmp_path / "here", uri)
        running.trial(0)
        running.trial(1)
        assert running.close() is None
        assert list(read(fetch(uri, tmp_path / "there"))) == list(read(tmp_path / "here"))
        assert TrialCheckpoints(tmp_path / "there" / "checkpoints" / "00000").best_intact() is not None
    finally:
        server.stop()
