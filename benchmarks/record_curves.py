"""Record whole learning curves of every configuration of a grid: what benchmarks/early_stopping.py looks up.

    python -m benchmarks.record_curves tabular FOLDER
    python -m benchmarks.record_curves tabular FOLDER --pack benchmarks/curves/data

Trains in this process on one thread, one configuration after the other in a shuffled order, and writes a line per
configuration to FOLDER/TASK.jsonl: its number in the grid, its point and, by iteration from 1, the metric (null:
not finite) and the CPU seconds. Started again, it goes on. ``--pack`` writes a complete recording, compressed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.curves.tasks import TASKS, Task, Trainer
from raytune_suite.space import Space


def record(task: Task, path: Path, minutes: float) -> None:
    """Train what is not recorded yet, for so many minutes of CPU time at most."""
    points = list(Space.parse(task.space).enumerate())
    done = {line["number"] for line in _lines(path)} if path.exists() else set()
    trainer = Trainer(task)
    order = np.random.default_rng(0).permutation(len(points))
    with path.open("a") as file:
        for count, number in enumerate(int(n) for n in order if n not in done):
            if time.process_time() > 60 * minutes:
                break
            values, seconds = trainer.train(points[number], number)
            file.write(json.dumps(_line(number, points[number], values, seconds)) + "\n")
            file.flush()
            if count % 20 == 0:
                done_now = f"{len(done) + count + 1} of {len(points)}"
                print(f"{task.name}: {done_now}, {time.process_time():.0f} CPU seconds", flush=True)


def _line(number: int, point: dict[str, Any], values: list[float], seconds: list[float]) -> dict[str, Any]:
    rounded = [float(f"{value:.5g}") if math.isfinite(value) else None for value in values]
    return {"number": number, "point": point, "values": rounded, "seconds": [float(f"{s:.3g}") for s in seconds]}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def pack(task: Task, path: Path, folder: Path) -> None:
    """Write a complete recording, sorted and compressed; its first line says what it is."""
    size = sum(1 for _ in Space.parse(task.space).enumerate())
    lines = sorted(_lines(path), key=lambda line: int(line["number"]))
    if [line["number"] for line in lines] != list(range(size)):
        raise SystemExit(f"{path} holds {len(lines)} of {size} configurations: let the recording end first")
    head = {
        "task": task.name,
        "space": task.space,
        "trainable": task.trainable or task.study.trainable,
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
    parser.add_argument("--minutes", type=float, default=math.inf, help="of CPU time, then stop")
    parser.add_argument("--pack", type=Path, metavar="DATA", help="compress the recording into this folder instead")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / f"{args.task}.jsonl"
    if args.pack:
        pack(TASKS[args.task], path, args.pack)
    else:
        record(TASKS[args.task], path, args.minutes)


if __name__ == "__main__":
    main()
