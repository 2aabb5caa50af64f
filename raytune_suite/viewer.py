"""Opens TensorBoard on an experiment, or on every experiment of a storage folder."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from urllib.parse import quote

from raytune_suite import journal
from raytune_suite.analysis import find
from raytune_suite.board import FOLDER
from raytune_suite.errors import ExperimentError, JournalError
from raytune_suite.eventfiles import SUFFIX
from raytune_suite.tensorboard import write

HOST = "127.0.0.1"
DEFAULT_PORT = 6006


def logdir(folder: Path) -> Path:
    """The folder TensorBoard is to read; files that are missing are made from the journals first.

    Raises ExperimentError if there is no experiment in ``folder``.
    """
    folders = _experiments(folder)
    for experiment in folders:
        board = experiment / FOLDER
        if not any(board.glob(f"*tfevents*{SUFFIX}")) and journal.holder(experiment) is None:
            _write(experiment, alone=folders == [folder])
    return folder / FOLDER if folders == [folder] else folder


def links(folder: Path, port: int) -> list[str]:
    """Where to look: the page, the curves of the studies' metrics side by side, the table of trials."""
    page = f"http://{HOST}:{port}/"
    metrics = (_metric(experiment) for experiment in _experiments(folder))
    tags = [*dict.fromkeys(metric for metric in metrics if metric), "study/best"]
    # TensorBoard opens the first two groups of tags by name: what the study is about is pinned above them.
    cards = json.dumps([{"plugin": "scalars", "tag": tag} for tag in tags], separators=(",", ":"))
    return [
        f"TensorBoard on {page} (Ctrl-C ends it)",
        f"  curves  {page}?smoothing=0&pinnedCards={quote(cards, safe='')}#timeseries",
        f"  table   {page}#hparams",
    ]


def command(folder: Path, port: int) -> list[str]:
    """The command line that serves ``folder`` on this machine only.

    Trials write beside the driver into the same runs: every file of a run has to be followed, not only the last.
    """
    options = ["--host", HOST, "--port", str(port), "--reload_multifile=true", "--reload_interval=5"]
    return [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), *options]


def free_port(wanted: int | None) -> int:
    """The wanted port, or TensorBoard's usual one, or else any free one.

    Raises ExperimentError if the port asked for is taken or none.
    """
    if wanted is not None and not 1 <= wanted <= 65535:
        raise ExperimentError(f"A port must be from 1 to 65535, got {wanted}: leave out --port to take a free one.")
    for port in (wanted,) if wanted else (DEFAULT_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ExperimentError(f"Port {wanted} is in use: leave out --port to take a free one.")


def serve(folder: Path, port: int | None = None) -> None:
    """Become a TensorBoard that shows ``folder``; does not return."""
    shown, chosen = logdir(folder), free_port(port)
    sys.stdout.write("\n".join(links(folder, chosen)) + "\n")
    sys.stdout.flush()
    # Taking over this process leaves nobody in between: a signal to it reaches TensorBoard.
    os.execv(sys.executable, command(shown, chosen))


def _experiments(folder: Path) -> list[Path]:
    folders = [folder] if (folder / journal.FILE).is_file() else find(folder)
    if not folders:
        raise ExperimentError(
            f"{folder} is no experiment, and none lies in it. See: raytune list, with --storage for another folder."
        )
    return folders


def _write(experiment: Path, *, alone: bool) -> None:
    """Make an experiment's files; one of several that is damaged must not hide the others."""
    try:
        write(experiment)
    except JournalError as error:
        if alone:
            raise
        sys.stderr.write(f"Not shown: {error}\n")


def _metric(experiment: Path) -> str | None:
    try:
        return next(journal.read(experiment), {}).get("metric")
    except JournalError:
        return None
