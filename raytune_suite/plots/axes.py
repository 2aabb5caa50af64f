"""Where a parameter's value lies on a picture's axis: linear, logarithmic or a place for each choice."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from raytune_suite.analysis import Experiment, flatten

Ticks = list[tuple[float, str]]


@dataclass(frozen=True)
class Axis:
    """One parameter: a range of numbers (``choices`` empty) or a list of choices, by their labels."""

    name: str
    lower: float = 0.0
    upper: float = 1.0
    log: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()

    @property
    def ordered(self) -> bool:
        """The values are numbers on a scale."""
        return not self.choices

    def place(self, value: Any) -> float | None:
        """The value's coordinate: the number itself, or the index of the choice; None if it has no place."""
        if self.choices:
            text = label(value)
            return float(self.choices.index(text)) if text in self.choices else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return None if self.log and value <= 0 else float(value)

    def unit(self, value: Any) -> float | None:
        """The value's place between 0 and 1, None if it has none."""
        place = self.place(value)
        if place is None:
            return None
        if self.choices:
            return 0.5 if len(self.choices) == 1 else place / (len(self.choices) - 1)
        low, high, here = (self._scale(x) for x in (self.lower, self.upper, place))
        return 0.5 if low == high else min(1.0, max(0.0, (here - low) / (high - low)))

    def ticks(self) -> Ticks:
        """Some places between 0 and 1 with their labels."""
        if self.choices:
            return [(self.unit(choice) or 0.0, choice) for choice in self.choices]
        if self.lower == self.upper:
            return [(0.5, number(self.lower))]
        if not self.log:
            steps = (0.0, 0.25, 0.5, 0.75, 1.0)
            return [(s, number(self.lower + s * (self.upper - self.lower))) for s in steps]
        first, last = math.ceil(math.log10(self.lower) - 1e-9), math.floor(math.log10(self.upper) + 1e-9)
        if last - first < 1:
            return [(0.0, number(self.lower)), (1.0, number(self.upper))]
        stride = 1 + (last - first) // 6
        return [(self.unit(10.0**e) or 0.0, number(10.0**e)) for e in range(first, last + 1, stride)]

    def _scale(self, value: float) -> float:
        return math.log(value) if self.log else value


def axes(experiment: Experiment) -> list[Axis]:
    """An axis for each parameter of the study that can vary, in its order.

    An experiment whose journal does not describe its space gets the axes its configs suggest.
    """
    seen: dict[str, list[Any]] = {}
    for trial in experiment.record.trials.values():
        for name, value in (trial.point or flatten(trial.config)).items():
            seen.setdefault(name, []).append(value)
    described = {parameter["name"]: parameter for parameter in experiment.record.space}
    names = list(described) or list(seen)
    found = [_axis(name, described.get(name, {}), seen.get(name, [])) for name in names]
    return [axis for axis in found if len(axis.choices) > 1 or axis.upper > axis.lower]


def label(value: Any) -> str:
    """A choice as it is written under a picture: texts bare, everything else as JSON."""
    text = value if isinstance(value, str) else number(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def number(value: Any) -> str:
    """A number in four digits ("0.001", "1e-5"), anything else as JSON."""
    if isinstance(value, float):
        mantissa, letter, power = f"{value:.4g}".partition("e")
        return f"{mantissa}e{int(power)}" if letter else mantissa
    return json.dumps(value, ensure_ascii=False, default=str)


def _axis(name: str, described: dict[str, Any], values: list[Any]) -> Axis:
    listed = described.get("values")
    if listed is not None and not (described.get("kind") == "grid" and _numeric(listed)):
        return Axis(name, upper=0.0, choices=_labels(listed))
    if listed is None and not _numeric(values) and described.get("lower") is None:
        return Axis(name, upper=0.0, choices=_labels(values))
    numbers = [v for v in [*(listed or []), *values] if _numeric([v])]
    bounds = [v for v in (described.get("lower"), described.get("upper")) if v is not None]
    span = bounds or [min(numbers, default=0.0), max(numbers, default=0.0)]
    log = bool(described.get("log")) and min(span) > 0
    whole = described.get("kind") == "int" or all(isinstance(v, int) for v in numbers)
    return Axis(name, float(min(span)), float(max(span)), log=log, whole=whole)


def _labels(values: Iterable[Any]) -> tuple[str, ...]:
    values = list(values)
    if _numeric(values):
        values.sort()
    return tuple(dict.fromkeys(label(value) for value in values))


def _numeric(values: Iterable[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)
