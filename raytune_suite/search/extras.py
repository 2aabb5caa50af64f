"""Searchers whose library is an extra."""

from __future__ import annotations

from importlib.util import find_spec

from raytune_suite.errors import MissingExtraError


def require(package: str, extra: str, searcher: str) -> None:
    """See whether a package is installed, without importing it.

    Raises:
        MissingExtraError: it is not, with the command that installs it.
    """
    if find_spec(package) is None:
        raise MissingExtraError(package, extra, f"search: {searcher}")
