"""The process that rehearses: reads a configuration a line, answers with a footprint or with why there is none."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from raytune_suite import standalone

Answer = Callable[[Mapping[str, Any]], dict[str, Any]]


def answers(folder: Path) -> Answer:
    """What answers questions about the study whose job lies in ``folder``."""
    from raytune_suite.resolve import resolve
    from raytune_suite.trainable import TorchTrainable

    job = json.loads((folder / "job.json").read_text())
    cls = resolve(job["trainable"], Path(job["project"]))
    if not (isinstance(cls, type) and issubclass(cls, TorchTrainable)):
        why = f"{job['trainable']} is no TorchTrainable, so its training step cannot be rehearsed"
        return unable(why)
    from raytune_suite.memory.rehearsal import rehearse

    context = standalone.context(job)

    def answer(config: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return rehearse(cls, config, context, repeats=job["repeats"]).as_dict()
        except Exception as error:
            return {"why": why_not(error)}

    return answer


def unable(why: str) -> Answer:
    """What answers every question with the same excuse."""
    return lambda _: {"why": why}


def why_not(error: BaseException) -> str:
    """In one line: what the code did that cannot be done without contents, and where."""
    kind = type(error).__name__
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    known = {
        "DynamicOutputShapeException": "an operator whose result's size depends on values",
        "DataDependentOutputException": "an operator whose result depends on values",
        "UnsupportedOperatorException": "an operator that torch cannot run without contents",
    }
    text = f"{known[kind]}: {said}" if kind in known else f"{kind}: {said}"
    return f"{text}{_place(error)}"


def _place(error: BaseException) -> str:
    """The last line of their code that ran: neither the suite's nor torch's, wherever their project lies."""
    import traceback

    known = [sys.modules[name].__file__ for name in ("raytune_suite", "torch") if name in sys.modules]
    packages = [Path(file).parent for file in known if file is not None]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    theirs = [f for f in frames if not any(Path(f.filename).is_relative_to(package) for package in packages)]
    return f" ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else ""


def main(folder: Path, questions: Any = sys.stdin) -> None:
    """Answer until there are no more questions; the answers go to the pipe that the job names."""
    pipe = json.loads((folder / "job.json").read_text())["answers"]
    with os.fdopen(pipe, "w") as out:
        try:
            answer = answers(folder)
        except (Exception, SystemExit) as error:
            answer = unable(why_not(error))
        for line in questions:
            out.write(json.dumps(answer(json.loads(line))) + "\n")
            out.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
