"""Which parameters a population changes on the way, over which domains, and how values stay inside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from raytune_suite.errors import Problem, StudyError
from raytune_suite.nearest import did_you_mean
from raytune_suite.space import Domain, Float, Int, Normal, Space

if TYPE_CHECKING:
    from raytune_suite.study import Study

MUTATIONS = "scheduler.hyperparam_mutations"
# Columns of PB2's own table: a parameter of this name would overwrite them.
TAKEN = frozenset({"Trial", "Time", "Reward", "y", "t_change", "R_before"})


def mutations_of(study: Study, given: list[str] | Mapping[str, Any] | None) -> tuple[dict[str, Domain], list[Problem]]:
    """Return the domains PBT mutates, by dotted name, and what is wrong with the option.

    By default these are the continuous parameters: another number of channels or layers would not fit the
    weights that are taken over, so anything else must be named.
    """
    where = MUTATIONS
    if isinstance(given, Mapping):
        return _given_domains(study, given, where)
    fixed = _structural(study.search_space)
    if given is None:
        domains: dict[str, Domain] = {
            p.name: p.domain
            for p in study.search_space.parameters
            if isinstance(p.domain, (Float, Normal)) and p.name not in fixed
        }
        return domains, [] if domains else [_nothing_continuous(where)]
    problems = [problem for name in given if (problem := _unusable(study, name, fixed, where))]
    return {p.name: p.domain for p in study.search_space.parameters if p.name in given}, problems


def bounds_of(
    study: Study, given: list[str] | Mapping[str, list[float]] | None
) -> tuple[dict[str, Float], list[Problem]]:
    """Return the bounds PB2 searches, by dotted name, and what is wrong with the option."""
    where = "scheduler.hyperparam_bounds"
    specs = {name: {"uniform": list(pair)} for name, pair in given.items()} if isinstance(given, Mapping) else None
    domains, problems = mutations_of(study, specs if specs is not None else given)
    problems = [replace(p, where=p.where.replace(MUTATIONS, where)) for p in problems]
    # Normal has no bounds: left out of the default, refused when named.
    if given is None:
        domains = {name: domain for name, domain in domains.items() if _continuous(domain)}
        problems = [] if domains else [_nothing_continuous(where)]
    for name, domain in domains.items():
        if not _continuous(domain):
            rule = f"pb2 changes continuous parameters only (uniform or loguniform), and {name} is not one"
            problems.append(Problem(where, rule, fix="Leave it out, or use pbt."))
        if name in TAKEN:
            problems.append(Problem(where, f"pb2 cannot change a parameter called {name}", fix="Rename it."))
    return {name: domain for name, domain in domains.items() if isinstance(domain, Float)}, problems


def _continuous(domain: Domain) -> bool:
    return isinstance(domain, Float) and domain.q is None


def _nothing_continuous(where: str) -> Problem:
    rule = "there is no continuous parameter without a condition to change on the way"
    return Problem(where, rule, fix="Name the parameters to change, or use another scheduler.")


def _structural(space: Space) -> set[str]:
    """Return the parameters that exist only under a condition, or decide whether others exist.

    A mutation of these would leave the clone with too many or too few parameters.
    """
    named: set[str] = set()
    for parameter in space.parameters:
        if parameter.when is not None:
            named |= {parameter.name, *parameter.when.names}
    return named


def _unusable(study: Study, name: str, fixed: set[str], where: str) -> Problem | None:
    names = [p.name for p in study.search_space.parameters]
    if name not in names:
        return Problem(where, f"{name} is not a parameter of the space", fix=did_you_mean(name, names))
    if name in fixed:
        rule = f"{name} has a condition, or other parameters depend on it, so a clone may not fit"
        return Problem(where, rule, fix="Leave it out.")
    return None


def _given_domains(study: Study, given: Mapping[str, Any], where: str) -> tuple[dict[str, Domain], list[Problem]]:
    space = study.search_space
    fixed, known = _structural(space), [p.name for p in space.parameters] + list(space.constants)
    problems = []
    for name in given:
        if name not in known:
            problems.append(Problem(where, f"{name} is not in the space", fix=did_you_mean(name, known)))
        elif name in fixed:
            problems += [p for p in [_unusable(study, name, fixed, where)] if p]
    specs = {name: {"choice": spec} if isinstance(spec, list) else spec for name, spec in given.items()}
    try:
        parsed = Space.parse(nested(specs))
    except StudyError as error:
        return {}, problems + [Problem(f"{where}: {p.where}", p.rule, p.value, p.fix) for p in error.problems]
    domains = {p.name: p.domain for p in parsed.parameters}
    constant = [name for name in given if name not in domains]
    problems += [Problem(where, f"{name} has one value only", given[name]) for name in constant]
    return domains, problems


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{"optimizer": {"lr": x}}`` for ``{"optimizer.lr": x}``."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *path, last = name.split(".")
        level = tree
        for part in path:
            level = level.setdefault(part, {})
        level[last] = value
    return tree


def lookup(tree: Mapping[str, Any], name: str) -> Any:
    """Return the value at a dotted name of a nested config; None where there is none."""
    level: Any = tree
    for part in name.split("."):
        level = level.get(part) if isinstance(level, Mapping) else None
    return level


def inside(domain: Domain, value: Any) -> Any:
    """Return the nearest value of the domain, of its exact type; Ray multiplies without looking at bounds."""
    if isinstance(domain, Float):
        value = min(max(float(value), domain.lower), domain.upper)
        return domain.cast(_stepped(value, domain.lower, domain.upper, domain.q)) if domain.q else value
    if isinstance(domain, Int):
        value = min(max(round(value), domain.lower), domain.upper)
        return domain.cast(round(_stepped(value, domain.lower, domain.upper, domain.q)))
    if isinstance(domain, Normal):
        return round(value / domain.q) * domain.q if domain.q else float(value)
    return value


def _stepped(value: float, lower: float, upper: float, q: float) -> float:
    """Return the multiple of ``q`` nearest to ``value`` that lies within the bounds."""
    first, last = math.ceil(lower / q - 1e-9), math.floor(upper / q + 1e-9)
    return min(max(round(value / q), first), last) * q
