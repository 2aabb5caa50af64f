"""The comparison as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from searching.runs import Mode
from searching.scores import Entry, Scores, collect, taken_scores
from searching.sessions import SEARCHERS
from searching.statistics import difference, estimate, level, means, ratio
from searching.tasks import TASKS

OURS = "suite"
BASELINES = ("random", "sobol")
GROUPS = ("synthetic", "formula", "model")


def report(entries: Sequence[Entry], references: Mapping[str, Any], modes: Sequence[Mode]) -> Iterator[str]:
    """Yield the lines of the whole report."""
    yield "Score: 0 is the best known, 1 the median random search of the same budget; lower is better. Brackets are"
    yield "95 % intervals of a bootstrap over tasks, then seeds."
    for mode in modes:
        scores = collect(entries, references, mode.name, mode.evaluations)
        if scores.searchers:
            yield f"\n## {mode.name}: {mode.evaluations} evaluations, {mode.in_flight} in flight"
            yield from overall(scores, entries)
            yield from paired(scores)
            yield from groups(scores)
            yield from by_task(scores)
            yield from along(entries, references, mode)
            yield from taken(taken_scores(entries, references, mode.name, mode.evaluations))
    yield from closing(entries)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table."""
    yield ""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def overall(scores: Scores, entries: Sequence[Entry]) -> Iterator[str]:
    """Mean score of each searcher, and the time of its suggestions."""
    rows = []
    for name in scores.searchers:
        arrays = scores.of(name)
        runs = sum(len(array) for array in arrays)
        mine = [e for e in entries if e["searcher"] == name and e["mode"] == scores.mode]
        seconds, cpu = (np.concatenate([e[key] for e in mine]) for key in ("seconds", "cpu_seconds"))
        rows.append(
            [
                SEARCHERS[name].title,
                str(estimate(arrays, level)),
                f"{len(arrays)} / {runs}",
                f"{np.median(cpu):.3f} / {np.quantile(cpu, 0.95):.3f}",
                f"{np.median(seconds):.3f} / {np.quantile(seconds, 0.95):.3f}",
            ]
        )
    head = ["searcher", "mean score", "tasks / runs", "CPU s a suggestion, median / p95", "by the clock"]
    yield from table(head, rows)


def paired(scores: Scores) -> Iterator[str]:
    """The suite minus each other on the seeds both have, and the ratio of the means."""
    if OURS not in scores.searchers:
        return
    rows = []
    for name in scores.searchers:
        pairs = scores.paired(OURS, name)
        if name != OURS and pairs:
            flat = np.concatenate(pairs)
            better, ties = int((flat[:, 0] < flat[:, 1]).sum()), int((flat[:, 0] == flat[:, 1]).sum())
            gap, share = estimate(pairs, difference), estimate(pairs, ratio)
            title = SEARCHERS[name].title
            rows.append([title, gap.signed, str(share), f"{better} better, {ties} equal of {len(flat)}"])
    yield from table(["suite against", "difference of scores", "ratio of mean scores", "runs"], rows)
    best = best_peer(scores)
    if best is not None:
        share = estimate(scores.paired(OURS, best), ratio)
        yield f"\nBest peer: {SEARCHERS[best].title}; the suite's mean score is {share} of its."


def best_peer(scores: Scores) -> str | None:
    """The peer with the lowest mean score (over the tasks it has)."""
    peers = [n for n in scores.searchers if n not in (OURS, *BASELINES) and scores.paired(OURS, n)]
    return min(peers, key=lambda name: float(means(scores.of(name))[0]), default=None)


def groups(scores: Scores) -> Iterator[str]:
    """Mean scores by group of tasks, and the suite's difference to each peer there."""
    rows = []
    for name in scores.searchers:
        row = [SEARCHERS[name].title]
        for group in GROUPS:
            arrays = scores.of(name, group)
            row.append(f"{means(arrays)[0]:.3f}" if arrays else "")
            pairs = scores.paired(OURS, name, group) if OURS in scores.searchers and name != OURS else []
            row.append(estimate(pairs, difference).signed if pairs else "")
        rows.append(row)
    head = ["searcher"]
    for group in GROUPS:
        head += [group, "suite minus it"]
    yield from table(head, rows)


def by_task(scores: Scores) -> Iterator[str]:
    """Mean scores by task."""
    rows = []
    for task in TASKS:
        row = [task]
        for name in scores.searchers:
            seeds = scores.table[name].get(task, {})
            row.append(f"{np.mean(list(seeds.values())):.3f}" if seeds else "")
        if any(row[1:]):
            rows.append(row)
    yield from table(["task", *scores.searchers], rows)


def along(entries: Sequence[Entry], references: Mapping[str, Any], mode: Mode) -> Iterator[str]:
    """Mean scores along the run, each against random search of the same length."""
    points = [*range(20, mode.evaluations, 20), mode.evaluations]
    rows: dict[str, list[str]] = {}
    for after in points:
        scores = collect(entries, references, mode.name, mode.evaluations, after)
        for name in scores.searchers:
            rows.setdefault(name, [SEARCHERS[name].title]).append(f"{means(scores.of(name))[0]:.3f}")
    yield from table(["mean score after", *map(str, points)], list(rows.values()))


def taken(scores: Scores) -> Iterator[str]:
    """Noisy tasks, judged by the configuration a user would take."""
    if scores.searchers:
        rows = [[SEARCHERS[name].title, f"{means(scores.of(name))[0]:.3f}"] for name in scores.searchers]
        yield from table(["noisy tasks: the configuration observed best", "mean score"], rows)


def closing(entries: Sequence[Entry]) -> Iterator[str]:
    """Hours and versions."""
    hours: dict[str, float] = {}
    versions: dict[str, str] = {}
    for entry in entries:
        hours[entry["searcher"]] = hours.get(entry["searcher"], 0.0) + entry["wall"] / 3600
        versions |= entry["versions"]
    each = ", ".join(f"{name} {hours[name]:.2f}" for name in SEARCHERS if name in hours)
    yield f"\nHours by the clock, evaluations included: {sum(hours.values()):.2f} ({each})."
    yield f"Versions: {', '.join(f'{name} {number}' for name, number in sorted(versions.items()))}."
