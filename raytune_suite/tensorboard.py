"""TensorBoard files of an experiment, written from the events of its journal.

:class:`TensorBoardWriter` writes them in a thread of its own while a study runs; :func:`write` makes all of
them again from the journal alone. What TensorBoard shows is thus always a second copy: if the thread falls
behind, or a crash took what had not been flushed, it is read from the journal.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from raytune_suite import journal
from raytune_suite.board import Board, Event, events_of
from raytune_suite.errors import ExperimentError
from raytune_suite.eventfiles import MAX_OPEN

logger = logging.getLogger("raytune_suite")

FLUSH_SECONDS = 1.0
PAUSE_SECONDS = 0.1  # a thread woken for each event would take the interpreter from the driver as often
QUEUE = 20_000


class TensorBoardWriter:
    """Writes the TensorBoard files in a thread of its own; the driver only appends events to a queue.

    ``apply`` never waits: if the queue is full the event is left out, and the thread, seeing the gap, reads
    what it missed from the journal. That is also how a resumed experiment gets its files back whole. Trouble
    with the files (a full disk) is logged and ends the writing, not the study; see :func:`write`.
    """

    def __init__(self, folder: Path, study: Any = None, *, max_open: int = MAX_OPEN, size: int = QUEUE) -> None:
        self.error: Exception | None = None
        self._board = Board(folder, study, max_open=max_open)
        self._queue: deque[Event] = deque()
        self._size = size
        self._last_seq = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tensorboard", daemon=True)
        self._thread.start()

    def apply(self, event: Event) -> None:
        """Take one event; returns at once."""
        self._last_seq = event.get("seq", 0)
        if len(self._queue) < self._size and self.error is None:
            self._queue.append(event)

    def close(self) -> None:
        """Write everything that was applied and close the files; a second call does nothing."""
        self._closing.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            self._write_until_closed()
        except Exception as error:
            self.error = error
            logger.exception("TensorBoard files are no longer written; the record is not affected")
            self._queue.clear()

    def _write_until_closed(self) -> None:
        flushed = time.monotonic()
        ending = False
        while not ending:
            ending = self._closing.wait(PAUSE_SECONDS)  # asked before draining: what came until then is written
            while self._queue:
                self._take(self._queue.popleft())
            if self._board.seq < self._last_seq and not self._queue:
                self._catch_up()
            if time.monotonic() - flushed >= FLUSH_SECONDS:
                self._board.flush()
                flushed = time.monotonic()
        self._board.close()

    def _take(self, event: Event) -> None:
        seq = event.get("seq", self._board.seq + 1)
        if seq > self._board.seq + 1:
            self._catch_up()
        if seq > self._board.seq:
            self._board.apply(event)

    def _catch_up(self) -> None:
        for event in events_of(self._board.folder):
            if event["seq"] > self._board.seq:
                self._board.apply(event)


def write(folder: Path | str) -> Path:
    """Make the TensorBoard files of an experiment from its journal alone, and return their folder.

    Files of ours that are there are replaced; what trials wrote beside them stays. Raises ExperimentError
    while a driver is writing them, JournalError if the journal cannot be read.
    """
    if (owner := journal.holder(folder)) is not None:
        raise ExperimentError(f"{folder} is being written by {owner}: its TensorBoard files are up to date")
    board = Board(Path(folder))
    for event in journal.read(folder):
        board.apply(event)
    board.close()
    return board.files.folder
