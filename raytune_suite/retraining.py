"""The child process of a reproduction: trains stretch after stretch and tells of every report through a pipe."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytune_suite import environment, standalone
from raytune_suite.errors import is_all_said

if TYPE_CHECKING:
    from raytune_suite.hosts import Host

JOB = "job.json"
_OWN = ("raytune_suite/retraining.py",)
Say = Callable[[dict[str, Any]], None]


def main(folder: Path) -> None:
    """Do what ``folder/job.json`` says: ``pipe`` (a file descriptor), ``save``, and a list of ``stretches``."""
    job = json.loads((folder / JOB).read_text())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with os.fdopen(job["pipe"], "w", buffering=1) as pipe:

        def say(what: dict[str, Any]) -> None:
            pipe.write(json.dumps(what) + "\n")

        try:
            _train(job, folder, say)
        except (Exception, SystemExit) as error:
            said = is_all_said(error)
            say({"wrong": str(error)} if said else {"error": standalone.user_trace(error, _OWN)})


def _end_with_parent() -> None:
    """Standard input is a pipe that the parent never writes to: it ends when the parent does."""
    sys.stdin.read()
    os._exit(1)


def _train(job: Mapping[str, Any], folder: Path, say: Say) -> None:
    host: Host | None = None
    for index, stretch in enumerate(job["stretches"]):
        gpu = stretch["gpu"] if stretch["gpu"] and _has_gpu() else 0
        before, host = host, None
        handed_over = _hand_over(before, folder / f"weights-{index}")
        host = standalone.host({**job, **stretch, "gpu": gpu, "folder": str(folder)})
        if handed_over is not None:
            host.load(handed_over)
        if index == 0:
            say({"environment": environment.capture(Path(job["project"])), "gpu": gpu})
        if not _steps(host, stretch, say):
            break
    if host is not None:
        if job["save"]:
            host.save(Path(job["save"]))
        host.close()
    say({"done": True})


def _hand_over(host: Host | None, weights: Path) -> Path | None:
    """Save what the next stretch goes on from."""
    if host is None:
        return None
    host.save(weights)
    host.close()
    return weights


def _steps(host: Host, stretch: Mapping[str, Any], say: Say) -> bool:
    """Train one stretch; False if the code ended before its last iteration."""
    for iteration in range(stretch["first"], stretch["last"] + 1):
        metrics = host.step()
        if not metrics:
            return False
        say({"iteration": iteration, "metrics": metrics})
        if host.finished:
            return bool(iteration == stretch["last"])
    return True


def _has_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return True  # whatever uses the GPU, it is not torch
    return torch.cuda.is_available()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
