"""When a searcher imports what it needs: not while the workers are starting."""

from __future__ import annotations

import gc
import threading
from typing import Any

from raytune_suite.search.core import Searcher


class Preparation:
    """Lets the searcher import what it needs in the background once the workers have done their own importing.

    On a small machine both at once would only delay the first report; the first suggestions need no model. What a
    searcher that learns has imported is then kept from the garbage collector, which would go through all of it again
    and again, for 0.1 s each time, while the driver's loop waits.
    """

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher
        self._thread = threading.Thread(target=self._prepare, name="searcher-imports", daemon=True)
        self._begun = self._frozen = False

    def __call__(self, event: dict[str, Any]) -> None:
        """See what the journal has just written."""
        if event["event"] == "report" and not self._begun:
            self._begun = True
            self._thread.start()

    def wait(self) -> None:
        """Wait for the imports, if they have begun."""
        if self._begun:
            self._thread.join()

    def close(self) -> None:
        """Wait for the imports: no thread may touch what Ray left behind once it is shut down."""
        self.wait()
        if self._frozen:
            gc.unfreeze()

    def _prepare(self) -> None:
        self._searcher.prepare()
        if self._searcher.learns and gc.get_freeze_count() == 0:  # else another has its reasons
            gc.freeze()
            self._frozen = True
