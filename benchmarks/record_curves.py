"""Whole learning curves of random configurations of a study: what benchmarks/early_stopping.py replays.

    python benchmarks/record_curves.py studies/digits.yaml CURVES.jsonl [--configs 120] [--seconds 240]

Trains in this process, one configuration after the other, without Ray. A line per configuration: its point and, by
iteration from 1, the metric and the seconds. Started again on the same file, it goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from raytune_suite.resolve import resolve
from raytune_suite.seeds import trial_seed
from raytune_suite.study import Study
from raytune_suite.trainable import Context


def train(study: Study, cls: Any, point: dict[str, Any], seed: int) -> tuple[list[float], list[float]]:
    """Values (inf where there is none) and seconds of the iterations of one configuration."""
    context = Context.standalone(seed=seed, max_iterations=study.max_iterations, metric=study.metric, mode=study.mode)
    trainable = cls(study.search_space.config(point), context)
    values, seconds = [], []
    for _ in range(study.max_iterations):
        started = time.perf_counter()
        value = float(trainable.step()[study.metric])
        seconds.append(round(time.perf_counter() - started, 4))
        values.append(value if math.isfinite(value) else math.inf)
    trainable.close()
    return values, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("curves", type=Path)
    parser.add_argument("--configs", type=int, default=120)
    parser.add_argument("--seconds", type=float, default=240, help="begin no configuration after this long")
    args = parser.parse_args()
    study = Study.load(args.study)
    cls = resolve(study.trainable, study.project)
    done = len(args.curves.read_text().splitlines()) if args.curves.exists() else 0
    until = time.monotonic() + args.seconds
    with args.curves.open("a") as file:
        for number in range(done, args.configs):
            if time.monotonic() > until:
                break
            point = study.search_space.sample(np.random.default_rng([77, number]))
            values, seconds = train(study, cls, point, trial_seed(77, number))
            file.write(json.dumps({"point": point, "values": values, "seconds": seconds}) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
