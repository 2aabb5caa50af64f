"""The written form of a space made in Python: ``ray.tune`` domains become the mappings of a study file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raytune_suite.space.declared import DeclarationError

_RAY = "ray.tune.search.sample"


def written(raw: Any) -> Any:
    """Return a deep copy of ``raw`` as plain data: ray.tune domains written out, tuples as lists.

    Ray is not imported: an object of one of its types can only exist if somebody else did.

    Raises:
        DeclarationError: a domain without a written form (``tune.sample_from``).
    """
    if isinstance(raw, Mapping):
        return {key: written(value) for key, value in raw.items()}
    if isinstance(raw, (list, tuple)):
        return [written(value) for value in raw]
    if is_ray_domain(raw):
        return _ray_domain(raw)
    item = getattr(raw, "item", None)
    if type(raw).__module__ == "numpy" and callable(item):
        return raw.tolist()
    return raw


def is_ray_domain(value: Any) -> bool:
    """Say whether ``value`` is one of ``ray.tune``'s domains."""
    return any(base.__module__ == _RAY and base.__name__ == "Domain" for base in type(value).__mro__)


def _ray_domain(domain: Any) -> dict[str, list[Any]]:
    sampler, q = domain.get_sampler(), None
    if type(sampler).__name__ == "Quantized":
        sampler, q = sampler.sampler, sampler.q
    family, scale = type(domain).__name__, str(sampler)
    if family == "Categorical":
        name = "grid" if domain.is_grid() else "choice"
        if any(is_ray_domain(value) for value in domain.categories):
            raise DeclarationError("a choice between domains cannot be written down", fix="Use `when` instead.")
        return {name: written(list(domain.categories))}
    if family == "Float" and scale == "Normal":
        return _named("randn", [float(sampler.mean), float(sampler.sd)], q)
    if family in ("Float", "Integer") and scale in ("Uniform", "LogUniform"):
        name = {"Float": "uniform", "Integer": "randint"}[family]
        bounds = [written(domain.lower), written(domain.upper)]
        return _named(f"{'log' if scale == 'LogUniform' else ''}{name}", bounds, q)
    fix = "Use choice, or `when` and `constraint` for parameters that depend on others."
    raise DeclarationError(
        f"a ray.tune {family} ({scale}) cannot be written down, so the study could not be resumed", fix=fix
    )


def _named(name: str, arguments: list[Any], q: Any) -> dict[str, list[Any]]:
    return {name: arguments} if q is None else {f"q{name}": [*arguments, q]}
