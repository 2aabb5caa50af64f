"""How long ``raytune --help`` takes, beside Python starting and doing nothing: ``python benchmarks/help.py``."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 15
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "raytune --help": [sys.executable, "-m", "raytune_suite", "--help"],
}


def seconds(command: list[str]) -> float:
    """Wall-clock seconds of one run."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Print the median and the range of each command, in milliseconds."""
    print("| command | median ms | range |\n|---|---|---|")
    for name, command in COMMANDS.items():
        times = sorted(1000 * seconds(command) for _ in range(RUNS))
        print(f"| `{name}` | {statistics.median(times):.0f} | {times[0]:.0f}-{times[-1]:.0f} |")


if __name__ == "__main__":
    main()
