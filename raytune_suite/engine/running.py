"""An engine around one run: begun as soon as Ray is there, in place while Tune's controller works, then ended.

Inside a :class:`~raytune_suite.engine.session.Session` the pool's processes outlive the run.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from raytune_suite.engine import session
from raytune_suite.errors import PlanError

if TYPE_CHECKING:
    from raytune_suite.journal import Journal
    from raytune_suite.resources import Request
    from raytune_suite.schedulers.core import Scheduler
    from raytune_suite.worker import Worker


TRIALS, MEMORY = "RAYTUNE_WORKER_TRIALS", "RAYTUNE_WORKER_MEMORY"
"""A worker is replaced after so many trials, or above so many GiB; where unset, never for that reason."""


class Engine(Protocol):
    """What lies below Tune's controller, for one run."""

    reuses: bool
    """Whether Tune is to keep its own actors for the next trial."""
    ahead: int
    """How many trials, at most, may be handed out beyond those for which there are slots."""

    def begin(self, needs: Request, count: int) -> None:
        """Start so many workers now: trials with these needs are on their way."""
        ...

    @contextmanager
    def in_place(self, worker: type[Worker], scheduler: Scheduler, learns: bool, journal: Journal) -> Iterator[None]:
        """While this lasts, Tune's controller finds its actors here. ``learns``: suggestions depend on results.

        What the journal is told of events is written before anything is done about them.
        """
        ...

    def more(self) -> int:
        """How many trials beyond those for which there are slots are welcome now."""
        ...

    def run(self, needs: Request, function: Callable[..., Any], *args: Any) -> Any:
        """Have a function called in a worker that meets the needs; returns the reference of its answer."""
        ...

    def close(self) -> None:
        """The run is over."""
        ...


class TuneEngine:
    """Ray Tune's own actors."""

    reuses, ahead = True, 0

    def begin(self, needs: Request, count: int) -> None:
        """Nothing: Tune starts a worker when it has a trial."""

    @contextmanager
    def in_place(self, worker: type[Worker], scheduler: Scheduler, learns: bool, journal: Journal) -> Iterator[None]:
        """Change nothing."""
        yield

    def more(self) -> int:
        """See :class:`Engine`."""
        return 0

    def run(self, needs: Request, function: Callable[..., Any], *args: Any) -> Any:
        """See :class:`Engine`."""
        import ray

        options = {"num_cpus": needs.cpu, "num_gpus": needs.gpu, "resources": dict(needs.custom)}
        return ray.remote(function).options(**options).remote(*args)

    def close(self) -> None:
        """See :class:`Engine`."""


class PoolEngine(TuneEngine):
    """A pool of worker processes, of at most ``limit()``; ``code`` names the project and the trainable.

    Without a limit there are as many of each kind as fit on the nodes.
    """

    reuses, ahead = False, 64

    def __init__(self, limit: Callable[[], int] | None, code: Mapping[str, Any]) -> None:
        from raytune_suite.engine.pool import Pool
        from raytune_suite.engine.slots import Limits
        from raytune_suite.engine.workers import RayWorkers

        self._session = session.current()
        processes = self._session.processes(code) if self._session is not None else []
        self._workers = RayWorkers(limit, code)
        memory = _number(MEMORY)
        limits = Limits(trials=_number(TRIALS), memory=memory * 2**30 if memory is not None else None)
        self._pool = Pool(self._workers, limits, processes)
        for process in processes:
            self._pool.greet(process)

    def begin(self, needs: Request, count: int) -> None:
        """See :class:`Engine`."""
        from raytune_suite.engine.workers import Early

        for _ in range(count - len(self._pool.processes)):
            self._pool.begin(Early(needs.bundle()))

    @contextmanager
    def in_place(self, worker: type[Worker], scheduler: Scheduler, learns: bool, journal: Journal) -> Iterator[None]:
        """See :class:`Engine`."""
        from raytune_suite.engine import lean, seam

        if not scheduler.pauses:  # those that pause need checkpoints as Tune knows them
            worker.pooled = staticmethod(lean.maker(worker.settings))  # type: ignore[attr-defined]
        early = not (learns or scheduler.pauses or scheduler.promotes or scheduler.population)
        self._pool.limits = replace(self._pool.limits, park=early)
        self._pool.before = journal.flush
        with seam.installed(lambda: self._pool), journal.held():
            yield
        self._pool.cleanup()

    def more(self) -> int:
        """See :class:`Engine`."""
        return self._pool.appetite

    def run(self, needs: Request, function: Callable[..., Any], *args: Any) -> Any:
        """In a worker that is there, if one is free; its modules are loaded already."""
        from raytune_suite.engine.workers import Early

        for process in self._pool.processes:
            free = process.ready and not process.tenants and not process.spoiled
            if free and process.group is None and Early(needs.bundle()) == process.request:
                return process.handle.run.remote(function, *args)
        self._close_pool()  # what the free ones hold, the function may need
        return super().run(needs, function, *args)

    def close(self) -> None:
        """See :class:`Engine`."""
        if self._session is not None:
            self._pool.cleanup()
            self._session.keep(self._pool.processes)
        else:
            self._close_pool()

    def _close_pool(self) -> None:
        self._pool.close()
        self._workers.farewell()


def _number(variable: str) -> float | None:
    text = os.environ.get(variable)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number > 0:
        raise PlanError(f"{variable} must be a number above 0, not {text!r}")
    return number


def engine(name: str, limit: Callable[[], int] | None, code: Mapping[str, Any]) -> Engine:
    """The engine of this name, for a run of the code; ``limit()``: how many workers of one kind there may be."""
    if name == "pool":
        return PoolEngine(limit, code)
    if (kept := session.current()) is not None:
        kept.release()  # Tune's own actors would wait for what its workers hold, for ever
    return TuneEngine()
