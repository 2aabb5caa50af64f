"""The event files TensorBoard reads: one of ours in each run's folder, a bounded number of them open.

They are opened in append mode: a file that had to be closed for another one is continued, not doubled. TensorBoard's
own ``EventFileWriter`` cannot append and starts a thread for each file, and its record writer computes checksums in
Python, which took more of the interpreter's time than all the rest of an event.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
from tensorboard.plugins.text import metadata as text_metadata

MAX_OPEN = 32
SUFFIX = ".raytune"

_TEXT = text_metadata.create_summary_metadata(display_name=None, description=None)
_counter = itertools.count()


class EventFiles:
    """The event files below one folder, by run. The run "" is the folder itself."""

    def __init__(self, folder: Path, *, max_open: int = MAX_OPEN) -> None:
        self.folder = folder
        self._max_open = max_open
        self._names: dict[str, str] = {}
        self._open: OrderedDict[str, BinaryIO] = OrderedDict()

    @property
    def open_count(self) -> int:
        """How many files are open at this moment."""
        return len(self._open)

    def write(self, run: str, summary: summary_pb2.Summary, step: int, when: float) -> None:
        """Append one summary to a run's file."""
        self._append(run, event_pb2.Event(wall_time=when, step=step, summary=summary))

    def purge(self, run: str, step: int, when: float) -> None:
        """Tell TensorBoard to drop all this run has shown from ``step`` on: training went back."""
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._append(run, event_pb2.Event(wall_time=when, step=step, session_log=start))

    def flush(self) -> None:
        """Let readers see everything written so far."""
        for file in self._open.values():
            file.flush()

    def close(self) -> None:
        """Flush and close all files; writing to a run afterwards opens its file again."""
        while self._open:
            self._open.popitem()[1].close()

    def remove(self, run: str) -> None:
        """Delete our event file of one run; what the user wrote beside it stays."""
        if run in self._open:
            self._open.pop(run).close()
        self._names.pop(run, None)
        for path in (self.folder / run).glob(f"*tfevents*{SUFFIX}"):
            path.unlink()

    def remove_all(self) -> None:
        """Delete our event files of all runs."""
        for run in ["", *(path.name for path in self.folder.glob("*/"))]:
            self.remove(run)

    def _append(self, run: str, event: event_pb2.Event) -> None:
        self._file(run).write(record(event.SerializeToString()))

    def _file(self, run: str) -> BinaryIO:
        if run in self._open:
            self._open.move_to_end(run)
            return self._open[run]
        while len(self._open) >= self._max_open:
            self._open.popitem(last=False)[1].close()
        new = run not in self._names
        if new:
            (self.folder / run).mkdir(parents=True, exist_ok=True)
            self._names[run] = _new_name()
        self._open[run] = (self.folder / run / self._names[run]).open("ab")
        if new:
            self._header(run)
        return self._open[run]

    def _header(self, run: str) -> None:
        """The version comes first; the first START is not taken for a restart, so the next one purges."""
        now = time.time()
        source = event_pb2.SourceMetadata(writer="raytune_suite")
        self._append(run, event_pb2.Event(wall_time=now, file_version="brain.Event:2", source_metadata=source))
        self.purge(run, 0, now)


def record(data: bytes) -> bytes:
    """One record of an event file: length, its checksum, data, their checksum (TensorFlow's TFRecord format).

    https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
    """
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    """CRC-32C, turned and moved so that a checksum of data with checksums in it is a good one."""
    plain: int = google_crc32c.value(data)
    return struct.pack("<I", ((plain >> 15 | plain << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _new_name() -> str:
    parts = (f"{int(time.time()):010d}", socket.gethostname(), os.getpid(), next(_counter))
    return ".".join(map(str, ("events.out.tfevents", *parts))) + SUFFIX


def scalars(values: Mapping[str, float]) -> summary_pb2.Summary:
    """One summary with a scalar for each tag."""
    made = [summary_pb2.Summary.Value(tag=tag, simple_value=_as_float32(value)) for tag, value in values.items()]
    return summary_pb2.Summary(value=made)


def together(*summaries: summary_pb2.Summary) -> summary_pb2.Summary:
    """One summary of what several hold: one record costs less than several, and shows the same."""
    return summary_pb2.Summary(value=[value for summary in summaries for value in summary.value])


def markdown(tag: str, text: str) -> summary_pb2.Summary:
    """A summary the TEXT tab renders."""
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[text.encode("utf-8", "backslashreplace")])
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, metadata=_TEXT, tensor=tensor)])


def _as_float32(value: Any) -> float:
    """TensorBoard stores 32 bits; what is beyond them is shown as infinite instead of being refused."""
    limit = 3.4028234e38
    number = float(value)
    if number > limit:
        return float("inf")
    return float("-inf") if number < -limit else number
