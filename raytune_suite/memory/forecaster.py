"""Asks a child process how much memory a configuration will take: bounded in time, and never in the driver's process.

The child imports the user's code; it sees no GPU, so it takes nothing of one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytune_suite import standalone
from raytune_suite.seeds import trial_seed

if TYPE_CHECKING:
    from raytune_suite.study import Study

logger = logging.getLogger("raytune_suite")

FIRST_S = 120.0
"""The first answer waits for imports, and for the data if it has not been prepared yet."""
EACH_S = 20.0
WORKSPACE = 64 * 2**20
"""Bytes that cuBLAS and cuBLASLt keep of torch's allocator: PyTorch gives each 32 MiB on GPUs of compute capability 9
and 8.1 MiB on others (``CublasHandlePool.cpp``; on an H200 they were 64 MiB together). The larger counts."""
_DEATHS = 2


@dataclass(frozen=True)
class Forecast:
    """Bytes that a configuration's training allocates at most on a GPU; None where nobody can say, and ``why``.

    ``parameters`` and ``optimizer`` are parts of it, ``allocated`` is it before the allocator rounds.
    """

    bytes: int | None
    why: str = ""
    allocated: int = 0
    parameters: int = 0
    optimizer: int = 0
    read: int = 0


class Forecaster:
    """One child process, started with the first question. Questions of several threads are answered in turn."""

    def __init__(self, study: Study, first_s: float = FIRST_S, each_s: float = EACH_S) -> None:
        self._study, self._first_s, self._each_s = study, first_s, each_s
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._answers = -1
        self._fresh = True
        self._deaths = 0
        self._rest = b""

    def __call__(self, config: Mapping[str, Any]) -> Forecast:
        """The forecast of a configuration (nested, as the trainable gets it)."""
        with self._lock:
            if self._deaths >= _DEATHS:
                return Forecast(None, "the process that rehearses a training step died twice")
            try:
                found = json.loads(self._ask(json.dumps(config)))
            except _NoAnswerError as error:
                self._deaths += 1
                logger.warning("no forecast of GPU memory: %s", error)
                self._end()
                return Forecast(None, str(error))
        if "why" in found:
            return Forecast(None, str(found["why"]))
        return Forecast(
            int(found["reserved"]) + WORKSPACE,
            allocated=int(found["allocated"]),
            parameters=int(found["parameters"]),
            optimizer=int(found["optimizer"]),
            read=int(found["read"]),
        )

    def close(self) -> None:
        """End the child, even in the middle of an answer."""
        self._deaths = _DEATHS
        child = self._child
        if child is not None:
            standalone.end_group(child)
        with self._lock:
            self._end()

    def _ask(self, question: str) -> bytes:
        if self._child is None:
            self._start()
        child, limit = self._child, self._first_s if self._fresh else self._each_s
        if child is None or child.stdin is None:
            raise _NoAnswerError("the process that rehearses a training step did not start")
        try:
            child.stdin.write(question.encode() + b"\n")
            child.stdin.flush()
        except OSError:
            raise _NoAnswerError(self._died(child)) from None
        answer = self._line(time.monotonic() + limit, child)
        self._fresh = False
        return answer

    def _line(self, until: float, child: subprocess.Popen[bytes]) -> bytes:
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                raise _NoAnswerError("rehearsing a training step took too long")
            part = os.read(self._answers, 65536)
            if not part:
                raise _NoAnswerError(self._died(child))
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _died(self, child: subprocess.Popen[bytes]) -> str:
        said = standalone.printed(Path(self._folder.name)).splitlines() if self._folder is not None else []
        return "; ".join([f"the process that rehearses a training step {standalone.ending(child.wait())}", *said[-1:]])

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="raytune-memory-", ignore_cleanup_errors=True)
        folder, study = Path(self._folder.name), self._study
        self._answers, end = os.pipe()
        job = {
            "trainable": study.trainable,
            "project": str(study.project),
            "folder": str(folder),
            "trial_id": "00000",
            "number": 0,
            "seed": trial_seed(study.seed, 0),
            "cpus": 1,
            "gpu": 1,
            "max_iterations": study.max_iterations,
            "metric": study.metric,
            "mode": study.mode,
            "repeats": study.repeats,
            "answers": end,
        }
        (folder / "job.json").write_text(json.dumps(job))
        hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        try:
            self._child = standalone.start(
                "raytune_suite.memory.child",
                folder,
                str(study.project),
                stdin=subprocess.PIPE,
                pass_fds=(end,),
                env=hidden,
            )
        finally:
            os.close(end)
        self._fresh, self._rest = True, b""

    def _end(self) -> None:
        if self._child is not None:
            standalone.end_group(self._child)
            if self._child.stdin is not None:
                with contextlib.suppress(OSError):
                    self._child.stdin.close()
            os.close(self._answers)
        if self._folder is not None:
            self._folder.cleanup()
        self._child = self._folder = None


class _NoAnswerError(Exception):
    """The child did not answer."""
