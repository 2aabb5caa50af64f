"""One event as one line of JSON and back: exact for NaN and infinities, strict about everything else."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

from raytune_suite.errors import JournalError

Event = dict[str, Any]

_SPECIAL = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|ACCESS_?KEY|CREDENTIAL|PRIVATE", re.IGNORECASE)


class Encoder:
    """Turns events into lines; credentials found in the environment when it is made are blanked out."""

    def __init__(self) -> None:
        self._converted = False
        self._secrets = _secrets()
        # NaN is refused here so that it takes the slow path, which writes it as a string.
        self._encode = json.JSONEncoder(
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
            check_circular=False,
            default=self._plain,
        ).encode

    def line(self, event: Event) -> tuple[bytes, Event]:
        """The line of an event and the event as a reader of the line will see it.

        Raises JournalError naming the field that JSON cannot hold.
        """
        self._converted = False
        try:
            text = self._encode(event)
            plain = not _mentions_special(text)
        except (TypeError, ValueError):
            plain = False
        if not plain:
            text = self._encode(strict(event, event["event"]))
            self._converted = True
        for secret, mark in self._secrets:
            if secret in text:
                text, self._converted = text.replace(secret, mark), True
        if self._converted:
            event = decode(text)
        return text.encode("utf-8", "backslashreplace") + b"\n", event

    def _plain(self, value: object) -> object:
        self._converted = True
        return _scalar(value)


def decode(text: str) -> Event:
    """The event of a line. Raises ValueError if it is not a JSON object."""
    event = json.loads(text)
    if _mentions_special(text):
        event = _unstrict(event)
    if not isinstance(event, dict):
        raise ValueError("not a JSON object")
    return event


def strict(value: Any, field: str) -> Any:
    """A copy with NaN and infinities as strings, and strings that look like those quoted with an apostrophe.

    Raises JournalError naming the field that is not JSON, as a path below ``field``.
    """
    if isinstance(value, dict):
        return {_key(key, field): strict(item, f"{field}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item, f"{field}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, str):
        return f"'{value}" if value.lstrip("'") in _SPECIAL else value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return _float(value)
    try:
        return strict(_scalar(value), field)
    except TypeError as error:
        raise JournalError(f"{field}: {error}") from error


def _float(value: float) -> float | str:
    if value != value:
        return "NaN"
    if abs(value) == float("inf"):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _mentions_special(text: str) -> bool:
    return 'NaN"' in text or 'Infinity"' in text


def _unstrict(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unstrict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unstrict(item) for item in value]
    if isinstance(value, str) and value.lstrip("'") in _SPECIAL:
        return _SPECIAL[value] if value in _SPECIAL else value[1:]
    return value


def _key(key: object, field: str) -> str:
    """The name as JSON writes it: numbers, booleans and None become their text, as the fast path does."""
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, bool | int | float):
        return json.dumps(key)
    raise JournalError(f"{field}: a name must be a string, got {key!r:.80} ({type(key).__name__}).")


def _scalar(value: object) -> object:
    """The Python value of a numpy scalar. Raises TypeError for anything else that JSON cannot hold."""
    numpy = sys.modules.get("numpy")  # who has a numpy scalar has imported numpy
    if numpy is not None and isinstance(value, numpy.generic):
        plain = value.item()
        if plain is None or isinstance(plain, bool | int | float | str):
            return plain
    raise TypeError(
        f"the journal holds numbers, strings, booleans, None, lists and dicts, got {value!r:.80} "
        f"({type(value).__name__}). Convert it, for example with float(), str() or .tolist()."
    )


def _secrets() -> list[tuple[str, str]]:
    """Values of environment variables that look like credentials, as they would stand in a line."""
    found = [(v, name) for name, v in os.environ.items() if _SECRET_NAME.search(name) and len(v) >= 8]
    return [(json.dumps(value, ensure_ascii=False)[1:-1], f"[value of {name}]") for value, name in sorted(found)]
