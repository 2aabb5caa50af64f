"""What each trial of a study with ``gpu: auto`` is given, decided when it is made, and which are given nothing.

A configuration that fits no GPU is not started: it is infeasible, and the searcher is told so.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from raytune_suite.memory.forecaster import Forecaster
from raytune_suite.memory.needs import Needs
from raytune_suite.resources import Cluster, Request, is_auto, request
from raytune_suite.search.core import Suggestion
from raytune_suite.shares import CONTEXT, TooLargeError, allocatable, gib
from raytune_suite.study import Study

SAMPLES = 8
SAMPLING_S = 60.0


@dataclass(frozen=True)
class Typical:
    """What a trial of the study is likely to need, in bytes, None if that cannot be said; and in words."""

    bytes: int | None
    text: str


class Allotment:
    """The share of each configuration on this cluster. Raises as :func:`raytune_suite.resources.request`."""

    def __init__(self, study: Study, cluster: Cluster, needs: Needs, close: Callable[[], None] = lambda: None) -> None:
        self.study, self.cluster, self.needs, self.close = study, cluster, needs, close

    def foresee_point(self, suggestion: Suggestion) -> None:
        """Find out what a suggested configuration needs; may take seconds."""
        self.needs.foresee(self.study.search_space.config(suggestion.point))

    def request(self, config: Mapping[str, Any]) -> Request:
        """What a trial of this configuration asks for.

        Raises:
            TooLargeError: even without a margin it fits no GPU.
        """
        need = self.needs.need(config)
        try:
            return request(self.study, self.cluster, config, need.bytes)
        except TooLargeError:
            return request(self.study, self.cluster, config, need.expected)

    def facts(self, config: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """The ``resources`` of a trial's event, and why it cannot be started, if it cannot."""
        need = self.needs.need(config)
        forecast = {"forecast": need.forecast} if need.forecast is not None else {"unforeseen": need.why}
        try:
            asked = self.request(config)
        except TooLargeError as error:
            return forecast, f"it fits no GPU: {error}"
        memory = self._memory(asked)
        given = {"gpu_memory": allocatable(asked.gpu, memory)} if memory else {}
        return {"cpu": asked.cpu, "gpu": asked.gpu, **given, **forecast}, ""

    def typical(self, within_s: float = SAMPLING_S) -> Typical:
        """The median need of the default and a few drawn configurations that fit a GPU."""
        drawn, until = [], time.monotonic() + within_s
        for config in configurations(self.study, SAMPLES):
            drawn.append((config, self.needs.foresee(config)))
            if time.monotonic() > until or drawn[-1][1].bytes is None:
                break
        if (failed := next((found for _, found in drawn if found.bytes is None), None)) is not None:
            return Typical(None, f"gpu: auto = a whole GPU until trials are measured: {failed.why}")
        needed = [self.needs.need(config).bytes or 0 for config, _ in drawn]
        fitting = [need for need in needed if self._fits(need)]
        if not fitting:
            return Typical(None, f"none of {len(needed)} configurations fits a GPU: they need {_range(needed)}")
        text = f"gpu: auto = by forecast, {_range(needed)} and {gib(CONTEXT)} for the CUDA context"
        return Typical(int(statistics.median_low(fitting)), text)

    def _fits(self, need: int) -> bool:
        try:
            request(self.study, self.cluster, None, need)
        except TooLargeError:
            return False
        return True

    def _memory(self, asked: Request) -> int:
        kinds = [k for k in self.cluster.kinds if asked.accelerator_type in (None, k.accelerator_type)]
        return min((kind.memory or 0 for kind in kinds), default=0)


def allotment(study: Study, cluster: Cluster) -> Allotment | None:
    """How trials are given shares by forecast; None where there is nothing to share, or its memory is not known."""
    kinds = cluster.kinds
    if not is_auto(study) or not kinds or any(kind.memory is None for kind in kinds):
        return None
    forecaster = Forecaster(study)
    return Allotment(study, cluster, Needs(forecaster), forecaster.close)


def foreseen(study: Study, cluster: Cluster) -> Typical | None:
    """What a typical trial needs; None where nothing is forecast."""
    made = allotment(study, cluster)
    if made is None:
        return None
    try:
        return made.typical()
    finally:
        made.close()


def points(study: Study, count: int) -> list[dict[str, Any]]:
    """The default, if there is one, and drawn points of the space; the same for the same study."""
    space, rng = study.search_space, np.random.default_rng(study.seed)
    found = [space.complete(study.default, rng)] if study.default is not None else []
    return found + [space.sample(rng) for _ in range(count - len(found))]


def configurations(study: Study, count: int) -> list[dict[str, Any]]:
    """The configurations of such points."""
    return [dict(study.search_space.config(point)) for point in points(study, count)]


def _range(needed: list[int]) -> str:
    low, high = gib(min(needed)), gib(max(needed))
    return low if low == high else f"{low} to {high}"
