"""The other processes of a training, as its first process sees them: started, told what to do, heard, ended.

They cannot outlive it: when its end of the pipe closes, however it dies, they exit.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from raytune_suite.errors import TrainableError
from raytune_suite.resolve import reference_to

READY_S = 300.0
_FAREWELL_S = 5.0


class RankError(RuntimeError):
    """Another process of the trial failed: with which error, and its traceback there."""

    def __init__(self, rank: int, size: int, kind: str, message: str, trace: str) -> None:
        super().__init__(f"in process {rank} of 0 to {size - 1}: {message}")
        self.rank, self.kind, self.trace = rank, kind, trace


class Member:
    """One process, and what it has said."""

    def __init__(self, rank: int, spec: Mapping[str, Any]) -> None:
        self.rank, self.said = rank, queue.SimpleQueue[dict[str, Any]]()
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        command = [sys.executable, "-m", "raytune_suite.trainable.rank", str(orders), str(answers)]
        self.process = subprocess.Popen(
            command, pass_fds=(orders, answers), stdin=subprocess.DEVNULL, start_new_session=True
        )
        os.close(orders)
        os.close(answers)
        self.tell(spec)
        threading.Thread(target=self._listen, name=f"rank {rank}", daemon=True).start()

    def tell(self, order: Mapping[str, Any]) -> None:
        """Send an order; one that is gone hears nothing, which its silence will tell."""
        with suppress(OSError):
            os.write(self._orders, json.dumps(order).encode() + b"\n")

    def _listen(self) -> None:
        with os.fdopen(self._answers) as answers:
            for line in answers:
                self.said.put(json.loads(line))
        self.said.put({"gone": True})

    def end(self, patience_s: float) -> None:
        """Wait a moment for its end, then end it."""
        with suppress(OSError):
            os.close(self._orders)
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Crew:
    """Ranks 1 to ``size - 1`` of a training of ``cls``."""

    def __init__(self, cls: type, config: Mapping[str, Any], context: Any, size: int, store: Path, cuda: bool) -> None:
        try:
            reference = reference_to(cls)
        except ValueError as error:
            raise TrainableError(f"{size} processes cannot train this class: {error}") from None
        self.size = size
        spec = {"trainable": reference, "path": sys.path, "config": dict(config), "size": size, "store": str(store)}
        self._members = [
            Member(rank, {**spec, "cuda": cuda, "context": _for_rank(context, rank)}) for rank in range(1, size)
        ]

    def await_ready(self) -> None:
        """Wait until all have imported the class. Raises :class:`RankError` if one cannot."""
        self._hear(READY_S)

    @contextmanager
    def doing(
        self,
        what: str,
        arguments: Mapping[str, Any],
        consequence: Callable[[BaseException], bool],
        patience_s: float,
    ) -> Iterator[None]:
        """Have all do it while the first does it; raises the error of the one that failed first.

        ``consequence`` tells an error that only follows from another's: that one is waited for, ``patience_s`` long.
        """
        for member in self._members:
            member.tell({"do": what, **arguments})
        try:
            yield
        except Exception as error:
            self._blame(patience_s if consequence(error) else 0.0)
            raise
        self._hear(None)

    def _hear(self, patience_s: float | None) -> None:
        """Wait for everybody's answer to the last order."""
        for member in self._members:
            try:
                answer = member.said.get(timeout=patience_s)
            except queue.Empty:
                raise TrainableError(f"process {member.rank} of the trial did not start in {patience_s:g} s") from None
            self._check(member, answer)

    def _blame(self, patience_s: float) -> None:
        """Raise what another process says of its own failure, if one does within ``patience_s``."""
        until = time.monotonic() + patience_s
        gone: Member | None = None
        while True:
            for member in self._members:
                with suppress(queue.Empty):
                    answer = member.said.get_nowait()
                    if answer.get("gone"):
                        gone = member
                    elif "error" in answer and not answer["error"]["consequence"]:
                        self._check(member, answer)
            if time.monotonic() >= until:
                break
            time.sleep(0.02)
        if gone is not None:
            self._check(gone, {"gone": True})

    def _check(self, member: Member, answer: Mapping[str, Any]) -> None:
        if "error" in answer:
            error = answer["error"]
            raise RankError(member.rank, self.size, error["kind"], error["message"], error["trace"])
        if answer.get("gone"):
            member.process.wait()
            what = f"the process died (exit code {member.process.returncode})"
            raise RankError(member.rank, self.size, "ProcessDied", what, "")

    def dismiss(self) -> None:
        """Tell all to end."""
        for member in self._members:
            member.tell({"do": "close"})

    def end(self) -> None:
        """Wait a moment for their end, then end them."""
        until = time.monotonic() + _FAREWELL_S
        for member in self._members:
            member.end(max(0.0, until - time.monotonic()))


def _for_rank(context: Any, rank: int) -> dict[str, Any]:
    """The context of another process, as plain values: its files lie apart."""
    folder = context.trial_dir / f"rank{rank}"
    own = replace(context, rank=rank, trial_dir=folder, tensorboard_dir=folder / "tensorboard")
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(own).items()}
