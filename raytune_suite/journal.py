"""The journal of an experiment: everything that happened, one JSON object a line, only ever appended to.

Whoever writes holds a lock that the kernel drops when the process dies. A line is handed to the kernel before
``append`` returns (in :meth:`Journal.held`: before anybody acts on it), so it survives ``kill -9`` of the writer; a
background thread makes it durable (fsync) at most 50 ms later, ``sync`` at once. The format is described in
docs/journal.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from raytune_suite import jsonline
from raytune_suite.errors import JournalError
from raytune_suite.folderlock import cannot, take
from raytune_suite.folderlock import holder as holder  # part of what a journal can tell

VERSION = 1
FILE = "journal.jsonl"
TORN = "journal.torn"
EVENTS = frozenset(
    {"experiment", "session", "environment", "trial", "start", "report", "checkpoint", "decision"}
    | {"worker", "end", "retry", "test", "close", "earlier", "broken", "notice", "density"}
)

_SYNC_SECONDS = 0.05
_KINDS: dict[str, Any] = {"event": str, "time": (int, float), "version": int, "number": int}
_RESERVED = frozenset({"seq", "time", "event", "jump"})
_JUMP_S = 1.0
_steady = time.monotonic
_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)

Event = dict[str, Any]
Subscriber = Callable[[Event], None]


class Journal:
    """The writing end of a journal, made by :meth:`create` or :meth:`open`; threads may share it."""

    def __init__(self, folder: Path, clock: Callable[[], float], *, new: bool) -> None:
        self.folder = folder
        self.path = folder / FILE
        self._clock, self._offset = clock, clock() - _steady()
        self._mutex = threading.RLock()
        self._subscribers: list[Subscriber] = []
        self._line = jsonline.Encoder().line
        self._lines: list[bytes] = []
        self._holding = False
        self._lock = take(folder)
        try:
            self._file, self._size, self._seq = _start(self.path) if new else _continue(self.path)
        except BaseException:
            os.close(self._lock)
            raise
        self._durable = self._seq
        #: What keeps the journal from being durable; nothing can be appended any more.
        self.failure: OSError | None = None
        self._dirty = False
        self._closed = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_durable, name="journal-sync", daemon=True)
        self._thread.start()
        _open_journals.add(self)

    @classmethod
    def create(cls, folder: Path | str, *, clock: Callable[[], float] = time.time) -> Journal:
        """Start the journal of a new experiment; the folder is made if it is missing.

        Raises JournalError if the folder already has a journal, cannot be written, or is in use.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot("make the experiment folder", folder, error) from error
        return cls(folder, clock, new=True)

    @classmethod
    def open(cls, folder: Path | str, *, clock: Callable[[], float] = time.time) -> Journal:
        """Continue the journal of an experiment.

        What a crash left of an unfinished last line is moved to ``journal.torn``. Raises JournalError if
        there is no journal, another process writes it, or it was written by a newer version.
        """
        folder = Path(folder)
        if not (folder / FILE).exists():
            raise JournalError(f"{folder} is not an experiment: it has no {FILE}.")
        return cls(folder, clock, new=False)

    @property
    def seq(self) -> int:
        """The number of the last event, 0 while there is none."""
        return self._seq

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call ``subscriber(event)`` after each event has been written; ``append`` raises what it raises."""
        self._subscribers.append(subscriber)

    def append(self, kind: str, **fields: Any) -> int:
        """Write one event and return its number; from then on it survives the death of this process.

        Raises JournalError if a field is not JSON (it is named), the disk is full, or the journal is closed:
        then the journal is as it was before.
        """
        if kind not in EVENTS or not _RESERVED.isdisjoint(fields):
            raise _wrong_event(kind, fields)
        with self._mutex:
            if self._closed or self.failure:
                raise self._unusable()
            now = self._clock()
            event = {"seq": self._seq + 1, "time": now, "event": kind, **fields}
            if not -_JUMP_S < now - self._offset - _steady() < _JUMP_S:
                event["jump"] = self._jumped(now)
            line, event = self._line(event)
            self._take(line)
            self._seq += 1
            if not self._dirty:
                self._dirty = True
                self._wake.set()
            for subscriber in self._subscribers:
                subscriber(event)
            return int(event["seq"])

    def _take(self, line: bytes) -> None:
        self._lines.append(line)
        if self._holding:
            return
        try:
            self.flush()
        except JournalError:
            self._lines.pop()
            raise

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While this lasts, lines wait for :meth:`flush`: many are written at once.

        For a writer that calls it before anything of what it has appended leaves the process, and often.
        """
        with self._mutex:
            self._holding = True
        try:
            yield
        finally:
            with self._mutex:
                self._holding = False
                self.flush()

    def flush(self) -> None:
        """Hand the lines that wait to the kernel. Raises JournalError if it does not take them: they wait on."""
        if self._lines:
            with self._mutex:
                self._write(b"".join(self._lines))
                self._lines.clear()

    def _jumped(self, now: float) -> float:
        """By how much the clock was set since the last such event, in seconds; less if it was set back."""
        jump = now - _steady() - self._offset
        self._offset += jump
        return round(jump, 3)

    def sync(self) -> None:
        """Block until everything appended so far is on the disk."""
        seq = self._seq
        if self._durable >= seq or self._closed:
            return
        self.flush()
        try:
            _fdatasync(self._file)
        except OSError as error:
            self.failure = error
            raise self._unusable() from error
        self._durable = max(self._durable, seq)

    def close(self) -> None:
        """Make everything durable and give up the lock; a second call does nothing."""
        with contextlib.ExitStack() as then, self._mutex:
            if self._closed:
                return
            then.callback(self._let_go)  # without the mutex, for which the other thread may be waiting
            try:
                self.sync()
            finally:
                self._closed = True

    def _let_go(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()
        _open_journals.discard(self)
        os.close(self._file)
        fcntl.flock(self._lock, fcntl.LOCK_UN)  # a forked child may not have let go of its copy yet
        os.close(self._lock)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._file, line)
            while written < len(line):  # the disk is almost full: the next write says so
                written += os.write(self._file, line[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise cannot("write the journal", self.path, error) from error
        self._size += len(line)

    def _keep_durable(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            self._stop.wait(_SYNC_SECONDS)
            self._dirty = False
            with contextlib.suppress(JournalError):  # kept in _failure: the next append or sync raises it
                self.sync()

    def _unusable(self) -> JournalError:
        if self.failure:
            return cannot("make the journal durable", self.path, self.failure)
        return JournalError(f"The journal {self.path} is closed: nothing can be appended to it.")

    def _forget(self) -> None:
        """In a forked child: drop the inherited descriptors, or it would keep its parent's lock alive."""
        self._closed = True
        self._lines.clear()
        os.close(self._file)
        os.close(self._lock)


def read(folder: Path | str) -> Iterator[Event]:
    """Yield the events of an experiment in order, also while it is being written.

    An unfinished last line is left out. Raises JournalError if there is no journal, a line in the middle is
    broken (its number is named), or a newer version wrote it.
    """
    for _, event in _lines(_journal_of(folder)):
        yield event


def follow(folder: Path | str, stop: Callable[[], bool], *, pause: float = 0.1) -> Iterator[Event]:
    """Yield the events of an experiment as they are written, until ``stop()`` is true and all have been seen.

    Waits for a journal that does not exist yet.
    """
    path = Path(folder) / FILE
    while not path.exists():
        if stop():
            return
        time.sleep(pause)
    number, rest = 0, b""
    with path.open("rb") as file:
        while True:
            ending = stop()  # asked before reading, so what was written until then is still seen
            *lines, rest = (rest + file.read()).split(b"\n")
            for line in lines:
                number += 1
                event = _parse(line, number, path, last=False)
                if event is not None:
                    yield event
            if ending:
                return
            if not lines:
                time.sleep(pause)
                # A driver that resumes cuts off a torn tail: forget ours and read it as it is now.
                file.seek(file.tell() - len(rest))
                rest = b""


def _journal_of(folder: Path | str) -> Path:
    path = Path(folder)
    path = path if path.name == FILE else path / FILE
    if not path.is_file():
        raise JournalError(f"{path.parent} is not an experiment: it has no {FILE}.")
    return path


def _start(path: Path) -> tuple[int, int, int]:
    """Create the file; return its descriptor, size and last event number."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        directory = os.open(path.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
    except FileExistsError:
        raise JournalError(
            f"{path.parent} already holds an experiment: resume it, or give this one another name."
        ) from None
    except OSError as error:
        raise cannot("create the journal", path, error) from error
    return file, 0, 0


def _continue(path: Path) -> tuple[int, int, int]:
    """Cut off a torn tail; return the descriptor, size and last event number."""
    size = seq = 0
    for line, event in _lines(path):
        size, seq = size + len(line), int(event["seq"])
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND)
        torn = os.pread(file, path.stat().st_size - size, size)
        if torn:
            with (path.parent / TORN).open("ab") as aside:
                aside.write(torn + b"\n")
            os.ftruncate(file, size)
            os.fsync(file)
    except OSError as error:
        raise cannot("continue the journal", path, error) from error
    return file, size, seq


def _lines(path: Path) -> Iterator[tuple[bytes, Event]]:
    """Whole lines and their events; a last line that is unfinished or broken is left out."""
    number = 0
    try:
        with path.open("rb") as file:
            line = file.readline()
            while line.endswith(b"\n"):
                number += 1
                following = file.readline()
                event = _parse(line, number, path, last=not following)
                if event is None:
                    return
                yield line, event
                line = following
    except OSError as error:
        raise cannot("read the journal", path, error) from error


def _parse(line: bytes, number: int, path: Path, *, last: bool) -> Event | None:
    """The event of a line, or None for a broken last one."""
    try:
        event = jsonline.decode(line.decode("utf-8"))
        if event["seq"] != number:
            raise ValueError(f"holds event {event['seq']}")
        _check(event)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if last:
            return None
        raise JournalError(
            f"{path}, line {number} is broken ({error}): the journal was edited or damaged; restore it."
        ) from error
    if event["event"] == "experiment" and event.get("version", VERSION) > VERSION:
        raise JournalError(
            f"{path} has format version {event['version']}, this raytune_suite reads up to {VERSION}: "
            "update raytune-suite."
        )
    return event


def _check(event: Event) -> None:
    """Raise ValueError if what a line must have is not there or not of its kind."""
    for name, kind in _KINDS.items():
        found = event.get(name, 1)  # a line need not have a version or a number
        if not isinstance(found, kind) or isinstance(found, bool):
            raise ValueError(f"{name} is {found!r:.40}")


def broken(event: Event, error: Exception) -> JournalError:
    """The error for a line that is JSON and yet not an event: it says which field of which line."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return JournalError(
        f"journal.jsonl, line {event.get('seq', '?')} is no {event['event']} event ({said:.200}): "
        "the journal was edited or damaged; restore it."
    )


def _wrong_event(kind: str, fields: dict[str, Any]) -> JournalError:
    if kind not in EVENTS:
        return JournalError(f"{kind!r} is not an event: one of {', '.join(sorted(EVENTS))}.")
    return JournalError(
        f"{', '.join(sorted(_RESERVED & fields.keys()))}: set by the journal itself, not by the caller."
    )


def _forget_all() -> None:
    for journal in list(_open_journals):
        journal._forget()
    _open_journals.clear()


_open_journals: weakref.WeakSet[Journal] = weakref.WeakSet()
os.register_at_fork(after_in_child=_forget_all)
