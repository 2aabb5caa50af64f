"""Where a trial's checkpoints lie, which are kept, and which one to go on from.

A checkpoint is a folder ``checkpoints/<trial_id>/<iteration>/`` holding what the trainable saved and a small
``raytune.json`` with the iteration, the training seconds so far, the metric's value and the sums of its files. It is
written beside its final place and renamed, so a folder with a number for a name is always whole, until something else
breaks it: that is found out before it is loaded, and the one before takes its place. Making it durable and deleting
older ones takes longer than writing it, so a thread does that while the training goes on: an old checkpoint is deleted
only once a newer one would survive a power cut.
"""

from __future__ import annotations

import json
import math
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from raytune_suite.checksums import damage, sums
from raytune_suite.durable import sync_tree

INFO = "raytune.json"
BROKEN = "broken-"
"""How the name of a checkpoint begins that was found damaged and set aside."""

Unheard = tuple[int, dict[str, Any], float]


@dataclass(frozen=True)
class Saved:
    """One checkpoint on disk: ``elapsed`` in training seconds, ``value`` of the study's metric or None.

    ``reports`` are those (iteration, metrics, elapsed) that nobody had confirmed when it was written, its own last.
    ``order`` counts the checkpoints of a trial as they were written: a trial that takes over another's weights goes
    back in iterations.
    """

    path: Path
    iteration: int
    elapsed: float
    value: float | None
    reports: tuple[Unheard, ...] = ()
    order: int = 0
    sums: Mapping[str, Any] = field(default_factory=dict)

    def damage(self) -> str | None:
        """What is wrong with its files, None if they are as written (or were written without sums)."""
        return damage(self.path, self.sums)


@dataclass(frozen=True)
class Broken:
    """A checkpoint that must not be loaded: where it was, and why not."""

    iteration: int
    path: Path
    reason: str


class TrialCheckpoints:
    """The checkpoints of one trial: writes them atomically and prunes them to ``keep``.

    ``keep`` is any of ``last``, ``best`` and ``all``; ``best`` is by the metric's value in direction ``mode``.
    """

    def __init__(self, folder: Path, keep: Sequence[str] = ("last", "best"), mode: str = "min") -> None:
        self.folder = folder
        self.keep = frozenset(keep)
        self.sign = 1.0 if mode == "min" else -1.0
        self._settling: Future[None] | None = None
        self._order: int | None = None

    def all(self) -> list[Saved]:
        """The whole checkpoints of the trial's present line, in the order they were written.

        Training that went back to an earlier iteration left later ones behind: they no longer count.
        """
        line: list[Saved] = []
        for saved in self._every():
            while line and line[-1].iteration >= saved.iteration:
                line.pop()
            line.append(saved)
        return line

    def latest(self) -> Saved | None:
        """The last one that was written, whatever became of its files."""
        saved = self.all()
        return saved[-1] if saved else None

    def best(self) -> Saved | None:
        """The one with the best value; None if none has a value."""
        return min(self._scored(), key=self._rank, default=None)

    def latest_intact(self) -> tuple[Saved | None, list[Broken]]:
        """The checkpoint a restarted trial goes on from, and those that were passed over and set aside."""
        self._sweep()
        unreadable = [_unreadable(path) for path in self._folders() if _read(path) is None]
        saved, broken = _first_intact(list(reversed(self.all())))
        for found in (*unreadable, *broken):
            _set_aside(found.path)
        return saved, [*unreadable, *broken]

    def intact(self, path: Path) -> tuple[Saved | None, list[Broken]]:
        """The checkpoint at ``path`` or, if it is broken or gone, the last intact one that was written before it."""
        named = _read(path)
        missing = [] if named is not None else [_unreadable(path)]
        before = (named.order, named.iteration) if named is not None else (math.inf, int(path.name))
        earlier = [s for s in self._every() if (s.order, s.iteration) < before and s.iteration <= int(path.name)]
        saved, broken = _first_intact([*([named] if named is not None else []), *reversed(earlier)])
        return saved, [*missing, *broken]

    def best_intact(self) -> Saved | None:
        """The one with the best value whose files are as written, else the last such one."""
        saved, _ = _first_intact(sorted(self._scored(), key=self._rank))
        return saved or _first_intact(list(reversed(self.all())))[0]

    def _sweep(self) -> None:
        """Delete the drafts of writers that were killed: of a trial there is one at a time."""
        if self.folder.is_dir():
            for draft in self.folder.glob(".*"):
                shutil.rmtree(draft, ignore_errors=True)

    def _every(self) -> list[Saved]:
        found = (_read(path) for path in self._folders())
        return sorted((s for s in found if s is not None), key=lambda s: (s.order, s.iteration))

    def _folders(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if path.name.isdigit()]

    def _scored(self) -> list[Saved]:
        return [s for s in self.all() if s.value is not None]

    def _rank(self, saved: Saved) -> tuple[float, int]:
        return self.sign * (saved.value or 0.0), saved.iteration

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
            made = Saved(final, iteration, elapsed, _finite(value), tuple(reports), self._next(), sums(draft))
            (draft / INFO).write_text(json.dumps(_info(made)))
            self.settle()
            if final.exists():
                delete(final)
            draft.replace(final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        self._settling = _background().submit(self._settle, final)
        return made

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
        for saved in self._every():
            if saved.path not in wanted:
                delete(saved.path)

    def _next(self) -> int:
        if self._order is None:
            self._order = max((saved.order for saved in self._every()), default=0)
        self._order += 1
        return self._order

    def _last_wanted(self) -> Saved | None:
        return self.latest() if "last" in self.keep else None

    def _best_wanted(self) -> Saved | None:
        return self.best() if "best" in self.keep else None

    def _settle(self, newest: Path) -> None:
        sync_tree(newest)
        self.prune()


def delete(path: Path) -> None:
    """Delete a checkpoint so that nobody ever sees half of it."""
    gone = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    with suppress(OSError):
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


@cache
def _background() -> ThreadPoolExecutor:
    """One thread for all trials of a worker; the process waits for it before it exits."""
    return ThreadPoolExecutor(1, thread_name_prefix="checkpoints")


def _info(saved: Saved) -> dict[str, Any]:
    return {
        "iteration": saved.iteration,
        "elapsed": saved.elapsed,
        "value": saved.value,
        "reports": list(saved.reports),
        "order": saved.order,
        "sums": dict(saved.sums),
    }


def _read(path: Path) -> Saved | None:
    try:
        info = json.loads((path / INFO).read_text())
        reports = tuple((int(i), dict(metrics), float(elapsed)) for i, metrics, elapsed in info.get("reports", ()))
        order, known = int(info.get("order", 0)), dict(info.get("sums", {}))
        return Saved(path, int(info["iteration"]), float(info["elapsed"]), info["value"], reports, order, known)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # not ours, broken, or being deleted at this moment


def _first_intact(candidates: Sequence[Saved]) -> tuple[Saved | None, list[Broken]]:
    broken: list[Broken] = []
    for saved in candidates:
        reason = saved.damage()
        if reason is None:
            return saved, broken
        broken.append(Broken(saved.iteration, saved.path, reason))
    return None, broken


def _unreadable(path: Path) -> Broken:
    return Broken(int(path.name), path, f"its {INFO} is gone or cannot be read")


def _set_aside(path: Path) -> None:
    """Out of the way, to be looked at; where nothing can be renamed it is passed over the next time again."""
    aside = path.with_name(BROKEN + path.name)
    with suppress(OSError):
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
