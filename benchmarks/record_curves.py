"""Record whole learning curves of every configuration of a grid: what benchmarks.early_stopping looks up.

    python -m benchmarks.record_curves tabular FOLDER
    python -m benchmarks.record_curves tabular FOLDER --pack benchmarks/curves/data

Trains on one thread, without Ray, configurations of one shape together (benchmarks/curves/train.py), shapes in a
shuffled order, and writes a line per configuration to FOLDER/TASK.jsonl: its number in the grid, its point, the metric
by iteration from 1 (the mean of the repeats; null: not finite) and the CPU seconds of one iteration of one repeat:
the median of five iterations after the first, of the trainable training alone, once per shape. Started again, it goes
on. ``--pack`` writes a complete recording, compressed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import shutil
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.curves.tasks import MAX_ITERATIONS, TASKS, Point, Task
from benchmarks.curves.train import train
from raytune_suite.seeds import trial_seed
from raytune_suite.trainable import Context

_SEED = 77


def record(task: Task, path: Path) -> None:
    """Train what is not recorded yet."""
    stacks = list(task.stacks())
    done = {line["number"] for line in _lines(path)} if path.exists() else set()
    order = np.random.default_rng(0).permutation(len(stacks))
    with path.open("a") as file:
        for count, index in enumerate(order, 1):
            members = [member for member in stacks[index] if member[0] not in done]
            if members:
                file.write("".join(json.dumps(line) + "\n" for line in _recorded(task, members)))
                file.flush()
                print(
                    f"{task.name}: {count} of {len(stacks)} shapes, {time.process_time():.0f} CPU seconds", flush=True
                )


def _recorded(task: Task, members: list[tuple[int, Point]]) -> list[dict[str, Any]]:
    configs = [task.grid.config(point) for _, point in members for _ in range(task.repeats)]
    seeds = [trial_seed(_SEED + repeat, number) for number, _ in members for repeat in range(task.repeats)]
    cls = task.resolve()
    losses = train(cls, configs, seeds, MAX_ITERATIONS).reshape(len(members), task.repeats, -1).mean(1)
    seconds = float(f"{seconds_of(cls, configs[0]):.3g}")
    return [
        {"number": number, "point": point, "values": [_rounded(v) for v in values], "seconds": seconds}
        for (number, point), values in zip(members, losses, strict=True)
    ]


def seconds_of(cls: Any, config: dict[str, Any]) -> float:
    """CPU seconds of an iteration of one configuration, trained as a study trains it."""
    context = Context.standalone(metric="validation/loss")
    trainable, seconds = cls(dict(config), context), []
    for _ in range(6):
        started = time.process_time()
        trainable.step()
        seconds.append(time.process_time() - started)
    trainable.close()
    shutil.rmtree(context.trial_dir.parent)
    return median(seconds[1:])


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def pack(task: Task, path: Path, folder: Path) -> None:
    """Write a complete recording, sorted and compressed; its first line says what it is."""
    size = sum(1 for _ in task.grid.enumerate())
    lines = sorted(_lines(path), key=lambda line: int(line["number"]))
    if [line["number"] for line in lines] != list(range(size)):
        raise SystemExit(f"{path} holds {len(lines)} of {size} configurations: let the recording end first")
    head = {
        "task": task.name,
        "trainable": task.trainable,
        "space": task.space,
        "repeats": task.repeats,
        "torch": torch.__version__,
    }
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in [head, *lines])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{task.name}.jsonl.gz").open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as file:
        file.write(text.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pack", type=Path, metavar="DATA", help="compress the recording into this folder instead")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / f"{args.task}.jsonl"
    if args.pack:
        pack(TASKS[args.task], path, args.pack)
    else:
        record(TASKS[args.task], path)


if __name__ == "__main__":
    main()
