"""Numbers, configs, durations and curves as people read them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raytune_suite.states import State

STATE_STYLES = {
    State.PENDING: "dim",
    State.RUNNING: "cyan",
    State.PAUSED: "blue",
    State.COMPLETED: "green",
    State.STOPPED: "yellow",
    State.INFEASIBLE: "magenta",
    State.FAILED: "red",
    State.OOM: "red",
    State.TIMED_OUT: "red",
    State.INTERRUPTED: "dark_orange",
    State.PREEMPTED: "dark_orange",
}
_BARS = "▁▂▃▄▅▆▇█"


def number(value: Any, digits: int = 4) -> str:
    """A number in so many significant digits: 0.00312 and 1.2e-5; whole numbers stay whole; None is a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 10**digits:
        return f"{value:.1f}"
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def measured(value: Any, error: Any = None) -> str:
    """A number, with its standard error where there is one: ``0.2342 ± 0.015``."""
    known = isinstance(error, int | float) and math.isfinite(error)
    return f"{number(value)} ± {number(error, 2)}" if known else number(value)


def test_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Held-out metrics without those that are the standard error of another."""
    return {name: v for name, v in metrics.items() if name.removesuffix("/std_error") not in metrics.keys() - {name}}


def setting(value: Any) -> str:
    """One value of a config."""
    if isinstance(value, float):
        return number(value, 3)
    if isinstance(value, list | tuple):
        return f"[{', '.join(setting(item) for item in value)}]"
    return str(value)


def facts(values: Mapping[str, Any]) -> str:
    """Facts in one line, ``rung 3, cutoff 0.0954``, without those that are None; whole numbers are written as such."""
    known = {key: value for key, value in values.items() if value is not None}
    shown = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in known.items()}
    return ", ".join(f"{name} {setting(value)}" for name, value in shown.items())


def node(name: str | None, ip: str | None) -> str | None:
    """Where a trial runs: a machine's name, or its address if all there is besides is Ray's long id."""
    return ip if ip and name and len(name) >= 40 else name or ip


def share_interval(share: float, samples: float) -> str:
    """A share of so many samples with its 95% interval (Wilson, 1927): ``0.978 (0.957 to 0.989)``."""
    z2 = 1.96**2
    middle = (share + z2 / (2 * samples)) / (1 + z2 / samples)
    spread = share * (1 - share) / samples + z2 / (4 * samples**2)
    half = 1.96 / (1 + z2 / samples) * math.sqrt(spread)
    return f"{number(share)} ({middle - half:.3f} to {middle + half:.3f})"


def config(point: Mapping[str, Any], limit: int | None = None) -> str:
    """A config in one line, ``learning_rate=0.00312 channels=32``, cut behind ``limit`` characters."""
    text = " ".join(f"{name}={setting(value)}" for name, value in point.items())
    return text if limit is None or len(text) <= limit else text[: max(0, limit - 1)] + "…"


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config with dotted names."""
    made: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping) and value:
            made.update(flat(value, f"{prefix}{name}."))
        else:
            made[prefix + name] = value
    return made


def duration(seconds: float | None) -> str:
    """Seconds as ``8.1s``, ``3m 12s``, ``2h 05m``, ``1d 03h``; None is a dash."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    whole = round(seconds)
    for unit, smaller, size, part in (("d", "h", 86400, 3600), ("h", "m", 3600, 60), ("m", "s", 60, 1)):
        if whole >= size:
            return f"{whole // size}{unit} {whole % size // part:02d}{smaller}"
    return f"{whole}s"


def sparkline(values: Sequence[float | None], width: int = 20) -> str:
    """A curve in one line of block characters, thinned to ``width``; what is not finite is a gap."""
    picked = values if len(values) <= width else [values[i * len(values) // width] for i in range(width)]
    finite = [value for value in picked if value is not None and math.isfinite(value)]
    if not finite:
        return " " * len(picked)
    low, span = min(finite), max(finite) - min(finite)
    top = len(_BARS) - 1
    return "".join(
        " " if v is None or not math.isfinite(v) else _BARS[round((v - low) / span * top) if span else 0]
        for v in picked
    )


def count(amount: int, noun: str) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"


def gpu(metrics: Mapping[str, Any]) -> str:
    """How busy a trial's GPU is and how much of its share of the memory it takes; empty without one."""
    busy, used, part = (metrics.get(name) for name in ("gpu/utilisation", "memory/gpu_mb", "memory/gpu_of_share"))
    words = [f"GPU {busy:.0f}%"] if busy is not None else []
    if used is not None:
        words.append(f"{used / 1024:.2g} GiB" + (f", {part:.0%} of its share" if part is not None else ""))
    return ", ".join(words)


def given(amounts: Mapping[str, Any]) -> str:
    """What a trial was given after it ran out of memory, in a few words; empty if nothing."""
    words: dict[str, Callable[[float], str]] = {
        "gpu": lambda n: f"{n:g} GPU",
        "memory": lambda n: f"{n / 2**30:.3g} GiB",
        "split": lambda n: f"batches in {n:g} pieces",
    }
    return ", ".join(words[name](amount) for name, amount in amounts.items() if name in words)


def states(counts: Mapping[State, int]) -> str:
    """``20 completed, 18 stopped, 2 failed``, in the order of the states."""
    return ", ".join(f"{counts[s]} {s.value.replace('_', ' ')}" for s in State if counts.get(s)) or "none"


def numbers(found: Sequence[int], limit: int = 6) -> str:
    """``3, 8, 13``; what is beyond ``limit`` is counted."""
    text = ", ".join(str(n) for n in found[:limit])
    return text + (f" and {len(found) - limit} more" if len(found) > limit else "")


def improvement(value: float, yardstick: float, mode: str) -> str:
    """How much better than a yardstick a value is: ``56% lower``, ``0.3 higher``, ``the same``."""
    if value == yardstick:
        return "the same"
    word = "lower" if value < yardstick else "higher"
    better = (value < yardstick) == (mode == "min")
    # Accuracies and scores that grow are read as differences, errors and losses as ratios.
    if mode == "min" and min(value, yardstick) > 0:
        share = abs(value - yardstick) / yardstick
        text = f"{share:.0%} {word}" if share >= 0.01 else f"{share:.2%} {word}"
    else:
        text = f"{number(abs(value - yardstick), 3)} {word}"
    return text if better else f"{text}, which is worse"
