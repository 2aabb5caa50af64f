"""Runs the engine's contract tests against other versions of Ray, each in an environment of its own.

    python tools/contract_on_other_rays.py 2.40.0 2.55.1 [--folder FOLDER] [-k EXPRESSION]

Each version is installed by pip into a new environment; everything else is taken from the one this runs in. Prints a
row of a table for each: whether the private seam is as expected, and what became of the tests.
"""

from __future__ import annotations

import argparse
import os
import site
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SEAM = "from raytune_suite.engine import seam; print('; '.join(seam.differences()) or 'as expected')"


def installed(version: str, folder: Path) -> Path:
    """The Python of an environment with this version of Ray before everything else that is installed here."""
    place = folder / version
    python = place / "bin" / "python"
    if not python.exists():
        venv.create(place, with_pip=False)
        packages = next(place.glob("lib/python*/site-packages"))
        (packages / "here.pth").write_text("\n".join(site.getsitepackages()))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages)]
        subprocess.run([*command, f"ray=={version}"], check=True)
    return python


def tested(version: str, python: Path, expression: str) -> str:
    """A row of the table."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    asked = subprocess.run([python, "-c", SEAM], env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    seam = (asked.stdout.strip() or asked.stderr.strip() or "nothing said").splitlines()[-1]
    command = [python, "-m", "pytest", "-q", "--no-header", "tests/engine/test_contract.py", "-k", expression]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    (python.parents[1] / "tests.txt").write_text(done.stdout + done.stderr)
    said = (done.stdout.strip().splitlines() or ["nothing"])[-1]
    return f"| {version} | {seam} | {said} |"


def main() -> None:
    """Parse the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("versions", nargs="+")
    parser.add_argument("--folder", type=Path, default=None, help="where environments are kept; else they are deleted")
    parser.add_argument("-k", dest="expression", default="", help="only the tests that match, as pytest has it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rays-") as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print("| Ray | the seam | contract tests |\n|---|---|---|", flush=True)
        for version in args.versions:
            print(tested(version, installed(version, folder.resolve()), args.expression), flush=True)


if __name__ == "__main__":
    main()
