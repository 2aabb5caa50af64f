"""How much GPU memory the configurations of a space take, what that depends on, and what it packs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raytune_suite.errors import PlanError
from raytune_suite.memory.allotment import Allotment, points
from raytune_suite.memory.forecaster import WORKSPACE, Forecast
from raytune_suite.memory.needs import Needs
from raytune_suite.packing import trials_at_once
from raytune_suite.resources import Cluster, Request
from raytune_suite.shares import CONTEXT, TooLargeError, gib, trials_on_one
from raytune_suite.study import Study

QUANTILES = {"lowest": 0.0, "median": 0.5, "nine of ten": 0.9, "highest": 1.0}
_BINS = 4
_WIDTH = 30
_WORTH = 0.02
_EACH = 3
_PLENTY = 1e4
ENOUGH = _BINS * _EACH
"""Fewer configurations do not tell what memory depends on."""


@dataclass(frozen=True)
class Survey:
    """Points of a study's space and what each of them takes; ``unforeseen``: why not, for those without a forecast."""

    study: Study
    points: tuple[dict[str, Any], ...]
    forecasts: tuple[Forecast, ...]
    unforeseen: tuple[str, ...]
    needs: Needs

    def bytes(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """What each configuration is expected to take, calibrated where trials were measured."""
        fit = self.needs.calibration
        return np.array([fit.expected(found.bytes or 0) for found in self.forecasts])


def take(
    study: Study,
    forecast: Callable[[Mapping[str, Any]], Forecast],
    count: int,
    past: Iterable[Mapping[str, Any]] = (),
) -> Survey:
    """Forecast the default and drawn configurations of a study; ``past``: the events of trials that were measured.

    Raises:
        PlanError: none of them can be forecast.
    """
    needs = Needs(forecast)
    for event in past:
        needs.apply(event)
    drawn = points(study, count)
    found = [(point, needs.foresee(study.search_space.config(point))) for point in drawn]
    known = [(point, forecast) for point, forecast in found if forecast.bytes is not None]
    why = tuple(forecast.why for _, forecast in found if forecast.bytes is None)
    if not known:
        raise PlanError(
            f"GPU memory cannot be forecast: {why[0].rstrip('.')}. With gpu: auto trials get whole GPUs until some are "
            "measured; or say what one needs, as resources: {gpu_memory: 6GiB}"
        )
    return Survey(study, tuple(p for p, _ in known), tuple(f for _, f in known), why, needs)


def drivers(survey: Survey) -> dict[str, float]:
    """The share of the variation of memory (of its logarithm) that each parameter explains alone, largest first.

    The correlation ratio over its values, or over quarters of a parameter with many, corrected for their number
    (epsilon squared, Kelley 1935); parameters that explain next to nothing are left out.
    """
    sizes = np.log(np.maximum(survey.bytes(), 1.0))
    total = float(np.sum((sizes - sizes.mean()) ** 2))
    if total <= 1e-9:
        return {}
    found = {name: _explained(survey, name, sizes, total) for name in survey.study.search_space.names}
    ordered = sorted(found.items(), key=lambda item: -item[1])
    return {name: part for name, part in ordered if part >= _WORTH}


def _explained(survey: Survey, name: str, sizes: np.ndarray[Any, Any], total: float) -> float:
    """Of a parameter that is not always there, what it explains among the points that have it."""
    there = np.array([name in point for point in survey.points])
    labels = np.array(_groups([point[name] for point in survey.points if name in point]))
    sizes = sizes[there]
    count, kinds = len(sizes), len(set(labels))
    if kinds < 2 or count < _EACH * kinds:
        return 0.0
    own = float(np.sum((sizes - sizes.mean()) ** 2))
    within = sum(float(np.sum((part - part.mean()) ** 2)) for part in (sizes[labels == one] for one in set(labels)))
    return max(0.0, own - within / (count - kinds) * (count - 1)) / total


def _groups(values: Sequence[Any]) -> list[str]:
    """The group of each value: itself, or its quarter where there are many numbers."""
    distinct = set(map(repr, values))
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    if len(distinct) <= _BINS or not numbers:
        return [repr(value) for value in values]
    edges = np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1])
    return [str(int(place)) for place in np.searchsorted(edges, values)]


def lines(survey: Survey, cluster: Cluster) -> Iterator[str]:
    """The survey in words: the distribution, its causes, and the packing on this cluster."""
    study, count = survey.study, len(survey.points)
    first = ", the default first" if study.default is not None else ""
    yield f"{study.name}: GPU memory of {count} configurations{first}, forecast without a GPU"
    if survey.unforeseen:
        yield f"{len(survey.unforeseen)} more cannot be forecast: {survey.unforeseen[0]}"
    yield ""
    yield from _distribution(survey)
    yield ""
    yield from _causes(survey)
    yield ""
    yield from _packing(survey, cluster)


def _distribution(survey: Survey) -> Iterator[str]:
    parts = {
        "at most": survey.bytes(),
        "parameters": np.array([f.parameters for f in survey.forecasts]),
        "gradients": np.array([f.parameters for f in survey.forecasts]),
        "optimizer": np.array([f.optimizer for f in survey.forecasts]),
        "the rest": np.array([max(0, f.allocated - 2 * f.parameters - f.optimizer) for f in survey.forecasts]),
    }
    yield "".join(["             ", *(f"{name:>14}" for name in QUANTILES)])
    for name, sizes in parts.items():
        yield "".join([f"{name:13}", *(f"{gib(float(np.quantile(sizes, at))):>14}" for at in QUANTILES.values())])
    yield f"at most includes {gib(WORKSPACE)} of workspaces; {survey.needs.calibration.describe()}"
    yield f"the CUDA context of each trial comes on top: {gib(CONTEXT)}"
    if read := max(f.read for f in survey.forecasts):
        yield f"the code reads {read} whole numbers back, each taken to be 1: sizes that depend on them are not known"


def _causes(survey: Survey) -> Iterator[str]:
    if len(survey.points) < ENOUGH:
        yield f"fewer than {ENOUGH} configurations do not tell what it depends on"
        return
    found = drivers(survey)
    if not found:
        yield "it depends on no parameter of the space"
        return
    yield "what it depends on, as the part of its variation that a parameter explains alone:"
    width = max(map(len, found))
    for name, part in found.items():
        yield f"  {name:{width}}  {part:4.0%}  {_bar(part)}"


def _packing(survey: Survey, cluster: Cluster) -> Iterator[str]:
    if not cluster.gpus:
        yield "this machine has no GPU: --gpus 4 --gpu-memory 24GiB says what it would pack to"
        return
    yield f"on {', '.join(kind.describe() for kind in cluster.kinds)}:"
    requests, refused = _requests(survey, cluster)
    yield f"  {'share':>8}  {'on one GPU':>10}  configurations"
    for (gpu, kind), number in sorted(Counter((r.gpu, r.accelerator_type or "") for r in requests).items()):
        part = number / len(survey.points)
        yield f"  {gpu:8g}  {trials_on_one(gpu):10}  {part:4.0%}  {_bar(part)}{f' only on {kind}' if kind else ''}"
    if refused:
        yield f"  {'none':>8}  {0:10}  {refused / len(survey.points):4.0%}  too large: infeasible"
    if requests:
        together = trials_at_once(requests, cluster.nodes)
        yield f"  about {together:.3g} trials at once; with one a GPU it would be {cluster.gpus:g}"
        by_memory = trials_at_once(requests, [replace(node, cpu=_PLENTY) for node in cluster.nodes])
        if by_memory > 1.05 * together:
            yield f"  CPUs are the limit: the GPUs have room for {by_memory:.3g} (resources.cpu)"


def _requests(survey: Survey, cluster: Cluster) -> tuple[list[Request], int]:
    allotted, found, refused = Allotment(survey.study, cluster, survey.needs), [], 0
    for point in survey.points:
        try:
            found.append(allotted.request(survey.study.search_space.config(point)))
        except TooLargeError:
            refused += 1
    return found, refused


def _bar(part: float) -> str:
    return "█" * max(1, round(part * _WIDTH))
