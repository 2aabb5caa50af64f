"""The door to a cluster: Ray's dashboard, found, checked to be safe to talk to, its errors made readable."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from raytune_suite import authentication
from raytune_suite.errors import JobError, MissingExtraError

LOCAL = "http://127.0.0.1:8265"
Write = Callable[[str], object]


class NoAnswerError(JobError):
    """The cluster does not answer at the moment."""


def _silent(text: str) -> None:
    """Say nothing."""
    del text


def connect(address: str | None = None, *, insecure: bool = False, warn: Write = _silent) -> Any:
    """Ray's client for the jobs of the cluster at ``address`` (its dashboard, http or https).

    Without one: ``RAY_API_SERVER_ADDRESS``, ``RAY_ADDRESS`` if it is http, else this machine's.

    Raises:
        MissingExtraError: the client's packages are not installed.
        JobError: nobody answers there, access is refused, or commands would travel unprotected.
    """
    mode = authentication.prepare()
    if importlib.util.find_spec("aiohttp") is None:
        raise MissingExtraError("ray[default]", "jobs", "talking to a cluster")
    url = resolve_address(address)
    check_safety(url, token=mode == "token" and authentication.has_token(), insecure=insecure, warn=warn)
    _knock(url)
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
    logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)
    with translated(None, url), _without("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        return JobSubmissionClient(url)


def resolve_address(address: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """The URL of the dashboard that is meant."""
    given = environ.get("RAY_ADDRESS", "")
    url = address or environ.get("RAY_API_SERVER_ADDRESS") or (given if given.startswith("http") else LOCAL)
    url = url if "://" in url else f"http://{url}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise JobError(f"{address} is not the address of a dashboard: give http://HOST:8265 (or https)")
    if parts.username or parts.password:
        raise JobError("an address must not carry a password: put the token into ~/.ray/auth_token")
    return url.rstrip("/")


def check_safety(url: str, *, token: bool, insecure: bool, warn: Write = _silent) -> None:
    """Refuse to send commands to another machine in the clear with nothing to prove who sends them.

    Whoever reaches an open dashboard runs any command on the cluster; using one should be a decision.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" or _loopback(parts.hostname or ""):
        return
    tunnel = f"ssh -N -L 8265:127.0.0.1:{parts.port or 8265} {parts.hostname}"
    if not token and not insecure:
        raise JobError(
            f"{url} is another machine, reached without encryption and without a token. Use a tunnel ({tunnel}) and "
            "a token (~/.ray/auth_token, or RAY_AUTH_TOKEN), or say --insecure"
        )
    what = "the token and the project travel" if token else "the project travels, and anyone may run commands there,"
    warn(f"{url}: {what} unencrypted; a tunnel is safer: {tunnel}\n")


@contextmanager
def translated(client: Any, url: str = "") -> Iterator[None]:
    """Ray's and requests' exceptions as ours, without any token in them."""
    import requests

    where = url or getattr(client, "_address", "the cluster")
    try:
        yield
    except (requests.ConnectionError, requests.Timeout, ConnectionError) as error:
        raise NoAnswerError(f"{where} does not answer ({type(error).__name__})") from error
    except RuntimeError as error:
        raise JobError(f"{where}: {authentication.redact(str(error))}") from error
    except Exception as error:
        if type(error).__name__ != "AuthenticationError":
            raise
        raise JobError(refused(where, sent="required" not in str(error))) from error


def refused(where: str, *, sent: bool = True) -> str:
    """What to say when the cluster answers 401 (no token was sent) or 403 (a wrong one was)."""
    places = "RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"
    if not authentication.has_token():
        return f"{where} wants a token and none was found in {places}: on the head, ray get-auth-token shows it"
    if not sent:
        return f"{where} wants the token, but RAY_AUTH_MODE keeps it from being sent: unset RAY_AUTH_MODE"
    return f"{where} refuses the token found in {places} (in this order): compare it with the head's"


def _knock(url: str) -> None:
    """Find out within seconds whether anyone listens: Ray's client would wait without limit."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((str(parts.hostname), port), timeout=10).close()
    except OSError as error:
        raise JobError(
            f"nobody answers at {url} ({error.strerror or error}): is the cluster up, and its dashboard reachable "
            "(ray dashboard cluster.yaml opens a tunnel)?"
        ) from error


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """Ray lets these variables override the address it is given; here what was asked for counts."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
