"""Workers that are ready when the first trials come: started, with the user's code imported and its data prepared.

A worker's imports (Ray Tune, torch, the user's modules) take seconds. Tasks that do nothing but import run on the
worker processes Ray has just started, while the driver still imports and the searcher thinks; the trials' actors
then take over the same idle processes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raytune_suite.resources import Request
from raytune_suite.study import Study


def warm(study: Study, data_dir: Path, needs: Request, slots: int) -> list[Any]:
    """Start warming a worker for each slot; keep the references returned until trials have started.

    GPUs are not asked for: Ray throws away the process of a task that had one.
    """
    import ray

    task = ray.remote(_import).options(num_cpus=needs.cpu, resources=dict(needs.custom), max_retries=0)
    given = (study.trainable, str(study.project), str(data_dir), study.search_space.constants)
    return [task.remote(*given) for _ in range(slots)]


def _import(trainable: str, project: str, data_dir: str, constants: dict[str, Any]) -> None:
    """Import what a trial will need; whatever is wrong with it, the first trial will say so."""
    from raytune_suite import worker  # noqa: F401 - importing is the purpose
    from raytune_suite.resolve import resolve

    found: Any = resolve(trainable, Path(project))
    if hasattr(found, "prepare"):
        found.prepare(Path(data_dir), constants)
