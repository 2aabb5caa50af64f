"""What each trial asks Ray for: as the study has it for its configuration, or more after it ran out of memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from raytune_suite import ray_runtime
from raytune_suite.adapters import Asks
from raytune_suite.density import Density
from raytune_suite.hostmemory import Kills
from raytune_suite.ladder import beyond
from raytune_suite.live import Given, Log
from raytune_suite.memory.allotment import Allotment
from raytune_suite.resources import Cluster, request
from raytune_suite.study import Study


class Asking:
    """Called with a configuration and what its trial was given beyond it.

    One object for each distinct request, so that Tune can compare them quickly.
    """

    def __init__(
        self,
        study: Study,
        cluster: Cluster,
        allotment: Allotment | None = None,
        density: Density | None = None,
        log: Log | None = None,
    ) -> None:
        self._study, self._cluster, self._allotment = study, cluster, allotment
        self._density, self._log = density, log
        self._made: dict[tuple[str, int], Asks] = {}

    @property
    def most_memory(self) -> float:
        """Bytes of main memory of the machine that has most."""
        return max((float(node.memory) for node in (*self._cluster.nodes, *self._cluster.growth)), default=0.0)

    @property
    def kills(self) -> Kills | None:
        """What tells of kills for memory, if the only machine is this one."""
        return Kills() if len(self._cluster.nodes) == 1 and not self._cluster.autoscaling else None

    def __call__(self, config: dict[str, Any], given: Given) -> Asks:
        """What the trial asks for; raises as :func:`raytune_suite.resources.request`."""
        own = self._allotment.request(config) if self._allotment else request(self._study, self._cluster, config)
        if self._density is not None and self._log is not None:
            self._density.settle(self._log)
            own = replace(own, gpu=self._density.share)
        needs = beyond(own, given)
        key = repr(needs), given.split
        if key not in self._made:
            self._made[key] = Asks(needs, ray_runtime.placement(needs, given.split))
        return self._made[key]
