"""The driver's log: what Ray and the suite have to say while the terminal belongs to the progress view."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def written_to(path: Path) -> Iterator[None]:
    """Everything Ray and the suite log goes to the file at ``path``; the terminal belongs to the progress view."""
    handler = LogFile(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("ray", "raytune_suite")]
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    before = [(log, list(log.handlers), log.propagate) for log in loggers]
    for log in loggers:
        log.handlers, log.propagate = [handler], False
    logging.getLogger("raytune_suite").setLevel(logging.INFO)
    try:
        yield
    finally:
        for log, handlers, propagate in before:
            log.handlers, log.propagate = handlers, propagate
        handler.close()


class LogFile(logging.FileHandler):
    """A log that a full disk leaves incomplete; what went wrong is told once, by the journal."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        """Print no traceback for a line that cannot be written."""

    def close(self) -> None:
        """Close the file, whatever could not be flushed."""
        with suppress(OSError):
            super().close()
