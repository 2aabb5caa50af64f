"""What becomes of an experiment whose disk fills up, turns read-only or loses bytes, and whose clock jumps.

    python tests/drills/damage.py

One row a misfortune: what was done, how often, and the outcome. Nothing here needs Ray. The full disk is a small
tmpfs and needs the right to mount one; without it that row says so.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from test_restore import Session, outcome, study

from raytune_suite.checkpoints import TrialCheckpoints
from raytune_suite.errors import JournalError, RaytuneError
from raytune_suite.journal import Journal, read
from raytune_suite.record import fold
from raytune_suite.replay import replay
from raytune_suite.restore import running_time
from raytune_suite.study import Study

TAIL = 2048
ASHA = {"name": "asha", "reduction_factor": 3}


def whole(folder: Path) -> tuple[Study, bytes]:
    """A sequential study under ASHA that ended in order, and its journal."""
    made = study(folder, scheduler=ASHA, num_trials=8, seed=3)
    Session(made, folder / "whole", slots=1, fails={}).run(random.Random(0))
    return made, (folder / "whole" / "journal.jsonl").read_bytes()


def truncated(folder: Path, every: int = 1) -> list[str]:
    """Cut the journal off at each byte of its last 2 KB and go on: the study must end as if nothing had happened."""
    made, content = whole(folder)
    expected, tries, wrong = outcome(folder / "whole"), 0, 0
    for size in range(max(len(content) - TAIL, 0), len(content), every):
        again = folder / "cut"
        again.mkdir()
        (again / "journal.jsonl").write_bytes(content[:size])
        Session(made, again, slots=1, fails={}).run(random.Random(0))
        wrong += outcome(again) != expected or not replay(again, made).identical
        tries += 1
        shutil.rmtree(again)
    what = "goes on and ends as the whole one, every byte" if not wrong else f"{wrong} DIFFER"
    return ["journal cut off in its last 2 KB, resumed", str(tries), what]


def broken_inside(folder: Path, every: int = 7) -> list[str]:
    """Overwrite one byte of the journal: the line is named, but the last one is left out, as one that is torn is."""
    _, content = whole(folder)
    lines, tries, named, torn = content.count(b"\n"), 0, 0, 0
    path = folder / "flipped" / "journal.jsonl"
    path.parent.mkdir()
    for at in range(0, len(content) - 1, every):
        path.write_bytes(content[:at] + b"\x00" + content[at + 1 :])
        tries, before = tries + 1, content[:at].count(b"\n") + 1
        try:
            torn += len(list(read(path.parent))) == lines - 1
        except JournalError as error:
            named += f"line {before} " in str(error)
    what = f"{named} times an error that names the line; in the last line ({torn} times) it is left out as torn"
    return ["one byte of the journal overwritten", str(tries), what if named + torn == tries else "NOT NOTICED"]


def checkpoint_truncated(folder: Path) -> list[str]:
    """Cut a checkpoint's file off at many sizes: the one before is taken."""
    tries = wrong = 0
    for size in range(0, 1000, 50):
        store = TrialCheckpoints(folder / f"trial-{size}", ["all"])
        for iteration in (1, 2):
            store.write(iteration, 1.0, 1.0, _saver)
        store.settle()
        (store.folder / "000002" / "state").write_bytes(bytes(size))
        saved, broken = store.latest_intact()
        wrong += saved is None or saved.iteration != 1 or [b.iteration for b in broken] != [2]
        tries += 1
    what = "set aside, the one before is taken" if not wrong else f"{wrong} WERE LOADED"
    return ["checkpoint cut off", str(tries), what]


def disk_full(folder: Path) -> list[str]:
    """Let the disk of the journal fill up: a clear error, whole lines, and it goes on when there is room."""
    name = "journal on a full disk"
    with _tmpfs(folder / "small", 256 * 1024) as small:
        if small is None:
            return [name, "0", "not tried: no right to mount a tmpfs"]
        journal, events, said = Journal.create(small / "run"), 0, ""
        filler = small / "filler"
        filler.write_bytes(bytes(200 * 1024))
        try:
            while True:
                journal.append("report", number=0, iteration=events + 1, metrics={"loss": 0.5})
                events += 1
        except JournalError as error:
            said = str(error)
        with _quiet():
            journal.close()
        kept = len(list(read(small / "run")))
        filler.unlink()
        with Journal.open(small / "run") as journal:
            journal.append("close", state="finished")
        after = len(list(read(small / "run")))
    right = "No space left" in said and "Free some space" in said and kept == events and after == events + 1
    return [
        name,
        "1",
        f"clear error; all {events} events kept; goes on when there is room" if right else f"WRONG: {said}",
    ]


def read_only(folder: Path) -> list[str]:
    """Turn the disk read-only: reading works, writing is refused with a reason."""
    name = "read-only storage"
    with _tmpfs(folder / "ro", 4 * 2**20) as place:
        if place is None:
            return [name, "0", "not tried: no right to mount a tmpfs"]
        with Journal.create(place / "run") as journal:
            journal.append("experiment", version=1, name="toy")
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        refused = []
        tries: list[Callable[[], object]] = [lambda: Journal.open(place / "run"), lambda: Journal.create(place / "new")]
        for act in tries:
            try:
                act()
            except RaytuneError as error:
                refused.append(str(error))
        readable = len(list(read(place / "run"))) == 1
    right = readable and len(refused) == 2 and all("Read-only file system" in text for text in refused)
    return [name, "2", "readable; run and resume are refused with the reason" if right else f"WRONG: {refused}"]


def clock_jump(folder: Path) -> list[str]:
    """Set the clock back by a day and forth by a year in the middle of a session."""
    set_to = iter([0.0, 0.0, 0.0, 0.0, -86400.0, 365 * 86400.0])  # the first when the journal is opened
    with Journal.create(folder / "run", clock=lambda: time.time() + next(set_to)) as journal:
        journal.append("experiment", version=1, name="toy", metric="loss", mode="min")
        journal.append("session", pid=1)
        for iteration in range(3):
            if iteration == 0:
                journal.append("trial", number=0, config={}, point={})
            else:
                journal.append("report", number=0, iteration=iteration, metrics={"loss": 0.5})
    events = list(read(folder / "run"))
    record = fold(events)
    right = [e["seq"] for e in events] == [1, 2, 3, 4, 5] and record.trials[0].iteration == 2
    right = right and 0 <= running_time(events) < 60
    what = "order is by number; jumps are noted and do not count against stop.time"
    return ["clock jumps in a session", "2", what if right else "WRONG"]


def _saver(draft: Path) -> None:
    draft.mkdir()
    (draft / "state").write_bytes(bytes(1000))


@contextmanager
def _quiet() -> Iterator[None]:
    try:
        yield
    except JournalError:
        return


@contextmanager
def _tmpfs(folder: Path, size: int) -> Iterator[Path | None]:
    """A small file system of its own, or None where none can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


DRILLS: tuple[Callable[[Path], list[str]], ...] = (
    truncated,
    broken_inside,
    checkpoint_truncated,
    disk_full,
    read_only,
    clock_jump,
)


def main() -> None:
    """Run all of them and print the table."""
    print("| misfortune | tries | outcome |\n|---|---|---|")
    for drill in DRILLS:
        with tempfile.TemporaryDirectory() as name:
            print(f"| {' | '.join(drill(Path(name)))} |", flush=True)


if __name__ == "__main__":
    main()
