"""Where a trial's checkpoints lie, which are kept, and which one to go on from.

A checkpoint is a folder ``checkpoints/<trial_id>/<iteration>/`` holding what the trainable saved and a small
``raytune.json`` with the iteration, the training seconds so far and the metric's value. It is written beside its
final place and renamed, so a folder with a number for a name is always whole. Making it durable and deleting older
ones takes longer than writing it, so a thread does that while the training goes on: an old checkpoint is deleted only
once a newer one would survive a power cut.
"""

from __future__ import annotations

import json
import math
import shutil
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from raytune_suite.durable import sync_tree

INFO = "raytune.json"


Unheard = tuple[int, dict[str, Any], float]


@dataclass(frozen=True)
class Saved:
    """One checkpoint on disk: ``elapsed`` in training seconds, ``value`` of the study's metric or None.

    ``reports`` are those (iteration, metrics, elapsed) that nobody had confirmed when it was written, its own last.
    """

    path: Path
    iteration: int
    elapsed: float
    value: float | None
    reports: tuple[Unheard, ...] = ()


class TrialCheckpoints:
    """The checkpoints of one trial: writes them atomically and prunes them to ``keep``.

    ``keep`` is any of ``last``, ``best`` and ``all``; ``best`` is by the metric's value in direction ``mode``.
    """

    def __init__(self, folder: Path, keep: Sequence[str] = ("last", "best"), mode: str = "min") -> None:
        self.folder = folder
        self.keep = frozenset(keep)
        self.sign = 1.0 if mode == "min" else -1.0
        self._settling: Future[None] | None = None

    def all(self) -> list[Saved]:
        """Every whole checkpoint, oldest iteration first."""
        if not self.folder.is_dir():
            return []
        found = (_read(path) for path in self.folder.iterdir() if path.name.isdigit())
        return sorted((s for s in found if s is not None), key=lambda s: s.iteration)

    def latest(self) -> Saved | None:
        """The checkpoint a restarted trial goes on from."""
        saved = self.all()
        return saved[-1] if saved else None

    def best(self) -> Saved | None:
        """The one with the best value; None if none has a value."""
        scored = [s for s in self.all() if s.value is not None]
        return min(scored, key=lambda s: (self.sign * (s.value or 0.0), s.iteration), default=None)

    def write(
        self,
        iteration: int,
        elapsed: float,
        value: float | None,
        save: Callable[[Path], None],
        reports: Sequence[Unheard] = (),
    ) -> Saved:
        """Let ``save`` fill a fresh folder and put it in place; the rest happens in the background.

        When it returns, the checkpoint survives the death of this process. Waits for the one before to be durable,
        so that a slow disk slows training down rather than losing ever more of it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        final = self.folder / f"{iteration:06d}"
        draft = self.folder / f".{iteration:06d}-{uuid.uuid4().hex[:8]}"
        try:
            save(draft)
            draft.mkdir(exist_ok=True)
            info = {"iteration": iteration, "elapsed": elapsed, "value": _finite(value), "reports": list(reports)}
            (draft / INFO).write_text(json.dumps(info))
            self.settle()
            if final.exists():
                shutil.rmtree(final)
            draft.replace(final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        self._settling = _background().submit(self._settle, final)
        return Saved(final, iteration, elapsed, _finite(value))

    def settle(self) -> None:
        """Wait until the last checkpoint is durable and the ones before it are pruned; raises what went wrong."""
        settling, self._settling = self._settling, None
        if settling is not None:
            settling.result()

    def prune(self) -> None:
        """Delete the checkpoints that ``keep`` does not ask for."""
        if "all" in self.keep:
            return
        wanted = {s.path for s in (self._last_wanted(), self._best_wanted()) if s is not None}
        for saved in self.all():
            if saved.path not in wanted:
                shutil.rmtree(saved.path, ignore_errors=True)

    def _last_wanted(self) -> Saved | None:
        return self.latest() if "last" in self.keep else None

    def _best_wanted(self) -> Saved | None:
        return self.best() if "best" in self.keep else None

    def _settle(self, newest: Path) -> None:
        sync_tree(newest)
        self.prune()


@cache
def _background() -> ThreadPoolExecutor:
    """One thread for all trials of a worker; the process waits for it before it exits."""
    return ThreadPoolExecutor(1, thread_name_prefix="checkpoints")


def _read(path: Path) -> Saved | None:
    try:
        info = json.loads((path / INFO).read_text())
    except (OSError, ValueError):
        return None  # not ours, or being deleted at this moment
    reports = tuple((int(i), dict(metrics), float(elapsed)) for i, metrics, elapsed in info.get("reports", ()))
    return Saved(path, int(info["iteration"]), float(info["elapsed"]), info["value"], reports)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
