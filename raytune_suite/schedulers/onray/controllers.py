"""What a scheduler may ask Ray Tune's controller, beyond what Ray promises it."""

from __future__ import annotations

from typing import Any


def no_more_trials(tune_controller: Any) -> bool:
    """Say whether the search is over: a searcher that is still thinking has more to come.

    The suite's search algorithm says so as ``exhausted``, while ``is_finished`` also waits for paused trials.
    """
    search = tune_controller.search_alg
    if search is None:
        return True
    exhausted = getattr(search, "exhausted", None)
    return bool(search.is_finished() if exhausted is None else exhausted)
