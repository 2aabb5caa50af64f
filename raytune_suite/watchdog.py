"""Ends a training step that never returns, even one that holds the interpreter's lock in C code.

Python's :mod:`faulthandler` runs its timer in a C thread that needs no lock: it writes every thread's stack to a file
and ends the process. The driver finds the file and knows that the trial timed out rather than crashed.
"""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE = "timeout.txt"


@contextmanager
def watchdog(seconds: float | None, folder: Path) -> Iterator[None]:
    """Kill this process if the body takes longer than ``seconds`` (None: never), leaving ``timeout.txt``."""
    if seconds is None:
        yield
        return
    with (folder / FILE).open("w") as file:
        faulthandler.dump_traceback_later(max(seconds, 0.1), exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def timeout_report(folder: Path) -> str | None:
    """The stack that a killed step left behind in ``folder``, or None if none was killed there."""
    try:
        text = (folder / FILE).read_text(errors="replace").strip()
    except OSError:
        return None
    return text or None
