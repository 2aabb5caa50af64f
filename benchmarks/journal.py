"""What the journal costs: microseconds of CPU an append, events a second read and folded, bytes a report."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from raytune_suite.journal import Journal, read
from raytune_suite.record import Record, fold

TRIALS, REPORTS = 100, 200
METRICS = {
    "validation/loss": 0.123456,
    "validation/accuracy": 0.9812,
    "train/loss": 0.3333333,
    "throughput/samples_per_s": 12345.678,
    "memory/host_mb": 512.25,
}


def append(folder: Path) -> float:
    """Write a whole experiment; return microseconds of this thread's CPU a report."""
    with Journal.create(folder) as journal:
        journal.append("experiment", version=1, name="benchmark", metric="validation/loss", mode="min")
        for number in range(TRIALS):
            journal.append("trial", number=number, trial_id=f"{number:05d}", config={"lr": 0.1}, point={"lr": 0.1})
            journal.append("start", number=number, attempt=0)
        start = time.thread_time()
        for iteration in range(1, REPORTS + 1):
            for number in range(TRIALS):
                journal.append("report", number=number, iteration=iteration, metrics=METRICS, elapsed=1.5 * iteration)
        return (time.thread_time() - start) / (TRIALS * REPORTS) * 1e6


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cost = append(folder)
        start = time.perf_counter()
        events = list(read(folder))
        reading = len(events) / (time.perf_counter() - start)
        start = time.perf_counter()
        fold(events)
        folding = len(events) / (time.perf_counter() - start)
        record = Record(keep_reports=False)
        start = time.perf_counter()
        for event in events:
            record.apply(event)
        live = (time.perf_counter() - start) / len(events) * 1e6
        size = (folder / "journal.jsonl").stat().st_size / len(events)
    print("| journal | |\n|---|---|")
    print(f"| append a report of {len(METRICS)} metrics | {cost:.1f} µs of CPU |")
    print(f"| the driver's record of it | {live:.1f} µs |")
    print(f"| a line | {size:.0f} bytes |")
    print(f"| read | {reading:,.0f} events/s |")
    print(f"| fold | {folding:,.0f} events/s |")


if __name__ == "__main__":
    main()
