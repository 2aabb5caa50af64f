"""How a parameter looks to a library that knows only numbers, steps and indices.

Floats stand for themselves, ints for the number of their step (so that steps and logarithms go together, which most
libraries refuse), choices for the number of their place. A number that lies between or beyond our values, as a
library may answer for want of a type of its own, stands for the nearest of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raytune_suite.space import Choice, Domain, Float, Int, Normal, Parameter, Point, Space


def encode(domain: Domain, value: Any) -> float | int:
    """The number of ``value``: a float itself, else a step or a place."""
    if isinstance(domain, Choice):
        return min(int(domain.to_unit(value) * domain.count), domain.count - 1)
    return int(value) // domain.q if isinstance(domain, Int) else float(value)


def decode(domain: Domain, number: float) -> Any:
    """The value that ``number`` stands for, clipped into the domain and to its steps."""
    if isinstance(domain, Choice):
        place = min(max(round(number), 0), domain.count - 1)
        return domain.from_unit((place + 0.5) / domain.count)
    if isinstance(domain, Int):
        low, high = steps(domain)
        return min(max(round(number), low), high) * domain.q
    if isinstance(domain, Float):
        number = min(domain.upper, max(domain.lower, float(number)))
    stepped = isinstance(domain, (Float, Normal)) and domain.q is not None
    return domain.from_unit(domain.to_unit(number)) if stepped else float(number)


def steps(domain: Int) -> tuple[int, int]:
    """The numbers of the first and the last step."""
    return -(-domain.lower // domain.q), domain.upper // domain.q


def fixed(domain: Domain) -> bool:
    """Whether there is only one value: nothing to search."""
    return domain.count == 1 or (isinstance(domain, Float) and domain.lower == domain.upper)


def define_by_run(space: Space, draw: Callable[[Parameter], Any]) -> Point:
    """A point made value by value in the order of the space; ``draw`` is asked only for parameters that exist."""
    point: Point = {}
    for parameter in space.parameters:
        if parameter.when is None or parameter.name in space.activate({**point, parameter.name: None}):
            point[parameter.name] = draw(parameter)
    return point
