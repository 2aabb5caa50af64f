"""What scores are measured by: the best loss known and what random search finds, per task, frozen in a file.

The best known is the optimum where it is known, else the least loss of many random points, of hill climbing from
the best of them, of long runs of two searchers, and of the result files that are given. Random search's median
after b evaluations is the quantile 1 - 0.5**(1/b) of the losses of many random points, which is exact but for
their number (thousands).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from searching.runs import Mode, evaluate
from searching.sessions import SEARCHERS
from searching.task import Task
from searching.tasks import TASKS, VERSION

FILE = Path(__file__).parents[1] / "search_references.json"

BUDGETS = tuple(range(1, 81))

_POINTS = {"synthetic": 50_000, "formula": 50_000, "model": 3000}
_CLIMBS = {"synthetic": 0, "formula": 20, "model": 5}
_STEPS = {"synthetic": 0, "formula": 1500, "model": 120}
_LONG = Mode("long", 300, 1)

Points = list[dict[str, Any]]


def sample(task: Task, count: int) -> tuple[Points, npt.NDArray[np.float64]]:
    """``count`` random points and their losses, shape (count,)."""
    rng = np.random.default_rng(9001)
    points = [task.space.sample(rng) for _ in range(count)]
    return points, np.array([task.loss(point) for point in points])


def random_medians(losses: npt.NDArray[np.float64]) -> list[float]:
    """The median of what random search has found after each of ``BUDGETS`` evaluations."""
    levels = [1 - 0.5 ** (1 / budget) for budget in BUDGETS]
    return [float(x) for x in np.quantile(losses, levels)]


def climb(task: Task, start: Mapping[str, Any], steps: int, rng: np.random.Generator) -> float:
    """The least loss of a (1+1) evolution over the unit cube: a mutation of some coordinates, the better stays.

    The step doubles on success and shrinks on failure; coordinates of parameters that do not exist keep a value of
    their own, so that a branch can be entered again.
    """
    at = np.nan_to_num(task.space.to_unit(start), nan=0.5)
    best, width = task.loss(start), 0.1
    for _ in range(steps):
        moved = rng.random(len(at)) < max(0.3, 1 / len(at))
        moved[rng.integers(len(at))] = True
        trial = np.clip(at + moved * width * rng.standard_normal(len(at)), 0.0, 1.0)
        jump = moved & (rng.random(len(at)) < 0.1)
        trial[jump] = rng.random(int(jump.sum()))
        loss = task.loss(task.space.from_unit(trial))
        width = min(0.3, 2 * width) if loss < best else max(1e-5, 0.85 * width)
        if loss <= best:
            at, best = trial, loss
    return best


def best_known(task: Task, points: Points, losses: npt.NDArray[np.float64], environments: Path) -> float:
    """The optimum, or the best of random points, climbs from the best of them, and long runs."""
    if task.optimum is not None:
        return task.optimum
    rng = np.random.default_rng(9002)
    starts = np.argsort(losses, kind="stable")[: _CLIMBS[task.group]]
    found = [float(losses.min())]
    found += [climb(task, points[k], _STEPS[task.group], rng) for k in starts]
    found += [long_run("tpe", task, seed, environments) for seed in (9003, 9004)]
    if task.group == "model":
        found.append(long_run("suite", task, 9005, environments))
    return min(found)


def long_run(searcher: str, task: Task, seed: int, environments: Path) -> float:
    """The least loss of a run of 300 evaluations."""
    session = SEARCHERS[searcher].open(environments)
    try:
        return float(min(evaluate(session, task, _LONG, seed)["losses"]))
    finally:
        session.close()


def reference(task: Task, results: Sequence[Mapping[str, Any]], environments: Path) -> dict[str, Any]:
    """The reference of one task; ``results`` may hold better losses than were found here."""
    points, losses = sample(task, _POINTS[task.group])
    best = best_known(task, points, losses, environments)
    seen = [entry["best"][-1] for entry in results if entry["task"] == task.name]
    source = "optimum" if task.optimum is not None else "search"
    known = best if task.optimum is not None else min([best, *seen])
    medians = [float(f"{x:.8g}") for x in random_medians(losses)]
    return {"best_known": float(f"{known:.8g}"), "source": source, "points": len(losses), "random_median": medians}


def write(tasks: Iterable[Task], results: Sequence[Mapping[str, Any]], environments: Path, path: Path = FILE) -> None:
    """Compute the references of ``tasks`` and put them into the file, others' left as they are."""
    for task in tasks:
        entry = reference(task, results, environments)
        save({**(load(path) if path.exists() else {}), task.name: entry}, path)
        after = entry["random_median"][59]
        print(f"{task.name:28} best {entry['best_known']:.6g}, random after 60: {after:.6g}", flush=True)


def lower(results: Sequence[Mapping[str, Any]], path: Path = FILE) -> None:
    """Lower the best known losses to what ``results`` found, where no optimum is known; the rest stays frozen."""
    references = load(path)
    for name, entry in references.items():
        seen = [result["best"][-1] for result in results if result["task"] == name]
        found = min(seen, default=entry["best_known"])
        if entry["source"] == "search" and found < entry["best_known"]:
            print(f"{name:28} best {entry['best_known']:.6g} becomes {found:.6g}")
            entry["best_known"] = found
    save(references, path)


def save(references: Mapping[str, Any], path: Path) -> None:
    """Write the file, a line a task, in the order of the tasks."""
    lines = [f" {json.dumps(name)}: {json.dumps(references[name])}" for name in TASKS if name in references]
    body = ",\n".join(lines)
    path.write_text(f'{{"tasks_version": {VERSION}, "tasks": {{\n{body}\n}}}}\n')


def load(path: Path = FILE) -> dict[str, dict[str, Any]]:
    """The references by task.

    Raises:
        ValueError: they are of another version of the tasks.
    """
    content = json.loads(path.read_text())
    if content["tasks_version"] != VERSION:
        raise ValueError(f"{path} is of tasks version {content['tasks_version']}, not {VERSION}: run 'references'")
    tasks: dict[str, dict[str, Any]] = content["tasks"]
    return tasks


def score(reference: Mapping[str, Any], found: float, evaluations: int) -> float:
    """0 is the best known, 1 the median random search of the same budget; clipped to [0, 2]."""
    best = reference["best_known"]
    return float(np.clip((found - best) / (reference["random_median"][evaluations - 1] - best), 0.0, 2.0))
