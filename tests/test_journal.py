"""The journal: what append promises, what a reader sees, and what a crash leaves behind."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytune_suite import journal as module
from raytune_suite.errors import JournalError
from raytune_suite.journal import FILE, Journal, follow, holder, read


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.create(tmp_path / "study") as opened:
        yield opened


def report(journal: Journal, value: Any, number: int = 0) -> int:
    return journal.append("report", number=number, iteration=1, metrics={"loss": value}, elapsed=1.0)


def values(folder: Path) -> list[Any]:
    return [event["metrics"]["loss"] for event in read(folder) if event["event"] == "report"]


def child(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    program = "import sys, os\nfrom raytune_suite.journal import Journal, read\n" + code
    command = [sys.executable, "-c", program, *arguments]
    root = Path(module.__file__).parents[1]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=root, **options)


def test_events_come_back_in_order_with_numbers_and_times(journal: Journal) -> None:
    assert [
        journal.append("trial", number=0, config={"a": [1, 2.5, None, True, "x"]}),
        report(journal, 1.5),
    ] == [1, 2]
    first, second = read(journal.folder)
    assert first["config"] == {"a": [1, 2.5, None, True, "x"]}
    assert (first["seq"], second["seq"], second["event"]) == (1, 2, "report")
    assert first["time"] <= second["time"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_come_back_as_they_were(journal: Journal, value: float) -> None:
    report(journal, value)
    assert "NaN," not in journal.path.read_text()
    json.loads(journal.path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    (back,) = values(journal.folder)
    assert back == value or (math.isnan(back) and math.isnan(value))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "'NaN", "''Infinity", "nan", "é\u2028\ud800"])
def test_texts_stay_texts(journal: Journal, text: str) -> None:
    journal.append("trial", number=0, config={"a": text})
    report(journal, 1.0)
    assert next(read(journal.folder))["config"] == {"a": text}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.float64("nan"), math.nan),
        (np.str_("a"), "a"),
    ],
)
def test_numpy_scalars_become_python_values(journal: Journal, given: Any, expected: Any) -> None:
    seen: list[dict[str, Any]] = []
    journal.subscribe(seen.append)
    report(journal, given)
    (back,) = values(journal.folder)
    for value in (back, seen[0]["metrics"]["loss"]):
        assert value == expected or math.isnan(value)
        assert isinstance(value, type(expected))
    assert type(back) is type(expected)


@pytest.mark.parametrize(
    "wrong",
    [object(), np.zeros(3), {1, 2}, b"bytes", 1j, np.complex64(1), Path("x")],
    ids=lambda v: type(v).__name__,
)
def test_what_json_cannot_hold_is_refused_by_the_name_of_its_field(journal: Journal, wrong: Any) -> None:
    report(journal, 1.0)
    with pytest.raises(JournalError, match=r"report\.metrics\.loss.*Convert it"):
        report(journal, wrong)
    assert report(journal, 2.0) == 2
    assert values(journal.folder) == [1.0, 2.0]


def test_unknown_events_and_reserved_fields_are_refused(journal: Journal) -> None:
    with pytest.raises(JournalError, match="'reprot' is not an event"):
        journal.append("reprot", number=0)
    with pytest.raises(JournalError, match="time: set by the journal"):
        journal.append("report", time=1.0)
    assert journal.seq == 0


def test_subscribers_see_each_event_once_after_it_was_written(journal: Journal) -> None:
    seen: list[tuple[int, int]] = []
    journal.subscribe(lambda event: seen.append((event["seq"], sum(1 for _ in read(journal.folder)))))
    report(journal, 1.0)
    report(journal, math.nan)
    assert seen == [(1, 1), (2, 2)]


def test_threads_append_whole_lines_with_distinct_numbers(journal: Journal) -> None:
    def write(number: int) -> None:
        for _ in range(200):
            report(journal, 0.5, number)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event["seq"] for event in read(journal.folder)] == list(range(1, 801))


def test_a_second_writer_is_refused_and_told_who_the_first_is(journal: Journal) -> None:
    result = child("Journal.open(sys.argv[1])", str(journal.folder))
    assert f"in use by process {os.getpid()} on" in result.stderr
    with pytest.raises(JournalError, match=f"process {os.getpid()}"):
        Journal.open(journal.folder)
    assert holder(journal.folder) == f"process {os.getpid()} on {os.uname().nodename}"


def test_the_lock_ends_with_the_journal(journal: Journal) -> None:
    journal.close()
    assert holder(journal.folder) is None
    Journal.open(journal.folder).close()


def test_asking_who_writes_does_not_disturb_the_writer(tmp_path: Path) -> None:
    Journal.create(tmp_path).close()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            holder(tmp_path)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(50):
            Journal.open(tmp_path).close()
    finally:
        stop.set()
        thread.join()


def test_kill_9_loses_nothing_that_append_returned_for_and_frees_the_lock(tmp_path: Path) -> None:
    code = """
with Journal.create(sys.argv[1]) as journal:
    for number in range(10**6):
        sys.stdout.write(f"{journal.append('report', number=number)}\\n")
        sys.stdout.flush()
"""
    program = "import sys\nfrom raytune_suite.journal import Journal\n" + code
    root = Path(module.__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root
    )
    stdout = process.stdout
    assert stdout is not None
    for _ in range(500):
        stdout.readline()
    process.send_signal(signal.SIGKILL)
    acknowledged = 500 + sum(1 for line in stdout.readlines() if line.endswith("\n"))
    process.wait()
    assert sum(1 for _ in read(tmp_path)) >= acknowledged
    with Journal.open(tmp_path) as journal:
        assert journal.seq >= acknowledged


def test_a_forked_child_neither_writes_nor_keeps_the_lock(journal: Journal) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:  # the child lives until the parent has looked
        os.close(writer)
        try:
            report(journal, 1.0)
        except JournalError:
            os.read(reader, 1)
            os._exit(0)
        os._exit(1)
    os.close(reader)
    report(journal, 2.0)
    journal.close()
    assert holder(journal.folder) is None
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert values(journal.folder) == [2.0]


@pytest.mark.parametrize("torn", [b'{"seq":3,"ti', b"\x00\x00\x00", b'{"seq":3}', b"garbage\n", b"\x00\x00\n"])
def test_a_torn_last_line_is_left_out_by_readers_and_put_aside_by_the_next_writer(
    journal: Journal, torn: bytes
) -> None:
    report(journal, 1.0)
    report(journal, 2.0)
    journal.close()
    with journal.path.open("ab") as file:
        file.write(torn)
    assert values(journal.folder) == [1.0, 2.0]
    with Journal.open(journal.folder) as again:
        assert report(again, 3.0) == 3
    assert values(journal.folder) == [1.0, 2.0, 3.0]
    assert (journal.folder / "journal.torn").read_bytes() == torn + b"\n"


@pytest.mark.parametrize("damage", ["not json", '{"seq": 7, "time": 0, "event": "report"}', "[1]", '{"time": 0}'])
def test_a_broken_line_in_the_middle_is_an_error_that_names_the_line(journal: Journal, damage: str) -> None:
    for value in (1.0, 2.0, 3.0):
        report(journal, value)
    journal.close()
    lines = journal.path.read_text().splitlines()
    journal.path.write_text("\n".join([lines[0], damage, lines[2], ""]))
    for reader in (lambda: list(read(journal.folder)), lambda: Journal.open(journal.folder)):
        with pytest.raises(JournalError, match="line 2 is broken"):
            reader()
    assert holder(journal.folder) is None


def test_a_newer_format_is_refused(journal: Journal) -> None:
    journal.append("experiment", version=2, name="later")
    journal.close()
    for reader in (lambda: list(read(journal.folder)), lambda: Journal.open(journal.folder)):
        with pytest.raises(JournalError, match="format version 2, this raytune_suite reads up to 1"):
            reader()


def test_a_folder_that_has_a_journal_is_not_begun_again(journal: Journal) -> None:
    journal.close()
    with pytest.raises(JournalError, match="already holds an experiment"):
        Journal.create(journal.folder)


def test_a_folder_without_a_journal_is_not_an_experiment(tmp_path: Path) -> None:
    for reader in (lambda: list(read(tmp_path)), lambda: Journal.open(tmp_path)):
        with pytest.raises(JournalError, match="is not an experiment"):
            reader()


def test_closing_waits_for_nobody_who_waits_for_the_journal(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the last lines are written, the thread that makes them durable comes along and finds them unwritten."""
    monkeypatch.setattr(module, "_SYNC_SECONDS", 0.0)
    came, write, flush = threading.Event(), journal._write, journal.flush

    def flushed() -> None:
        if threading.current_thread() is journal._thread:
            came.set()
        flush()

    def written(line: bytes) -> None:
        journal._wake.set()
        assert threading.current_thread() is journal._thread or came.wait(5.0)
        time.sleep(0.05)  # it is at the lock now
        write(line)

    monkeypatch.setattr(journal, "flush", flushed)
    monkeypatch.setattr(journal, "_write", written)
    with journal._mutex:
        journal._holding = journal._dirty = True  # so that nobody writes it now
        journal.append("report", number=0, iteration=1)
    closing = threading.Thread(target=journal.close, daemon=True)
    closing.start()
    closing.join(10.0)
    assert not closing.is_alive()
    assert [event["event"] for event in read(journal.path)][-1] == "report"


def test_a_closed_journal_refuses_to_append(journal: Journal) -> None:
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="is closed"):
        report(journal, 1.0)


def test_a_full_disk_is_an_error_and_leaves_whole_lines(tmp_path: Path) -> None:
    code = """
import resource
from raytune_suite.errors import JournalError
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
journal = Journal.create(sys.argv[1])
written = 0
try:
    while True:
        written = journal.append("report", number=0, metrics={"loss": 0.5, "text": "x" * 300})
except JournalError as error:
    print(error)
print(written, journal.seq)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(journal.append("report", number=0))
"""
    result = child(code, str(tmp_path))
    message, counts, after = result.stdout.splitlines()
    assert "Cannot write the journal" in message
    assert "what was written before is intact" in message
    written, seq = map(int, counts.split())
    assert written == seq > 5
    assert int(after) == written + 1
    assert sum(1 for _ in read(tmp_path)) == written + 1
    assert not (tmp_path / "journal.torn").exists()


def test_no_space_left_is_named_with_the_way_out(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", full)
        with pytest.raises(JournalError, match=r"No space left on device\. Free some space"):
            report(journal, 1.0)
    assert report(journal, 2.0) == 1


def test_held_lines_are_written_together_when_they_are_flushed(journal: Journal) -> None:
    with journal.held():
        assert [report(journal, 1.0), report(journal, 2.0)] == [1, 2]
        assert values(journal.folder) == []
        journal.flush()
        assert values(journal.folder) == [1.0, 2.0]
        report(journal, 3.0)
    assert values(journal.folder) == [1.0, 2.0, 3.0]


def test_held_lines_are_made_durable_by_themselves(journal: Journal) -> None:
    with journal.held():
        report(journal, 1.0)
        journal.sync()
        assert values(journal.folder) == [1.0]


def test_held_lines_that_found_no_room_come_before_later_ones(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", full)
        with pytest.raises(JournalError, match="No space left"), journal.held():
            report(journal, 1.0)
    assert report(journal, 2.0) == 2
    assert values(journal.folder) == [1.0, 2.0]


def test_a_disk_that_cannot_sync_stops_the_journal(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(module, "_fdatasync", broken)
    report(journal, 1.0)
    with pytest.raises(JournalError, match="make the journal durable"):
        journal.sync()
    with pytest.raises(JournalError, match="make the journal durable"):
        report(journal, 2.0)
    monkeypatch.undo()


def test_appends_are_made_durable_in_groups_without_being_asked(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = threading.Event()
    calls: list[int] = []

    def count(file: int) -> None:
        calls.append(file)
        synced.set()

    monkeypatch.setattr(module, "_fdatasync", count)
    for value in range(100):
        report(journal, value)
    assert synced.wait(10)
    assert len(calls) < 50
    journal.sync()
    before = len(calls)
    journal.sync()
    assert len(calls) == before


@pytest.fixture
def readonly() -> Iterator[Path]:
    """A folder nobody may write to, root's privileges put aside."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)
            Path(name).chmod(0o755)


def test_a_read_only_folder_is_an_error_with_the_way_out(readonly: Path) -> None:
    for folder in (readonly, readonly / "deeper"):
        with pytest.raises(JournalError, match=r"Permission denied\. Choose a storage folder"):
            Journal.create(folder)


def test_an_experiment_can_be_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Journal.create(folder) as journal:
            report(journal, 1.0)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        try:
            if root:
                os.seteuid(65534)
            assert values(folder) == [1.0]
            assert holder(folder) is None
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)


def test_values_of_secret_environment_variables_never_go_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", 'ab"cd\\1234567')
    monkeypatch.setenv("HARMLESS", "dress-size-12")
    seen: list[dict[str, Any]] = []
    with Journal.create(tmp_path) as journal:
        journal.subscribe(seen.append)
        journal.append("end", number=0, error={"message": 'refused: ab"cd\\1234567 dress-size-12'})
    assert next(read(tmp_path))["error"]["message"] == "refused: [value of RAY_AUTH_TOKEN] dress-size-12"
    assert seen == list(read(tmp_path))


def test_following_sees_everything_up_to_the_stop_and_waits_for_the_file(tmp_path: Path) -> None:
    done = threading.Event()
    seen: list[Any] = []

    def watch() -> None:
        seen.extend(event["seq"] for event in follow(tmp_path, done.is_set, pause=0.001))

    thread = threading.Thread(target=watch)
    thread.start()
    with Journal.create(tmp_path) as journal:
        for value in range(300):
            report(journal, value)
    done.set()
    thread.join(20)
    assert seen == list(range(1, 301))


def test_following_survives_a_resume_that_cuts_off_a_torn_tail(tmp_path: Path) -> None:
    with Journal.create(tmp_path) as journal:
        report(journal, 1.0)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"seq":2,"half')
    polls = 0

    def stop() -> bool:
        nonlocal polls
        polls += 1
        if polls == 3:
            with Journal.open(tmp_path) as journal:
                report(journal, 2.0)
        return polls > 4

    assert [event["metrics"]["loss"] for event in follow(tmp_path, stop, pause=0.001)] == [1.0, 2.0]


def test_following_nothing_ends_when_told_to(tmp_path: Path) -> None:
    assert list(follow(tmp_path, lambda: True)) == []
