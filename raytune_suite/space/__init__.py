"""Search spaces: parse, check, sample, count, and map to and from the unit cube."""

from __future__ import annotations

from raytune_suite.space.core import Point, Space
from raytune_suite.space.declared import DeclarationError
from raytune_suite.space.domains import Choice, Domain, Float, Grid, Int, Normal, identity
from raytune_suite.space.parse import Parameter
from raytune_suite.space.written import written

__all__ = [
    "Choice",
    "DeclarationError",
    "Domain",
    "Float",
    "Grid",
    "Int",
    "Normal",
    "Parameter",
    "Point",
    "Space",
    "identity",
    "written",
]
