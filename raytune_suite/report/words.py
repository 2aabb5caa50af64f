"""Values as a report writes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from raytune_suite.plots.axes import number


def plain(value: Any) -> str:
    """Any value on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    return value if isinstance(value, str) else number(value)


def value_text(value: Any) -> str:
    """A metric's value in five digits."""
    if value is None:
        return "none"
    return f"{value:.5g}" if isinstance(value, float) else number(value)


def duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if whole < 60:
        return f"{seconds:.1f} s"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


def when(time: float | None) -> str:
    """Unix seconds as local date and time."""
    return datetime.fromtimestamp(time).strftime("%Y-%m-%d %H:%M") if time else "never"
