"""What was foreseen of a study, beside what came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raytune_suite import foreseen
from raytune_suite.record import Record

KEPT = {"iterations": (4.0, 5.0, 6.0), "wall_s": (10.0, 20.0, 30.0)}


def record(*runs: tuple[int, float, float, int]) -> Record:
    """Trials with their start, end and iterations."""
    found = Record()
    events: list[dict[str, Any]] = [{"event": "experiment", "name": "toy", "metric": "loss", "mode": "min", "time": 0}]
    for number, started, ended, iteration in runs:
        events += [
            {"event": "trial", "number": number, "config": {}, "point": {}, "time": started},
            {"event": "start", "number": number, "attempt": 0, "time": started},
            {"event": "report", "number": number, "iteration": iteration, "metrics": {"loss": 1.0}, "time": ended},
            {"event": "end", "number": number, "state": "completed", "iteration": iteration, "time": ended},
        ]
    for event in events:
        found.apply(event)
    return found


def test_only_time_in_which_a_trial_trained_counts() -> None:
    came = foreseen.outcome(record((0, 0.0, 10.0, 3), (1, 4.0, 12.0, 2), (2, 100.0, 103.0, 1)))
    assert came == {"iterations": 6.0, "wall_s": 15.0}


def test_what_came_is_told_beside_what_was_foreseen(tmp_path: Path) -> None:
    foreseen.write(tmp_path, KEPT)
    lines = list(foreseen.lines(tmp_path, record((0, 0.0, 40.0, 6))))
    assert lines[0] == "iterations: 6, foreseen 5 (4 to 6), +20%, within the interval"
    assert lines[1].startswith("wall-clock: 40s, foreseen 20s (10s to 30s), +100%, outside")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"iterations": [1, 2], "wall_s": [1, 2, 3]}', '{"iterations": 1}'])
def test_a_file_that_holds_something_else_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / foreseen.FILE).write_text(text)
    assert list(foreseen.lines(tmp_path, record((0, 0.0, 1.0, 1)))) == []
