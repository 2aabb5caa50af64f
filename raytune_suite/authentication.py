"""Ray's token authentication: decided before Ray is imported, and the token kept out of all text.

Ray reads ``RAY_AUTH_MODE`` once, when it is imported, and sends a token only if the mode was ``token`` then. So
the mode is set here, first, whenever a token is there to be sent.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_DEFAULT_PATH = Path(".ray") / "auth_token"
_HIDDEN = "<token>"


def prepare(environ: MutableMapping[str, str] = os.environ) -> str:
    """Turn token authentication on where a token exists; call it before the first ``import ray``.

    A mode the user set is left alone. Returns the mode this process will use: ``token``, ``disabled``, or
    ``default`` where nothing was decided (Ray then makes a token of its own for a cluster it starts itself).
    """
    chosen = environ.get(MODE)
    if chosen is None and has_token(environ):
        environ[MODE] = chosen = "token"
        _refresh_ray()
    return chosen.lower() if chosen else "default"


def has_token(environ: MutableMapping[str, str] = os.environ) -> bool:
    """Whether Ray finds a token: ``RAY_AUTH_TOKEN``, ``RAY_AUTH_TOKEN_PATH`` or ``~/.ray/auth_token``."""
    return next(_tokens(environ), None) is not None


def redact(text: str, environ: MutableMapping[str, str] = os.environ) -> str:
    """``text`` without any token this process knows."""
    for token in _tokens(environ):
        text = text.replace(token, _HIDDEN)
    return text


def _tokens(environ: MutableMapping[str, str]) -> Iterator[str]:
    """The tokens in Ray's order of preference; empty ones are none."""
    if token := environ.get(TOKEN, "").strip():
        yield token
    for path in (environ.get(TOKEN_PATH), Path.home() / _DEFAULT_PATH):
        if path and (token := _read(Path(path).expanduser())):
            yield token


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _refresh_ray() -> None:
    """If Ray is here already its cached mode is stale: have it read the environment again."""
    if "ray._raylet" in sys.modules:
        sys.modules["ray._raylet"].Config.initialize("")
