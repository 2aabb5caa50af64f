"""What the terminal shows while a study runs: a live view in a terminal, lines in a log, a summary at the end.

The driver only hands over events. A thread draws, at most four times a second, from the counts of a
:class:`~raytune_suite.tally.Tally` and the record the driver folds anyway.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from raytune_suite import liveview
from raytune_suite.closing import closing
from raytune_suite.record import Record
from raytune_suite.states import State
from raytune_suite.tally import Tally

logger = logging.getLogger("raytune_suite")

DRAW_SECONDS = 0.25
STATUS_SECONDS = 60.0
SHOWN_ERRORS = 3
"""So many different errors are shown with their traceback as they happen; all are counted in the summary."""

Event = dict[str, Any]


class Progress:
    """Shows one run. ``verbosity``: -1 only the summary, 0 trials and failures, 1 also decisions.

    ``record`` is the one the driver folds: ``apply`` gets each event after the record has seen it. ``tty`` says
    whether there is a terminal to draw on; the console knows if it is left open. ``folder`` is where the record
    lies, for the summary.
    """

    def __init__(
        self,
        record: Record,
        plan_lines: Sequence[str] = (),
        console: Console | None = None,
        verbosity: int = 0,
        tty: bool | None = None,
        *,
        folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tally = Tally(record, clock)
        self.tally.take_over()
        self._plan_lines = list(plan_lines)
        self._console = console or Console(emoji=False)
        self._verbosity = verbosity
        self._tty = self._console.is_terminal if tty is None else tty
        self._folder = folder
        self._clock = clock
        self._news: deque[tuple[Event, int, bool]] = deque()
        self._errors_shown = 0
        self._status_at = clock() + STATUS_SECONDS
        self._closing = threading.Event()
        self._live: Live | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False

    def apply(self, event: Event) -> None:
        """Take one event that the record has seen; returns at once."""
        self.tally.apply(event)
        if self._verbosity >= 0 and event["event"] in ("end", "retry", "decision", "notice", "density"):
            best = self.tally.best is not None and self.tally.best[1] == event.get("number")
            self._news.append((event, self.tally.ended.total(), best))

    def start(self) -> None:
        """Print the plan and begin to draw."""
        if self._verbosity >= 0:
            self._say(*(Text(line) for line in self._plan_lines))
        if self._tty and self._verbosity >= 0:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._thread = threading.Thread(target=self._draw_until_closed, name="progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop drawing and print the summary; a second call does nothing."""
        if self._stopped:
            return
        self._stopped = True
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        try:
            if self._live is not None:
                self._live.stop()
            self._tell_news()
            self._say(*closing(self.tally, self._folder))
        except (OSError, ValueError):  # the reader of a pipe has left, or the file is closed: the record is kept
            logger.warning("the summary could not be printed", exc_info=True)

    def draw(self) -> None:
        """Show what has happened since the last time."""
        self._tell_news()
        if self._live is not None:
            self._live.update(liveview.live(self.tally, self._console), refresh=True)
        elif self._verbosity >= 0 and self._clock() >= self._status_at:
            self._say(Text(liveview.status(self.tally), "dim"))
            self._status_at = self._clock() + STATUS_SECONDS

    def _draw_until_closed(self) -> None:
        while not self._closing.wait(DRAW_SECONDS):
            try:
                self.draw()
            except Exception:  # a terminal that is gone must not end the study
                logger.exception("nothing more is drawn")
                return

    def _tell_news(self) -> None:
        while self._news:
            self._say(*self._lines(*self._news.popleft()))

    def _lines(self, event: Event, place: int, best: bool) -> list[Text]:
        if event["event"] == "decision":
            return [liveview.decision(event)] if self._verbosity > 0 else []
        if event["event"] == "notice":
            return [Text(event["text"], "yellow")]
        if event["event"] == "density":
            return [Text(f"trials on a GPU: {event['text']}", "cyan")]
        if event["event"] == "retry":
            return [liveview.retry(event)]
        if self._live is not None and self._verbosity <= 0:
            return self._failure(event)
        return [liveview.ended(self.tally, event, place, best), *self._failure(event)]

    def _failure(self, event: Event) -> list[Text]:
        """The first of each kind of failure, with its traceback."""
        if not State(event["state"]).failure or self._errors_shown >= SHOWN_ERRORS:
            return []
        group = next((g for g in self.tally.errors.values() if g.numbers[0] == event["number"]), None)
        if group is None:
            return []
        self._errors_shown += 1
        return [liveview.failure(self.tally.record.trials[event["number"]], group)]

    def _say(self, *lines: Text) -> None:
        for line in lines:
            self._console.print(line, soft_wrap=True, highlight=False)
