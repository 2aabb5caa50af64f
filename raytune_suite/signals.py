"""What Ctrl-C and SIGTERM do to a running study."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from raytune_suite.driver import Driver
from raytune_suite.lease import THREAD
from raytune_suite.mirror import SENDER

SENDERS = (SENDER, THREAD)


@contextmanager
def handled(driver: Driver) -> Iterator[None]:
    """SIGINT and SIGTERM end the study in order; a second SIGINT ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _: FrameType | None) -> None:
        if driver.stopping and number == signal.SIGINT:
            os._exit(130)
        driver.interrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(name: str) -> int:
    """The exit code of a process that the signal of this name ended."""
    return 128 + signal.Signals[name].value


def leave(code: int) -> int:
    """Return ``code``, or end the process with it at once if a thread still waits for remote storage.

    At the end of a process pyarrow waits for every request on its way, which may take a minute.
    """
    if any(thread.name.startswith(SENDERS) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
