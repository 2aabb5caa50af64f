"""From runs to scores, by searcher, mode, task and seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from searching.references import score
from searching.sessions import SEARCHERS
from searching.tasks import TASKS

Array = npt.NDArray[np.float64]
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Scores:
    """The scores of one mode: a mapping of searcher to task to seed to score."""

    mode: str
    evaluations: int
    table: Mapping[str, Mapping[str, Mapping[int, float]]]

    @property
    def searchers(self) -> list[str]:
        """Those that have runs, in the order of the table of searchers."""
        return [name for name in SEARCHERS if name in self.table]

    def of(self, searcher: str, group: str | None = None) -> list[Array]:
        """Scores of a searcher for each task (of a group), shape (seeds, 1)."""
        tasks = self.table[searcher]
        return [np.array(list(tasks[t].values()))[:, None] for t in _chosen(tasks, group)]

    def paired(self, first: str, second: str, group: str | None = None) -> list[Array]:
        """Scores of both on the seeds both have, for each task, shape (seeds, 2)."""
        one, two = self.table[first], self.table[second]
        both = [
            np.array([[one[t][s], two[t][s]] for s in sorted(one[t].keys() & two[t].keys())])
            for t in _chosen(one, group)
            if t in two
        ]
        return [pairs for pairs in both if len(pairs)]


def _chosen(tasks: Iterable[str], group: str | None) -> list[str]:
    present = set(tasks)
    return [name for name, task in TASKS.items() if name in present and group in (None, task.group)]


def collect(
    entries: Sequence[Entry], references: Mapping[str, Any], mode: str, evaluations: int, after: int | None = None
) -> Scores:
    """The scores of the runs of one mode and length, after all evaluations or the first ``after`` of them."""
    table: dict[str, dict[str, dict[int, float]]] = {}
    for entry in entries:
        if (entry["mode"], entry["evaluations"]) == (mode, evaluations):
            at = min(after or evaluations, len(entry["best"]))
            value = score(references[entry["task"]], entry["best"][at - 1], after or evaluations)
            table.setdefault(entry["searcher"], {}).setdefault(entry["task"], {})[entry["seed"]] = value
    return Scores(mode, evaluations, table)


def taken_scores(entries: Sequence[Entry], references: Mapping[str, Any], mode: str, evaluations: int) -> Scores:
    """Scores of the configuration a user would take: the best as observed, by its noise-free loss; noisy tasks."""
    picked = [
        {**entry, "best": [entry["losses"][int(np.argmin(entry["observed"]))]] * len(entry["best"])}
        for entry in entries
        if TASKS[entry["task"]].noise > 0
    ]
    return collect(picked, references, mode, evaluations)
