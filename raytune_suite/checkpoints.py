"""Where a trial's checkpoints lie, which are kept, and which one to go on from.

A checkpoint is a folder ``checkpoints/<trial_id>/<iteration>/`` holding what the trainable saved and a small
``raytune.json`` with the iteration, the training seconds so far and the metric's value. It is written beside its
final place and renamed, so a folder with a number for a name is always whole.
"""

from __future__ import annotations

import json
import math
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

INFO = "raytune.json"


@dataclass(frozen=True)
class Saved:
    """One checkpoint on disk: ``elapsed`` in training seconds, ``value`` of the study's metric or None."""

    path: Path
    iteration: int
    elapsed: float
    value: float | None


class TrialCheckpoints:
    """The checkpoints of one trial: writes them atomically and prunes them to ``keep``.

    ``keep`` is any of ``last``, ``best`` and ``all``; ``best`` is by the metric's value in direction ``mode``.
    """

    def __init__(self, folder: Path, keep: Sequence[str] = ("last", "best"), mode: str = "min") -> None:
        self.folder = folder
        self.keep = frozenset(keep)
        self.sign = 1.0 if mode == "min" else -1.0

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

    def write(self, iteration: int, elapsed: float, value: float | None, save: Callable[[Path], None]) -> Saved:
        """Let ``save`` fill a fresh folder, put it in place, and drop what need not be kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        final = self.folder / f"{iteration:06d}"
        draft = self.folder / f".{iteration:06d}-{uuid.uuid4().hex[:8]}"
        try:
            save(draft)
            draft.mkdir(exist_ok=True)
            info = {"iteration": iteration, "elapsed": elapsed, "value": _finite(value)}
            (draft / INFO).write_text(json.dumps(info))
            if final.exists():
                shutil.rmtree(final)
            draft.replace(final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        self.prune()
        return Saved(final, iteration, elapsed, _finite(value))

    def prune(self) -> None:
        """Delete the checkpoints that ``keep`` does not ask for."""
        if "all" in self.keep:
            return
        saved = self.all()
        wanted = set()
        if "last" in self.keep and saved:
            wanted.add(saved[-1].path)
        scored = [s for s in saved if s.value is not None]
        if "best" in self.keep and scored:
            wanted.add(min(scored, key=lambda s: (self.sign * (s.value or 0.0), s.iteration)).path)
        for s in saved:
            if s.path not in wanted:
                shutil.rmtree(s.path, ignore_errors=True)


def _read(path: Path) -> Saved | None:
    try:
        info = json.loads((path / INFO).read_text())
    except (OSError, ValueError):
        return None  # not ours, or being deleted at this moment
    return Saved(path, int(info["iteration"]), float(info["elapsed"]), info["value"])


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
