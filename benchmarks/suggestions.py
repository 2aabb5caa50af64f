"""What a suggestion costs, and how long the driver's loop waits because of it.

    python benchmarks/suggestions.py [--repeats 20] [--quick]

Each row is a process of its own: a mixed space, so many finished trials, seven in flight; then suggestions one after
the other in the background, as in a run, each followed by a result. Beside them a loop ticks as the driver's does: it
waits for a millisecond, writes an event, tells a report, and is late by what lies beyond that millisecond. "of it the
searcher" counts of that no more than what the searcher's thread computed meanwhile, so that a busy machine does not
count (though work beside the loop does). Memory is what observations, model and imports add, at most.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np

IN_FLIGHT = 7
CASES = ((8, 100), (8, 1000), (20, 100), (20, 1000))


def space_of(dims: int) -> Any:
    """Floats, every third on a log scale, and one integer and one choice in four parameters each."""
    from raytune_suite.space import Space

    kinds: list[Any] = [
        {"uniform": [0.0, 1.0]},
        {"loguniform": [1e-5, 1e-1]},
        {"randint": [1, 100]},
        {"choice": ["a", "b", "c"]},
    ]
    return Space.parse({f"p{index}": kinds[index % 4] for index in range(dims)})


def loss(space: Any, point: dict[str, Any], rng: np.random.Generator) -> float:
    """A bowl with a little noise."""
    return float(((space.to_unit(point) - 0.4) ** 2).sum() + 0.01 * rng.standard_normal())


def history(searcher: Any, count: int, rng: np.random.Generator) -> None:
    """Tell ``count`` ended trials, half of them near the best, every third trained whole, and some in flight."""
    from raytune_suite.search.core import Observation
    from raytune_suite.states import State

    space = searcher.space
    for number in range(count):
        unit = rng.random(len(space.parameters))
        unit = np.clip(0.4 + 0.2 * (unit - 0.5), 0.0, 1.0) if number % 2 else unit
        point = space.from_unit(unit)
        first, last = (loss(space, point, rng) + more for more in (1.0, 0.0))
        searcher.tell(Observation(number, point, first, 1, State.RUNNING))
        whole = (last, 9, State.COMPLETED) if number % 3 == 0 else (first, 1, State.STOPPED)
        searcher.tell(Observation(number, point, *whole))
    for number in range(count, count + IN_FLIGHT):
        searcher.tell(Observation(number, space.sample(rng), None, 0, State.PENDING))


class Ticks:
    """A loop like the driver's: how late each of its turns was, and what the searcher's thread computed meanwhile."""

    def __init__(self, suggestions: Any, folder: str, clock: int) -> None:
        from raytune_suite.journal import Journal

        self.suggestions, self.journal, self.clock = suggestions, Journal.create(Path(folder) / "ticks"), clock
        self.delays: list[tuple[float, float]] = []

    def turn(self, observation: Any) -> None:
        """Wait for a millisecond, write and tell a report."""
        began, before = time.perf_counter(), time.clock_gettime(self.clock)
        time.sleep(0.001)
        metrics = {"loss": observation.value}
        self.journal.append("report", number=observation.number, iteration=1, metrics=metrics, elapsed=1.0)
        self.suggestions.tell(observation)
        late, computed = time.perf_counter() - began - 0.001, time.clock_gettime(self.clock) - before
        self.delays.append((late, min(late, computed)))

    def taken(self) -> list[tuple[float, float]]:
        """The delays so far; begins anew."""
        found, self.delays = self.delays, []
        return found


def measure(dims: int, count: int, repeats: int) -> dict[str, float]:
    """One row, in this process."""
    from raytune_suite.search.bayesian import BayesianSearcher
    from raytune_suite.search.preparation import Preparation
    from raytune_suite.search.suggestions import Background, Suggestions

    rng = np.random.default_rng(0)
    searcher = BayesianSearcher(space_of(dims), seed=0, num_trials=count + 1000, max_iterations=9)
    before = _rss()
    history(searcher, count, rng)
    background = Background("searcher")
    suggestions = Suggestions(searcher, background)
    with tempfile.TemporaryDirectory() as folder:
        preparation = Preparation(searcher)
        preparation({"event": "report"})
        preparation.wait()
        clock: Queue[int] = Queue()
        background(lambda: clock.put(time.pthread_getcpuclockid(threading.get_ident())))
        ticks = Ticks(suggestions, folder, clock.get())
        seconds, delays = zip(*_asked(suggestions, ticks, count, repeats + 1, rng), strict=True)
        ticks.journal.close()
    background.close()
    ordered = sorted(seconds[1:])
    late, blamed = np.array([delay for found in delays[1:] for delay in found]).T
    return {
        "first": seconds[0],
        "median": float(np.median(ordered)),
        "p95": float(np.quantile(ordered, 0.95)),
        "longest": float(late.max()),
        "late p99": float(np.quantile(late, 0.99)),
        "searcher": float(blamed.max()),
        "memory": _rss() - before,
    }


def _asked(
    suggestions: Any, ticks: Ticks, count: int, repeats: int, rng: np.random.Generator
) -> Iterator[tuple[float, list[tuple[float, float]]]]:
    """Seconds of each suggestion and the loop's delays during it."""
    from raytune_suite.search.core import Observation
    from raytune_suite.states import State

    space = suggestions.searcher.space
    for number in range(count + IN_FLIGHT, count + IN_FLIGHT + repeats):
        ended = number - IN_FLIGHT
        point = dict(suggestions.searcher.pending[ended])
        suggestions.tell(Observation(ended, point, loss(space, point, rng), 9, State.COMPLETED))
        running = number - 1
        suggestions.begin(number, 0)
        while not suggestions.wait(0.0):
            ticks.turn(Observation(running, {}, 0.5, 1, State.RUNNING))
        made = suggestions.take()
        if made.error is not None:
            raise made.error
        yield made.seconds, ticks.taken()


def _rss() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _child(dims: int, count: int, repeats: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", str(dims), str(count), str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="100 observations only, five suggestions each")
    parser.add_argument("--one", nargs=3, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*args.one)))
        return
    repeats = 5 if args.quick else args.repeats
    print("| dimensions | observations | s, median | s, p95 | loop late, longest ms | of it the searcher | p99 | MB |")
    print("|---|---|---|---|---|---|---|---|")
    for dims, count in CASES:
        if args.quick and count > 100:
            continue
        row = _child(dims, count, repeats)
        late = " | ".join(f"{1000 * row[key]:.1f}" for key in ("longest", "searcher", "late p99"))
        print(
            f"| {dims} | {count} | {row['median']:.3f} | {row['p95']:.3f} | {late} | {row['memory']:.0f} |", flush=True
        )


if __name__ == "__main__":
    main()
