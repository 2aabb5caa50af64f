"""Compare the suite's Bayesian searcher with other optimisers on sixteen tasks.

python benchmarks/search.py run --searchers suite tpe --results results/a.jsonl --environments ~/peers
python benchmarks/search.py report results/*.jsonl
python benchmarks/search.py references results/*.jsonl
python benchmarks/search.py --quick
"""

from __future__ import annotations

import argparse
from pathlib import Path

from searching.quick import quick
from searching.references import load, lower, write
from searching.report import report
from searching.runs import MODES, plan, read, work
from searching.sessions import SEARCHERS
from searching.tasks import TASKS

ENVIRONMENTS = Path.home() / ".cache" / "raytune-suite" / "peers"


def run(args: argparse.Namespace) -> int:
    """Do the runs that are missing from the results."""
    modes = [MODES[name] for name in args.modes]
    work(plan(args.searchers, args.tasks, modes, args.seeds), args.results, args.environments)
    return 0


def references(args: argparse.Namespace) -> int:
    """Compute what scores are measured by, anew; or lower the best known losses to what was found since."""
    if args.lower:
        lower(read(args.results))
        return 0
    write([TASKS[name] for name in args.tasks], read(args.results), args.environments)
    return 0


def show(args: argparse.Namespace) -> int:
    """Print the report."""
    print("\n".join(report(read(args.results), load(), list(MODES.values()))))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--quick", action="store_true", help="a part of it in under three minutes; exit code 1 if lost")
    commands = top.add_subparsers()
    runs = commands.add_parser("run", help="run searchers on tasks; goes on where it was stopped")
    runs.add_argument("--results", type=Path, required=True, help="JSON lines, appended to")
    runs.add_argument("--searchers", nargs="+", choices=SEARCHERS, default=list(SEARCHERS))
    runs.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK")
    runs.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    runs.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    runs.add_argument("--environments", type=Path, default=ENVIRONMENTS, help="where peers are installed")
    runs.set_defaults(do=run)
    reports = commands.add_parser("report", help="print the tables of result files as Markdown")
    reports.add_argument("results", nargs="+", type=Path)
    reports.set_defaults(do=show)
    refs = commands.add_parser("references", help="freeze best known losses and random search's medians")
    refs.add_argument("results", nargs="*", type=Path, help="result files whose best losses count too")
    refs.add_argument("--lower", action="store_true", help="only lower best known losses to those of the results")
    refs.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK")
    refs.add_argument("--environments", type=Path, default=ENVIRONMENTS)
    refs.set_defaults(do=references)
    return top


def main() -> int:
    """Run a command; the exit code."""
    args = parser().parse_args()
    if args.quick:
        return quick(ENVIRONMENTS)
    if "do" not in args:
        parser().print_help()
        return 2
    return int(args.do(args))


if __name__ == "__main__":
    raise SystemExit(main())
