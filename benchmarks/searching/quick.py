"""The comparison in under three minutes: few tasks, seeds and evaluations, for continuous integration."""

from __future__ import annotations

import tempfile
from pathlib import Path

from searching.references import load
from searching.report import report
from searching.runs import QUICK_MODES, plan, read, work
from searching.scores import collect
from searching.statistics import means

TASKS = ("hartmann6", "transformer, noisy", "branches, conditional", "svc on breast cancer")
SEARCHERS = ("suite", "tpe", "random")
SEEDS = (0, 1)


def quick(environments: Path) -> int:
    """Print the report; 1 if the suite is not better than random search on the mean of a mode, else 0."""
    modes = list(QUICK_MODES.values())
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "quick.jsonl"
        work(plan(SEARCHERS, TASKS, modes, SEEDS), results, environments)
        entries = read([results])
    references = load()
    print("\n".join(report(entries, references, modes)))
    lost = []
    for mode in modes:
        scores = collect(entries, references, mode.name, mode.evaluations)
        if means(scores.of("suite"))[0] >= means(scores.of("random"))[0]:
            lost.append(mode.name)
    if lost:
        print(f"\nThe suite is not better than random search: {', '.join(lost)}")
    return 1 if lost else 0
