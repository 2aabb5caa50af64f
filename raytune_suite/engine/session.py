"""Several studies in a row on the same Ray and the same workers.

    with Session():
        run(first)
        run(second)  # its trials begin at once: nothing is started, nothing imported

Workers are kept for studies whose code lies in the same project and has not been edited since they imported it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytune_suite import ray_runtime
from raytune_suite.errors import PlanError

if TYPE_CHECKING:
    from raytune_suite.engine.tenants import Process

_MOST_FILES = 5000
_NO_CODE = ("experiments", "node_modules", "__pycache__")
_open: list[Session] = []


class Session:
    """Keeps Ray, and the workers of the pool, between the runs made inside it. The arguments are those of ``run``."""

    def __init__(
        self,
        *,
        address: str | None = None,
        verbosity: int = 0,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
    ) -> None:
        self._address, self._verbosity, self._cpus, self._gpus = address, verbosity, num_cpus, num_gpus
        self._processes: list[Process] = []
        self._code = ""
        self._stack = ExitStack()

    def __enter__(self) -> Session:
        """Start Ray, or join it.

        Raises:
            PlanError: a session is open already, or Ray cannot be started.
        """
        if _open:
            raise PlanError("a session is open already: make the runs inside that one")
        self._stack.enter_context(ray_runtime.environment(self._address))
        self._stack.enter_context(
            ray_runtime.connected(self._address, self._verbosity, self._cpus, self._gpus),
        )
        _open.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers, and Ray if it was started here."""
        _open.remove(self)
        try:
            self.release()
        finally:
            self._stack.close()

    def processes(self, code: Mapping[str, Any]) -> list[Process]:
        """The workers there are, for a study with this code; those that have imported other code are ended."""
        now = fingerprint(Path(code["project"]))
        if now != self._code:
            self.release()
            self._code = now
        kept, self._processes = self._processes, []
        return kept

    def keep(self, processes: Sequence[Process]) -> None:
        """Take the workers that a run leaves."""
        self._processes = [*processes]

    def release(self) -> None:
        """End the workers there are: what they hold, others may need."""
        from raytune_suite.engine.workers import RayWorkers

        workers = RayWorkers()
        for process in self._processes:
            workers.end(process)
        workers.farewell()
        self._processes = []


def current() -> Session | None:
    """The session that is open, if one is."""
    return _open[-1] if _open else None


def fingerprint(project: Path) -> str:
    """Changes when a Python file of the project does: paths, sizes and times, not contents."""
    files = sorted(_python_files(project))[:_MOST_FILES]
    facts = [(file, (found := Path(file).stat()).st_size, found.st_mtime_ns) for file in files]
    return hashlib.sha256(repr((str(project.resolve()), facts)).encode()).hexdigest()


def _python_files(project: Path) -> Iterator[str]:
    """Those in no hidden folder, and in none that holds experiments or a virtual environment."""
    for folder, inside, files in os.walk(project):
        if "pyvenv.cfg" in files:
            inside.clear()
            continue
        inside[:] = [name for name in inside if not name.startswith(".") and name not in _NO_CODE]
        yield from (f"{folder}/{name}" for name in files if name.endswith(".py") and not name.startswith("."))
