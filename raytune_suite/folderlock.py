"""The lock of an experiment's folder: one driver at a time writes there, and the kernel drops it when that dies."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

from raytune_suite.errors import JournalError

LOCK = "journal.lock"
_LOCK_TRIES = 5


def holder(folder: Path | str) -> str | None:
    """Who writes the journal at this moment ("process 123 on host"), or None if nobody does."""
    try:
        lock = os.open(Path(folder) / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.pread(lock, 200, 0).decode(errors="replace").strip() or "another process"
    finally:
        os.close(lock)
    return None


def take(folder: Path) -> int:
    """Take the lock and return its descriptor; raises JournalError naming the process that holds it."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise cannot("write in the experiment folder", folder, error) from error
    for attempt in range(_LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:  # a reader asking who writes holds it for some microseconds
            if attempt == _LOCK_TRIES - 1:
                owner = os.pread(lock, 200, 0).decode(errors="replace").strip()
                os.close(lock)
                raise JournalError(
                    f"{folder} is in use by {owner or 'another process'}: wait until it ends, or stop it."
                ) from None
            time.sleep(0.02)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
    return lock


def cannot(what: str, path: Path, error: OSError) -> JournalError:
    """Say in one sentence what the system refused, and the way out if there is one."""
    fix = {
        errno.ENOSPC: " Free some space; what was written before is intact.",
        errno.EDQUOT: " Free some space; what was written before is intact.",
        errno.EFBIG: " The file size limit is reached; what was written before is intact.",
        errno.EACCES: " Choose a storage folder you may write to.",
        errno.EROFS: " Choose a storage folder you may write to.",
    }.get(error.errno or 0, "")
    return JournalError(f"Cannot {what} {path}: {error.strerror or error}.{fix}")
