"""What one parameter may be: the types of a search space as frozen values.

Every domain maps to and from the unit interval. ``from_unit`` of a uniform number draws as Ray Tune's type
of the same name does (quantised floats have half a cell at each end, logarithmic integers are floored
logarithmic floats); ``to_unit`` gives the middle of what ``from_unit`` maps to the value.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np

MOST_VALUES = 1_000_000
"""A finite domain with more values than this has a ``count`` but does not list its ``values()``."""

_TAIL = 1e-12
"""How near to 0 and 1 an unbounded domain goes: about seven standard deviations."""


class Domain(ABC):
    """The values one parameter may have, and how they are drawn."""

    ordered: ClassVar[bool] = True
    log: bool = False

    def sample(self, rng: np.random.Generator) -> Any:
        """Draw one value."""
        return self.from_unit(float(rng.random()))

    def contains(self, value: Any) -> bool:
        """Say whether ``value`` is one that this domain gives, its type included."""
        if isinstance(value, np.generic):
            return False
        try:
            return identity(self.cast(value)) == identity(value)
        except ValueError:
            return False

    @abstractmethod
    def cast(self, value: Any) -> Any:
        """Return the value of this domain that a user's ``value`` stands for (1 for 1.0 in a float).

        Raises:
            ValueError: there is none; the text says what the domain takes.
        """

    @abstractmethod
    def to_unit(self, value: Any) -> float:
        """Map a value into [0, 1]."""

    @abstractmethod
    def from_unit(self, u: float) -> Any:
        """Map a number in [0, 1] to a value; numbers outside are clipped."""

    @property
    def count(self) -> int | None:
        """How many values there are; None if not finite."""
        return None

    def values(self) -> tuple[Any, ...] | None:
        """All values in order; None if they are not finite (or more than a million)."""
        if self.count is None or self.count > MOST_VALUES:
            return None
        return tuple(self._value(index) for index in range(self.count))

    def spread(self, points: int) -> tuple[Any, ...]:
        """Return ``points`` values spread evenly over the domain, its ends included, without repeats."""
        units = np.linspace(0.0, 1.0, points) if points > 1 else [0.5]
        return distinct([self.from_unit(float(u)) for u in units])

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return kind, lower, upper, log, q and values as far as they apply, ready for JSON."""

    def _value(self, index: int) -> Any:
        raise IndexError(f"{self} has no value number {index}")


@dataclass(frozen=True)
class Float(Domain):
    """Floats from ``lower`` to ``upper``, on a linear or logarithmic scale, or multiples of ``q`` there."""

    lower: float
    upper: float
    log: bool = False
    q: float | None = None

    def __post_init__(self) -> None:
        if self.q is not None:
            # 0.30000000000000004 as a bound would exclude the 0.3 that is drawn
            object.__setattr__(self, "lower", self._multiple(self.lower))
            object.__setattr__(self, "upper", self._multiple(self.upper))

    def cast(self, value: Any) -> float:
        """Accept any number within the bounds; near multiples of ``q`` become exact."""
        number = as_float(value)
        if self.q is not None:
            number = _on_grid(number, self.q)
        if not self.lower <= number <= self.upper:
            raise ValueError(f"must lie between {self.lower:g} and {self.upper:g}")
        return number

    def to_unit(self, value: Any) -> float:
        """Linear, or linear in the logarithm."""
        if self.upper == self.lower:
            return 0.5
        low, high, at = (self._scale(x) for x in (self.lower, self.upper, float(value)))
        return min(1.0, max(0.0, (at - low) / (high - low)))

    def from_unit(self, u: float) -> float:
        """The inverse of :meth:`to_unit`, rounded to the nearest multiple of ``q``."""
        if u <= 0.0:
            return self.lower
        if u >= 1.0:
            return self.upper
        low, high = self._scale(self.lower), self._scale(self.upper)
        at = low + u * (high - low)
        number = math.exp(at) if self.log else at
        if self.q is not None:
            number = self._multiple(number)
        return min(self.upper, max(self.lower, number))

    @property
    def count(self) -> int | None:
        """The number of multiples of ``q``."""
        return None if self.q is None else round((self.upper - self.lower) / self.q) + 1

    def describe(self) -> dict[str, Any]:
        """Kind "float"."""
        return {"kind": "float", "lower": self.lower, "upper": self.upper, "log": self.log, "q": self.q}

    def _scale(self, value: float) -> float:
        return math.log(value) if self.log else value

    def _value(self, index: int) -> float:
        return self._multiple(self.lower + index * (self.q or 0.0))

    def _multiple(self, number: float) -> float:
        return _multiple(number, self.q or 1.0)


@dataclass(frozen=True)
class Int(Domain):
    """Multiples of ``q`` from ``lower`` to ``upper``, both included, equally likely or logarithmically."""

    lower: int
    upper: int
    log: bool = False
    q: int = 1

    def cast(self, value: Any) -> int:
        """Accept whole numbers only."""
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            raise ValueError("must be a whole number")
        number = int(value)
        if not self.lower <= number <= self.upper:
            raise ValueError(f"must lie between {self.lower} and {self.upper}")
        if number % self.q:
            raise ValueError(f"must be a multiple of {self.q}")
        return number

    def to_unit(self, value: Any) -> float:
        """The middle of the cell of ``value``; the cells fill [0, 1]."""
        at = int(value) // self.q
        low, high = self._scale(self._first), self._scale(self._last + 1)
        return (self._scale(at) + self._scale(at + 1) - 2 * low) / (2 * (high - low))

    def from_unit(self, u: float) -> int:
        """The value whose cell holds ``u``."""
        u = min(1.0, max(0.0, u))
        low, high = self._scale(self._first), self._scale(self._last + 1)
        at = low + u * (high - low)
        index = math.floor(math.exp(at) if self.log else at)
        return min(self._last, max(self._first, index)) * self.q

    @property
    def count(self) -> int:
        """The number of multiples of ``q``."""
        return self._last - self._first + 1

    def describe(self) -> dict[str, Any]:
        """Kind "int"."""
        return {"kind": "int", "lower": self.lower, "upper": self.upper, "log": self.log, "q": self.q}

    @property
    def _first(self) -> int:
        return -(-self.lower // self.q)

    @property
    def _last(self) -> int:
        return self.upper // self.q

    def _scale(self, index: int) -> float:
        return math.log(index) if self.log else float(index)

    def _value(self, index: int) -> int:
        return (self._first + index) * self.q


@dataclass(frozen=True)
class Normal(Domain):
    """Normally distributed floats; unbounded, though the unit cube ends seven deviations out."""

    mean: float
    sd: float
    q: float | None = None

    def sample(self, rng: np.random.Generator) -> float:
        """Draw from the distribution itself, tails included."""
        return self._round(float(rng.normal(self.mean, self.sd)))

    def cast(self, value: Any) -> float:
        """Accept any finite number."""
        number = as_float(value)
        if not math.isfinite(number):
            raise ValueError("must be a finite number")
        return number if self.q is None else _on_grid(number, self.q)

    def to_unit(self, value: Any) -> float:
        """The distribution function."""
        return min(1.0 - _TAIL, max(_TAIL, NormalDist(self.mean, self.sd).cdf(float(value))))

    def from_unit(self, u: float) -> float:
        """The quantile."""
        return self._round(NormalDist(self.mean, self.sd).inv_cdf(min(1.0 - _TAIL, max(_TAIL, u))))

    def spread(self, points: int) -> tuple[Any, ...]:
        """Equally likely cells, each by its middle: the ends lie at infinity."""
        return distinct([self.from_unit((index + 0.5) / points) for index in range(points)])

    def describe(self) -> dict[str, Any]:
        """Kind "normal"."""
        return {"kind": "normal", "mean": self.mean, "sd": self.sd, "q": self.q, "log": False}

    def _round(self, number: float) -> float:
        return number if self.q is None else _multiple(number, self.q)


@dataclass(frozen=True)
class Choice(Domain):
    """One of a list of values of any type, equally likely, without an order.

    Value k of the list owns the k-th of equal cells of the unit interval.
    """

    listed: tuple[Any, ...]
    _index_of: dict[str, int] = field(init=False, repr=False, compare=False)

    kind: ClassVar[str] = "choice"
    ordered: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "listed", tuple(self.listed))
        index_of = {identity(value): index for index, value in enumerate(self.listed)}
        for index, value in enumerate(self.listed):
            if (twin := _twin(value)) is not None:
                index_of.setdefault(identity(twin), index)
        object.__setattr__(self, "_index_of", index_of)

    def cast(self, value: Any) -> Any:
        """Accept a listed value; a number may be given as its equal of the other type (1 for 1.0)."""
        return self.listed[self._index(value)]

    @property
    def count(self) -> int:
        """The length of the list."""
        return len(self.listed)

    def to_unit(self, value: Any) -> float:
        """The middle of the cell of ``value``."""
        return (self._cells.index(self._index(value)) + 0.5) / len(self.listed)

    def from_unit(self, u: float) -> Any:
        """The value whose cell holds ``u``."""
        cell = math.floor(min(1.0, max(0.0, u)) * len(self.listed))
        return self.listed[self._cells[min(cell, len(self.listed) - 1)]]

    def describe(self) -> dict[str, Any]:
        """Kind "choice" or "grid", and the values."""
        return {"kind": self.kind, "values": list(self.listed), "log": False}

    @property
    def _cells(self) -> Sequence[int]:
        """Which value each cell of the unit interval belongs to."""
        return range(len(self.listed))

    def _value(self, index: int) -> Any:
        return self.listed[index]

    def _index(self, value: Any) -> int:
        index = self._index_of.get(identity(value))
        if index is None:
            raise ValueError(f"must be one of {listing(self.listed)}")
        return index


@dataclass(frozen=True)
class Grid(Choice):
    """Values listed for a grid; a choice to every other searcher, with an order if all are numbers."""

    kind: ClassVar[str] = "grid"

    @property
    def ordered(self) -> bool:  # type: ignore[override]
        """Whether all values are numbers; then their order, not that of the list, rules the unit interval."""
        return all(_is_number(value) for value in self.listed)

    @property
    def _cells(self) -> Sequence[int]:
        indices = range(len(self.listed))
        return sorted(indices, key=lambda index: self.listed[index]) if self.ordered else indices


def identity(value: Any) -> str:
    """Return a text that differs for different values, 1, 1.0 and True included; lists and tuples are one."""
    return json.dumps(value, sort_keys=True, default=_plain)


def distinct(values: Sequence[Any]) -> tuple[Any, ...]:
    """Return ``values`` without repeats, in order."""
    return tuple({identity(value): value for value in values}.values())


def listing(values: Sequence[Any], most: int = 12) -> str:
    """Return the first values as text, and how many more there are."""
    text = ", ".join(map(repr, values[:most]))
    return text if len(values) <= most else f"{text} and {len(values) - most} more"


def as_float(value: Any) -> float:
    """Return a number of any type as a float.

    Raises:
        ValueError: it is not a number.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise ValueError("must be a number")
    if math.isnan(value):
        raise ValueError("must be a number, not NaN")
    return float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return f"{type(value).__qualname__}({value!r})"


def _multiple(number: float, q: float) -> float:
    """The multiple of ``q`` nearest to ``number``, with q's own decimals: 0.3, not 0.30000000000000004."""
    return float(Decimal(repr(float(q))) * round(number / q)) + 0.0


def _on_grid(number: float, q: float) -> float:
    """The multiple of ``q`` that ``number`` is but for rounding errors."""
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    multiple = _multiple(number, q)
    if not math.isclose(multiple, number, rel_tol=1e-9, abs_tol=q * 1e-9):
        raise ValueError(f"must be a multiple of {q:g}")
    return multiple


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _twin(value: Any) -> float | int | None:
    """The equal number of the other type, if there is one."""
    if not _is_number(value):
        return None
    if isinstance(value, int):
        return float(value) if abs(value) < 2**53 else None
    return int(value) if value.is_integer() else None
