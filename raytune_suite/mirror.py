"""The copy of a running experiment in remote storage, and its way back.

The local folder stays the one that works; two threads of the driver carry it over. One sends the journal as immutable
segments, named by their first and last event, within seconds and right after every end of a trial; the other sends the
checkpoints that are kept. What the remote side does not take is sent again later, and never delays or ends the study.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from raytune_suite import journal as journals
from raytune_suite.checkpoints import INFO, Saved, TrialCheckpoints
from raytune_suite.errors import ExperimentError
from raytune_suite.remote import Remote

logger = logging.getLogger("raytune_suite")
SEGMENTS, CHECKPOINTS = "journal", "checkpoints"
_QUIET_S = 5.0
_GATHER_S = 0.5
_RUNNING_S = 30.0
_LONGEST_WAIT_S = 60.0
_SEGMENT_BYTES = 8 * 2**20


class Mirror:
    """Listens to the journal of a running study and keeps its copy; made when the journal is open."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri, self._folder = uri, folder
        self._journal = _Segments(Remote(uri), folder)
        self._checkpoints = _Checkpoints(Remote(uri), folder)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take note of an event; returns at once."""
        number = event.get("number")
        if event["event"] == "checkpoint":
            self._checkpoints.wrote(f"{number:05d}", event["iteration"])
        elif event["event"] == "end":
            self._checkpoints.ended(f"{number:05d}")
            self._journal.wake()

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
            f"Not in {self.uri}: {' and '.join(missing)}{f' ({why})' if why else ''}. All of it is in {self._folder}."
        )


class _Sender(ABC):
    """A thread that sends what is outstanding, waits, and tries again what failed, ever more rarely."""

    def __init__(self, remote: Remote, folder: Path, name: str) -> None:
        self.remote, self.folder = remote, folder
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

    def __init__(self, remote: Remote, folder: Path) -> None:
        self._sent = 0
        self._offset = 0
        self._small: dict[str, float] = {}
        super().__init__(remote, folder, "mirror-journal")

    def learn(self) -> None:
        self._sent = last_event(self.remote.names(SEGMENTS))
        with (self.folder / journals.FILE).open("rb") as file:
            for _ in range(self._sent):
                self._offset += len(file.readline())

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

    def __init__(self, remote: Remote, folder: Path) -> None:
        self._there: dict[str, set[str]] = {}
        self._due: dict[str, float] = {}
        super().__init__(remote, folder, "mirror-checkpoints")

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
    return max((_range(name)[1] for name in names), default=0)


def complete(names: list[str]) -> list[tuple[str, str]]:
    """Trial id and folder name of each checkpoint among the files of these names that is whole."""
    found = [name.split("/") for name in names if name.endswith(f"/{INFO}")]
    return [(parts[1], parts[2]) for parts in found if len(parts) == 4 and parts[2].isdigit()]


def must_be_new(uri: str) -> None:
    """Raise ExperimentError if there is an experiment of this name already, or nothing can be asked there."""
    try:
        there = Remote(uri).names(SEGMENTS)
    except Exception as error:
        raise _unusable(uri, error) from error
    if there:
        raise ExperimentError(
            f"{uri} exists already and is never reused. Go on with it: raytune resume {uri}. "
            "Or give the new one another name: raytune run STUDY --name NAME"
        )


def fetch(uri: str, folder: Path, *, checkpoints: bool = True, say: Callable[[str], None] = lambda _: None) -> Path:
    """Bring an experiment back into ``folder``, or what is new of it, and return the folder.

    A folder whose journal is as long or longer is taken as it is: it is where the copy came from.

    Raises:
        ExperimentError: there is none at ``uri``, it cannot be read, segments are missing, or ``folder`` holds
            another experiment.
    """
    remote = Remote(uri)
    try:
        names = remote.names()
        segments = sorted((name for name in names if name.startswith(f"{SEGMENTS}/")), key=_range)
        if not segments:
            raise ExperimentError(_none_there(uri, names))
        if not _as_long(remote, segments, folder):
            say(f"fetching {uri} into {folder}")
            _write_journal(remote, segments, folder)
            for name in ("study.yaml", "driver.log"):
                if name in names:
                    remote.get_file(name, folder / name)
        if checkpoints:
            _fetch_checkpoints(remote, names, folder)
    except ExperimentError:
        raise
    except Exception as error:
        raise _unusable(uri, error) from error
    return folder


def _as_long(remote: Remote, segments: list[str], folder: Path) -> bool:
    """Whether the local journal has all that is there; raises ExperimentError if it is another one's."""
    path = folder / journals.FILE
    if not path.is_file():
        return False
    local = path.read_bytes()
    for name in (segments[0], segments[-1]):
        first, _ = _range(name)
        content, mine = remote.get(name), b"".join(local.splitlines(keepends=True)[first - 1 :])
        shared = min(len(content), len(mine))
        if content[:shared] != mine[:shared]:
            raise ExperimentError(
                f"{folder} and {remote.uri} went different ways: move the local folder away to take the other."
            )
    return local.count(b"\n") >= last_event(segments)


def _write_journal(remote: Remote, segments: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draft, expected = folder / f".{journals.FILE}.part", 1
    with draft.open("wb") as file:
        for name in segments:
            first, last = _range(name)
            if first != expected:
                raise ExperimentError(f"{remote.uri}: the events from {expected} to {first - 1} are missing.")
            file.write(remote.get(name))
            expected = last + 1
    draft.replace(folder / journals.FILE)


def _fetch_checkpoints(remote: Remote, names: list[str], folder: Path) -> None:
    for trial_id, checkpoint in complete(names):
        base = f"{CHECKPOINTS}/{trial_id}/{checkpoint}"
        files = [name for name in names if name.startswith(f"{base}/")]
        if not (folder / base / INFO).is_file():
            for name in sorted(files, key=lambda name: name.endswith(INFO)):
                remote.get_file(name, folder / name)


def _range(name: str) -> tuple[int, int]:
    first, _, last = name.rpartition("/")[2].removesuffix(".jsonl").partition("-")
    return int(first), int(last)


def _none_there(uri: str, names: list[str]) -> str:
    inside = sorted({name.split("/")[0] for name in names if f"/{SEGMENTS}/" in name})
    found = f" It holds {', '.join(inside[:8])}." if inside else ""
    return f"There is no experiment in {uri}.{found}"


def _unusable(uri: str, error: Exception) -> ExperimentError:
    return ExperimentError(f"{uri} cannot be used: {' '.join(str(error).split())[:300]}")
