"""Ends a training step that never returns, even one that holds the interpreter's lock in C code.

Python's :mod:`faulthandler` runs its timer in a C thread that needs no lock: it writes every thread's stack to a file
and ends the process. The driver finds the file and knows that the trial timed out rather than crashed, and where.
"""

from __future__ import annotations

import faulthandler
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FILE = "timeout.txt"
_TRAINING = "raytune_suite/worker.py"
_OURS = ("raytune_suite/worker.py", "raytune_suite/hosts.py", "/ray/", "/threading.py")
_FRAME = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>\d+) in (?P<name>.+)$')


@dataclass(frozen=True)
class Hang:
    """A step that was killed: after how long, in which line of whose code, and the stacks, the training's first."""

    after: str
    where: str
    trace: str

    @property
    def message(self) -> str:
        """What is to be said of it in one sentence."""
        place = f"; it hung in {self.where}" if self.where else ""
        return f"a training step did not return within {self.after}{place}"


@contextmanager
def watchdog(seconds: float | None, folder: Path) -> Iterator[None]:
    """Kill this process if the body takes longer than ``seconds`` (None: never), leaving ``timeout.txt``."""
    if seconds is None:
        yield
        return
    with (folder / FILE).open("w") as file:
        faulthandler.dump_traceback_later(max(seconds, 0.1), exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def hang(folder: Path) -> Hang | None:
    """What a killed step left behind in ``folder``, or None if none was killed there."""
    try:
        text = (folder / FILE).read_text(errors="replace").strip()
    except OSError:
        return None
    return diagnosed(text) if text else None


def diagnosed(text: str) -> Hang:
    """Read what :mod:`faulthandler` wrote: the thread that trained comes first, and tells where it hung."""
    head, *stacks = re.split(r"\n(?=(?:Current thread|Thread) )", text)
    after = re.search(r"Timeout \((\d+):(\d+):(\d+(?:\.\d+)?)\)", head)
    stacks.sort(key=lambda stack: _TRAINING not in stack)
    where = _innermost(stacks[0]) if stacks and _TRAINING in stacks[0] else ""
    return Hang(_spoken(after), where, "\n\n".join([head, *(stack.strip() for stack in stacks)]))


def _innermost(stack: str) -> str:
    """The innermost line of the user's own code; faulthandler puts the most recent call first."""
    frames = [match for line in stack.splitlines() if (match := _FRAME.match(line))]
    training = next((i for i, frame in enumerate(frames) if frame["file"].endswith(_TRAINING)), len(frames))
    inner = frames[:training]
    own = [frame for frame in inner if "site-packages" not in frame["file"] and "/lib/python" not in frame["file"]]
    found = next((frame for frame in own if not any(part in frame["file"] for part in _OURS)), None)
    found = found or (inner[0] if inner else None)
    return f"{found['name']} ({found['file']}, line {found['line']})" if found is not None else ""


def _spoken(found: re.Match[str] | None) -> str:
    if found is None:
        return "its time"
    seconds = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
    return f"{seconds:.3g} s" if seconds < 600 else f"{seconds / 60:.3g} min"
