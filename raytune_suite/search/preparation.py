"""When a searcher imports what it needs: not while the workers are starting."""

from __future__ import annotations

import threading
from typing import Any

from raytune_suite.search.core import Searcher


class Preparation:
    """Lets the searcher import what it needs in the background once the workers have done their own importing.

    On a small machine both at once would only delay the first report; the first suggestions need no model.
    """

    def __init__(self, searcher: Searcher) -> None:
        self._thread = threading.Thread(target=searcher.prepare, name="searcher-imports", daemon=True)
        self._begun = False

    def __call__(self, event: dict[str, Any]) -> None:
        """See what the journal has just written."""
        if event["event"] == "report" and not self._begun:
            self._begun = True
            self._thread.start()

    def close(self) -> None:
        """Wait for the imports: no thread may touch what Ray left behind once it is shut down."""
        if self._begun:
            self._thread.join()
