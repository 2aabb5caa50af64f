"""Suggestions made while trials train: a searcher at work in a thread of its own, on exactly what it had been told.

At most one suggestion is in the making. From its beginning until its answer is there the searcher belongs to that
work, and what it is to be told meanwhile waits, in order. So nothing is copied or locked, any searcher can be asked
this way, and a suggestion is a function of what the journal tells up to its event ``seen``.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from statistics import median

from raytune_suite.search.core import Observation, Searcher, Suggestion

logger = logging.getLogger("raytune_suite")

Work = Callable[[], None]
Launch = Callable[[Work], None]
"""Has a piece of work done, now or soon, here or elsewhere; one piece at a time."""

PROMPT_S = 0.02
"""The driver's loop waits this long for a searcher that usually answers within it."""

_LOOK_S = 0.05
_SWITCH_S = 5e-4
"""The interpreter changes threads this often during a computation; at its usual 5 ms each wait of the driver's loop
would cost that much more."""
_REMEMBERED = 9
_PATIENCE_S = 1.5


def at_once(work: Work) -> None:
    """Do it here and now: for searchers that answer immediately, and where nothing else goes on."""
    work()


class Background:
    """Does one piece of work after another in one thread, which starts with the first."""

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._begun = False

    def __call__(self, work: Work) -> None:
        """Put ``work`` behind what is to be done already."""
        self._work.put(work)
        if not self._begun:
            self._begun = True
            self._thread.start()

    def close(self, patience_s: float = _PATIENCE_S) -> None:
        """Wait for the work at hand, so that no thread touches what Ray leaves behind once it is shut down.

        Work that takes longer than ``patience_s`` is left to itself; the collector, which may run in its thread, is
        then kept from all there is now.
        """
        if not self._begun:
            return
        self._work.put(None)
        self._thread.join(patience_s)
        if self._thread.is_alive():
            logger.warning("the searcher is still at work; its answer is not waited for")
            gc.freeze()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            usual = sys.getswitchinterval()
            sys.setswitchinterval(min(_SWITCH_S, usual))
            try:
                work()
            finally:
                sys.setswitchinterval(usual)


@dataclass
class Making:
    """One suggestion in the making: of which trial, and the last event of the journal the searcher knew."""

    number: int
    seen: int
    fresh: bool = True
    done: threading.Event = field(default_factory=threading.Event)
    suggestion: Suggestion | None = None
    error: BaseException | None = None
    seconds: float = 0.0


class Suggestions:
    """A searcher that is asked without being waited for; ``launch`` does the asking.

    ``after`` is called with each suggestion, in the same breath: to find out what must be known when it is taken.
    """

    def __init__(
        self, searcher: Searcher, launch: Launch = at_once, after: Callable[[Suggestion], None] | None = None
    ) -> None:
        self.searcher = searcher
        self._launch, self._after = launch, after
        self._making: Making | None = None
        self._untold: deque[Observation] = deque()
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def open(self) -> bool:
        """Whether a suggestion is in the making, or made and not yet taken."""
        return self._making is not None

    @property
    def expected_s(self) -> float:
        """How long making the next one will take, judging by the last ones; 0 if there are none."""
        return median(self._seconds) if self._seconds else 0.0

    def begin(self, number: int, seen: int) -> None:
        """Let the suggestion for trial ``number`` be made, unless one is open already."""
        if self._making is None:
            making = self._making = Making(number, seen)
            self._launch(lambda: self._make(making))

    def wait(self, patience_s: float, unless: Callable[[], bool] = lambda: False) -> bool:
        """Wait for the open suggestion; returns whether it is there.

        Whatever ``patience_s`` says, one just begun is given :data:`PROMPT_S` if the last ones took no longer. The
        wait ends early when ``unless()`` holds, which a signal may bring about.
        """
        making = self._making
        if making is None:
            return False
        if making.fresh and self.expected_s <= PROMPT_S:
            patience_s = max(patience_s, PROMPT_S)
        making.fresh = False
        until = time.monotonic() + patience_s
        while not making.done.wait(max(0.0, min(_LOOK_S, until - time.monotonic()))):
            if time.monotonic() >= until or unless():
                return False
        return True

    def take(self) -> Making:
        """The finished suggestion; the searcher then hears what came meanwhile.

        Raises:
            RuntimeError: there is none yet (see :meth:`wait`).
        """
        making = self._making
        if making is None or not making.done.is_set():
            raise RuntimeError("no suggestion has been made")
        self._making = None
        self._seconds.append(making.seconds)
        self._catch_up()
        return making

    def tell(self, observation: Observation) -> None:
        """Tell the searcher, once it is not at work."""
        self._untold.append(observation)
        if self._making is None or self._making.done.is_set():
            self._catch_up()

    def _catch_up(self) -> None:
        while self._untold:
            self.searcher.tell(self._untold.popleft())

    def _make(self, making: Making) -> None:
        began = time.perf_counter()
        try:
            making.suggestion = self.searcher.ask(making.number)
            if self._after is not None and making.suggestion is not None:
                self._after(making.suggestion)
        except Exception as error:
            making.error = error
        except BaseException as error:
            making.error = error
            raise
        finally:
            making.seconds = time.perf_counter() - began
            making.done.set()
