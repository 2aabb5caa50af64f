"""Run every code block of the documentation, so that what a reader copies works.

    python tools/run_docs.py [PAGE.md ...]        all of README.md and docs/ without arguments

Each page gets a fresh copy of the project's ``studies/`` and ``trainables/`` and is read from top to bottom:

    ```python     runs in one interpreter per page: a block sees the names of the blocks above it
    ```sh         runs in bash (``set -euo pipefail``) with this interpreter's commands first on PATH
    ```console    lines after ``$ `` run; what stands below must be what they print (``...`` for anything)
    ```yaml       a study, or some of its keys, must be valid
    ```json ```text and other languages are for reading

A comment right above a block changes that: ``<!-- file: NAME -->`` writes the block to NAME instead (a
study is still checked), ``<!-- exit: 2 -->`` names the exit code to expect, and ``<!-- norun -->`` leaves
alone what needs a network or a cluster; what may be so marked is listed in ``OUT_OF_REACH``.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 600  # seconds for one block
OUT_OF_REACH = (
    *("git clone", "cd ", "ssh ", "export RAY_"),
    *("ray up", "ray down", "ray exec", "ray attach", "ray start", "ray stop"),
    *("raytune submit", "raytune jobs", "raytune follow", "raytune stop"),
)
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<body>.*?)^(?P=indent)```\s*$", re.M | re.S)
MARK = re.compile(r"<!--\s*(?P<word>norun|file|exit)(?::\s*(?P<value>[^>]*?))?\s*-->\s*\Z")


class BlockError(Exception):
    """A block that does not do what the page says."""


@dataclass(frozen=True)
class Block:
    """One fenced block: where it starts, its language, its text, and the marks right above it."""

    page: Path
    line: int
    language: str
    text: str
    marks: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line} ({self.language})"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, from top to bottom."""
    text = page.read_text()
    return [_block(page, text, match) for match in FENCE.finditer(text)]


def _block(page: Path, text: str, match: re.Match[str]) -> Block:
    indent = len(match["indent"])
    body = "".join(line[indent:] if line.strip() else line for line in match["body"].splitlines(keepends=True))
    above, marks = text[: match.start()], {}
    while mark := MARK.search(above):
        marks[mark["word"]] = mark["value"] or ""
        above = above[: mark.start()]
    return Block(page, text.count("\n", 0, match.start()) + 1, match["language"], body, marks)


def pages() -> list[Path]:
    """README.md and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(block: Block) -> list[str]:
    """The command lines of a shell block, with continuation lines joined."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


class Page:
    """One page being run: a scratch project and, once needed, an interpreter as long-lived as the page."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = tempfile.TemporaryDirectory(prefix="docs-")
        self.project = Path(self._folder.name).resolve() / "project"
        self._python: Interpreter | None = None

    def __enter__(self) -> Page:
        for name in ("studies", "trainables"):
            shutil.copytree(ROOT / name, self.project / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "Makefile", "cluster.yaml"):
            if (ROOT / name).exists():
                shutil.copy(ROOT / name, self.project)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._python is not None:
            self._python.close()
        self._folder.cleanup()

    def run(self, block: Block) -> None:
        """Run one block; raises BlockError with everything needed to mend it."""
        if "norun" in block.marks:
            _must_be_out_of_reach(block)
            return
        if "file" in block.marks:
            path = self.project / block.marks["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        run = {
            "python": self._run_python,
            "sh": self._run_sh,
            "bash": self._run_sh,
            "console": self._run_console,
        }
        if block.language == "yaml":
            self._check_yaml(block)
        elif "file" not in block.marks and block.language in run:
            run[block.language](block)

    def _run_python(self, block: Block) -> None:
        self._python = self._python or Interpreter(self.project, self._environment())
        self._python.run(block)

    def _run_sh(self, block: Block) -> None:
        self._shell("\n".join(line for line in block.text.splitlines() if not _is_set_up(line)), block)

    def _run_console(self, block: Block) -> None:
        for command, expected in _sessions(block.text):
            shown = self._shell(command, block)
            if expected.strip() and not _matches(expected, shown):
                raise BlockError(f"{block}: {command}\nthe page shows:\n{expected}\nbut it printed:\n{shown}")

    def _shell(self, script: str, block: Block) -> str:
        """Run a script; returns what it printed. Its exit code must be the one the page names, or 0."""
        done = subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n{script}"],
            cwd=self.project,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
        )
        expected = int(block.marks.get("exit", "0"))
        if done.returncode != expected:
            raise BlockError(f"{block}: exit code {done.returncode}, not {expected}\n{script}\n{done.stdout[-3000:]}")
        return done.stdout

    def _check_yaml(self, block: Block) -> None:
        """A whole study, or a fragment laid over a small valid one; anything else must be plain YAML."""
        from raytune_suite.study import Study
        from raytune_suite.study.file import read_yaml

        raw = read_yaml(block.text, str(block))
        if not set(raw) & set(Study.model_fields):
            return
        Study.from_dict(raw if "trainable" in raw else _around(raw), project=self.project)

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"}


class Interpreter:
    """A child Python that runs one block after another in one namespace."""

    SOURCE = """
import contextlib, io, json, sys, traceback
sys.path.insert(0, "")
answers, space = sys.stdout, {"__name__": "__main__"}
sys.stdout = sys.stderr
for request in sys.stdin:
    block = json.loads(request)
    try:
        exec(compile("\\n" * block["line"] + block["text"], block["page"], "exec"), space)
        answer = ""
    except BaseException:
        answer = traceback.format_exc()
    answers.write(json.dumps(answer) + "\\n")
    answers.flush()
"""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close()
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.SOURCE],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def run(self, block: Block) -> None:
        """Run one block; raises BlockError with its traceback and output."""
        if self._process.stdin is None or self._process.stdout is None:
            raise BlockError(f"{block}: the interpreter has no pipes")
        request = {"line": block.line, "text": block.text, "page": str(block.page)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        problem = json.loads(answer) if answer else "the interpreter died"
        if problem:
            self._log.seek(0)
            raise BlockError(f"{block}:\n{self._log.read()[-4000:]}\n{problem}")

    def close(self) -> None:
        """End the interpreter as a script ends: at the end of its input, so that exit handlers run."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=60)
        self._log.close()


def _must_be_out_of_reach(block: Block) -> None:
    within = [line for line in commands(block) if not line.startswith(OUT_OF_REACH)]
    if block.language in ("sh", "bash", "console") and within:
        raise BlockError(f"{block}: nothing keeps these from being run: {within}")
    if block.language == "python":
        raise BlockError(f"{block}: a Python block can always be run")


def _is_set_up(line: str) -> bool:
    """``make demo`` and its like install; a test sees that .ci/run runs them on a clean clone."""
    return line.strip().startswith("make ")


def _sessions(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with the output shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        lines = part.splitlines(keepends=True)
        count = next(i for i, line in enumerate(lines, 1) if not line.rstrip().endswith("\\"))
        yield "".join(lines[:count]), "".join(lines[count:])


def _matches(expected: str, shown: str) -> bool:
    """As doctest compares: ``...`` stands for anything, and runs of white space are one."""
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(expected, shown, options)


def _around(fragment: dict[str, object]) -> dict[str, object]:
    """The smallest study that a fragment of one can be laid over."""
    study: dict[str, object] = {
        "trainable": "trainables.digits:DigitsCNN",
        "metric": "validation/loss",
        "num_trials": 20,
        "max_iterations": 27,
        "space": {
            "learning_rate": {"loguniform": [1e-5, 1e-1]},
            "batch_size": {"qrandint": [32, 256, 32]},
            "channels": {"choice": [16, 32, 64]},
            "optimizer": {"choice": ["sgd", "adamw"]},
            "dropout": {"uniform": [0.0, 0.5]},
        },
        "search": "random",
        "name": "fragment",
    }
    return study | fragment


def run(path: Path) -> int:
    """Run one page from top to bottom and return how many blocks it had."""
    found = blocks(path)
    with Page(path) as page:
        for block in found:
            page.run(block)
    return len(found)


def main(arguments: list[str]) -> int:
    """Run the pages named, or all; returns 1 if a block failed."""
    failed = 0
    for path in [Path(name).resolve() for name in arguments] or pages():
        try:
            print(f"{path.name}: {run(path)} blocks", flush=True)
        except (BlockError, subprocess.TimeoutExpired) as error:
            failed += 1
            print(f"{path.name}: {error}", file=sys.stderr, flush=True)
        except Exception as error:
            failed += 1
            print(f"{path.name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
