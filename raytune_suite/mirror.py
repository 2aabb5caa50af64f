"""The copy of a running experiment in remote storage; its way back is in ``copies.py``.

The local folder stays the one that works; two threads of the driver carry it over. One sends the journal as immutable
segments, named by their first and last event, within seconds and right after every end of a trial; the other sends the
checkpoints that are kept. What the remote side does not take is sent again later, and never delays or ends the study.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from raytune_suite import journal as journals
from raytune_suite.checkpoints import INFO, Saved, TrialCheckpoints
from raytune_suite.remote import Remote

logger = logging.getLogger("raytune_suite")
SEGMENTS, CHECKPOINTS = "journal", "checkpoints"
SENDER = "mirror-"
"""What the names of its threads begin with."""
_QUIET_S = 5.0
_GATHER_S = 0.5
_RUNNING_S = 30.0
_LONGEST_WAIT_S = 60.0
_HURRIED_S, _PATIENT_S = 0.8, 60.0
_SEGMENT_BYTES = 8 * 2**20
Allowed = Callable[[], None]


class Mirror:
    """Listens to the journal of a running study and keeps its copy; made when the journal is open.

    ``allowed`` is called before anything is sent and raises OSError if it must not be.
    """

    def __init__(self, uri: str, folder: Path, allowed: Allowed = lambda: None) -> None:
        self.uri, self._folder = uri, folder
        self._journal = _Segments(Remote(uri), folder, allowed)
        self._checkpoints = _Checkpoints(Remote(uri), folder, allowed)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take note of an event; returns at once."""
        number = event.get("number")
        if event["event"] == "checkpoint":
            self._checkpoints.wrote(f"{number:05d}", event["iteration"])
        elif event["event"] == "end":
            self._checkpoints.ended(f"{number:05d}")
            self._journal.wake()

    def finish(self, *, hurried: bool) -> None:
        """Send the rest, and say on the terminal what is missing then; ``hurried``: a signal leaves no time for it."""
        if (missing := self.close(_HURRIED_S if hurried else _PATIENT_S)) is not None:
            logger.warning(missing)
            sys.stderr.write(f"{missing}\n")

    def everything(self) -> None:
        """Look at every trial that has checkpoints, not only at those that are heard of."""
        for trial in (self._folder / CHECKPOINTS).glob("*"):
            self._checkpoints.ended(trial.name)

    def close(self, patience_s: float) -> str | None:
        """Send what is left, for so long; returns what is not there then, in a sentence, or None."""
        until = time.monotonic() + patience_s
        for sender in (self._journal, self._checkpoints):
            sender.finish()
        for sender in (self._journal, self._checkpoints):
            sender.join(max(0.0, until - time.monotonic()))
        missing = [what for sender in (self._journal, self._checkpoints) if (what := sender.missing())]
        if not missing:
            return None
        why = self._journal.error or self._checkpoints.error
        return (
            f"Not in {self.uri}: {' and '.join(missing)}{f' ({why})' if why else ''}. All of it is in {self._folder}; "
            f"raytune sync {self._folder} sends it."
        )


class _Sender(ABC):
    """A thread that sends what is outstanding, waits, and tries again what failed, ever more rarely."""

    def __init__(self, remote: Remote, folder: Path, name: str, allowed: Allowed) -> None:
        self.remote, self.folder, self._allowed = remote, folder, allowed
        self.error: str | None = None
        self._mutex = threading.Lock()
        self._woken, self._ending = threading.Event(), threading.Event()
        self._known = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something that should not wait."""
        self._woken.set()

    def finish(self) -> None:
        """Send what there is for the last time."""
        self._ending.set()
        self._woken.set()

    def join(self, seconds: float) -> None:
        """Wait until all is sent, at most so long."""
        self._thread.join(seconds)

    @abstractmethod
    def missing(self) -> str:
        """What has not been sent, in a few words; empty if nothing."""

    @abstractmethod
    def learn(self) -> None:
        """Find out what is there already."""

    @abstractmethod
    def send(self) -> None:
        """Send what is outstanding; raises what the remote side raises."""

    def _run(self) -> None:
        failures = 0
        while True:
            ending = self._ending.is_set()
            failures = 0 if self._tried() else failures + 1
            if ending:
                return
            self._woken.wait(_QUIET_S if not failures else min(2.0**failures, _LONGEST_WAIT_S))
            if not self._ending.is_set():
                self._ending.wait(_GATHER_S)  # trials often end together
            self._woken.clear()

    def _tried(self) -> bool:
        try:
            self._allowed()
            if not self._known:
                self.learn()
                self._known = True
            self.send()
        except Exception as error:  # whatever a file system may raise: the study must not feel it
            if self.error is None:
                logger.warning("%s does not take what is sent, which is tried again: %s", self.remote.uri, error)
            self.error = " ".join(str(error).split())[:200]
            return False
        if self.error is not None:
            logger.info("%s takes what is sent again", self.remote.uri)
        self.error = None
        return True


class _Segments(_Sender):
    """The journal: event n is line n, so what is there already is known from the names of the segments."""

    def __init__(self, remote: Remote, folder: Path, allowed: Allowed) -> None:
        self._sent = 0
        self._offset = 0
        self._small: dict[str, float] = {}
        super().__init__(remote, folder, f"{SENDER}journal", allowed)

    def learn(self) -> None:
        self._sent = last_event(self.remote.names(SEGMENTS))
        with (self.folder / journals.FILE).open("rb") as file:
            for number in range(self._sent):
                line = file.readline()
                if not line.endswith(b"\n"):
                    raise OSError(f"it has {self._sent} events, more than the {number} here")
                self._offset += len(line)

    def send(self) -> None:
        while lines := self._lines():
            first, last = self._sent + 1, self._sent + lines.count(b"\n")
            self.remote.put(f"{SEGMENTS}/{first:012d}-{last:012d}.jsonl", lines)
            self._sent, self._offset = last, self._offset + len(lines)
        for name in ("study.yaml", "driver.log"):
            self._send_small(name, once_at_the_end=name == "driver.log")

    def missing(self) -> str:
        with (self.folder / journals.FILE).open("rb") as file:
            left = sum(1 for _ in file) - self._sent
        return f"the last {left} event{'s' if left > 1 else ''} of the journal" if left > 0 else ""

    def _lines(self) -> bytes:
        with (self.folder / journals.FILE).open("rb") as file:
            file.seek(self._offset)
            read = file.read(_SEGMENT_BYTES)
        return read[: read.rfind(b"\n") + 1]

    def _send_small(self, name: str, *, once_at_the_end: bool) -> None:
        path = self.folder / name
        if (once_at_the_end and not self._ending.is_set()) or not path.is_file():
            return
        changed = path.stat().st_mtime
        if self._small.get(name) != changed:
            self.remote.put_file(name, path)
            self._small[name] = changed


class _Checkpoints(_Sender):
    """The checkpoints that each trial keeps: those of ended trials at once, of running ones now and then."""

    def __init__(self, remote: Remote, folder: Path, allowed: Allowed) -> None:
        self._there: dict[str, set[str]] = {}
        self._due: dict[str, float] = {}
        super().__init__(remote, folder, f"{SENDER}checkpoints", allowed)

    def wrote(self, trial_id: str, iteration: int) -> None:
        """A running trial has a new checkpoint, in the place of one that is there perhaps."""
        with self._mutex:
            self._there.get(trial_id, set()).discard(f"{iteration:06d}")
            self._due.setdefault(trial_id, time.monotonic() + _RUNNING_S)

    def ended(self, trial_id: str) -> None:
        """A trial has ended: what it keeps now it keeps."""
        with self._mutex:
            self._due[trial_id] = time.monotonic()
        self.wake()

    def learn(self) -> None:
        for trial_id, checkpoint in complete(self.remote.names(CHECKPOINTS)):
            self._there.setdefault(trial_id, set()).add(checkpoint)

    def send(self) -> None:
        ending = self._ending.is_set()
        with self._mutex:
            if ending:  # what the end of the search has pruned
                self._due |= dict.fromkeys(self._there, 0.0)
            due = [trial_id for trial_id, at in self._due.items() if ending or at <= time.monotonic()]
        for trial_id in due:
            with self._mutex:
                at = self._due.pop(trial_id)
            try:
                self._reconcile(trial_id)
            except BaseException:
                with self._mutex:
                    self._due[trial_id] = at
                raise

    def missing(self) -> str:
        with self._mutex:
            late = sorted(int(trial_id) for trial_id in self._due)
        named = ", ".join(map(str, late[:8])) + (", ..." if len(late) > 8 else "")
        return f"checkpoints of trial{'s' if len(late) > 1 else ''} {named}" if late else ""

    def _reconcile(self, trial_id: str) -> None:
        local = {saved.path.name: saved for saved in TrialCheckpoints(self.folder / CHECKPOINTS / trial_id).all()}
        there = self._there.setdefault(trial_id, set())
        for name in local.keys() - there:
            if self._copy(f"{CHECKPOINTS}/{trial_id}/{name}", local[name]):
                there.add(name)
        for name in there - local.keys():
            self.remote.remove(f"{CHECKPOINTS}/{trial_id}/{name}")
            there.discard(name)

    def _copy(self, name: str, saved: Saved) -> bool:
        """Whether it is there now: not if the trial deleted it in the meantime, for a newer one.

        What describes it goes last: without that it is none.
        """
        try:
            for file in sorted(saved.sums):
                self.remote.put_file(f"{name}/{file}", saved.path / file)
            self.remote.put_file(f"{name}/{INFO}", saved.path / INFO)
        except FileNotFoundError:
            if saved.path.exists():
                raise
            return False
        return True


def last_event(names: list[str]) -> int:
    """The number of the last event in the segments of these names, 0 if there are none."""
    return max((span(name)[1] for name in names), default=0)


def complete(names: list[str]) -> list[tuple[str, str]]:
    """Trial id and folder name of each checkpoint among the files of these names that is whole."""
    found = [name.split("/") for name in names if name.endswith(f"/{INFO}")]
    return [(parts[1], parts[2]) for parts in found if len(parts) == 4 and parts[2].isdigit()]


def span(name: str) -> tuple[int, int]:
    """The numbers of the first and the last event in a segment of this name."""
    first, _, last = name.rpartition("/")[2].removesuffix(".jsonl").partition("-")
    return int(first), int(last)
