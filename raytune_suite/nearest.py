"""What a misspelt word may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the one of ``known`` that ``word`` most likely stands for; case and ``-``/``_`` do not count."""
    folded = {_fold(other): other for other in known}
    wanted = _fold(word)
    close = difflib.get_close_matches(wanted, folded, 1, cutoff)
    # minimize for min, acc for accuracy: too different in length to be close
    close += [k for k in folded if min(len(k), len(wanted)) >= 3 and (wanted.startswith(k) or k.startswith(wanted))]
    return folded[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a correction for ``word``: the nearest of ``known``, else all of them."""
    known = list(known)
    near = nearest(word, known)
    if near is not None:
        return f"Did you mean {near}?"
    return f"Allowed: {', '.join(known)}." if known else ""


def _fold(word: str) -> str:
    return word.lower().replace("-", "_")
