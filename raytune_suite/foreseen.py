"""What was foreseen of a study before it ran, kept in its folder, and how far off that was."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from raytune_suite import formats
from raytune_suite.record import Record
from raytune_suite.states import State

FILE = "forecast.json"
KINDS: dict[str, Callable[[float], str]] = {"iterations": "{:.0f}".format, "wall_s": formats.duration}
"""What is compared: low, middle and high of each are kept."""


def write(folder: Path, intervals: Mapping[str, tuple[float, float, float]]) -> None:
    """Keep the intervals (low, middle, high) of :data:`KINDS`."""
    (folder / FILE).write_text(json.dumps({kind: list(intervals[kind]) for kind in KINDS}) + "\n")


def expect(folder: Path) -> None:
    """Let the folder, if there is one, say that something will be foreseen of it."""
    if folder.is_dir():
        (folder / FILE).touch()


def read(folder: Path) -> dict[str, tuple[float, float, float]] | None:
    """What was kept; None if nothing was, or it cannot be read."""
    try:
        found = json.loads((folder / FILE).read_text())
        kept = {kind: tuple(float(value) for value in found[kind]) for kind in KINDS}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    sound = all(len(values) == 3 and all(map(math.isfinite, values)) for values in kept.values())
    return kept if sound else None  # type: ignore[return-value]


def outcome(record: Record) -> dict[str, float]:
    """What the study has really taken so far; of the clock, only the time in which some trial trained."""
    trials = [trial for trial in record.trials.values() if trial.state is not State.INTERRUPTED]
    spans = sorted((run.started, run.ended) for trial in trials for run in trial.runs if run.ended is not None)
    wall, until = 0.0, -math.inf
    for started, ended in spans:
        wall += max(0.0, ended - max(started, until))
        until = max(until, ended)
    return {"iterations": float(sum(trial.iteration for trial in trials)), "wall_s": wall}


def lines(folder: Path, record: Record) -> Iterator[str]:
    """Compare what came with what was foreseen; nothing where nothing was."""
    kept = read(folder)
    if kept is None:
        return
    came = outcome(record)
    for (kind, show), title in zip(KINDS.items(), ("iterations", "wall-clock"), strict=True):
        low, middle, high = kept[kind]
        off = f", {came[kind] / middle - 1:+.0%}" if middle else ""
        inside = "within" if low <= came[kind] <= high else "outside"
        yield (
            f"{title}: {show(came[kind])}, foreseen {show(middle)} ({show(low)} to {show(high)}){off}, "
            f"{inside} the interval"
        )
