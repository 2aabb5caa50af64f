"""Who works on an experiment in remote storage: one driver at a time, whatever machine it is on.

The kernel's lock on the journal ends at the machine. A small file beside the copy names the driver that sends it; while
it lives it writes the file again every few seconds. One that has been silent for long is taken to be dead, and so is
one of this machine whose process is gone. How long it has been silent is read off the other side's clock alone.
Object stores have no lock: whoever takes the lease looks again after a moment whether it is still the one who has it.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raytune_suite.errors import ExperimentError
from raytune_suite.remote import Remote

logger = logging.getLogger("raytune_suite")
FILE, _CLOCK = "driver.json", "driver.clock"
THREAD = "lease"
BEAT_S, SILENT_S = 5.0, 20.0
_SETTLE_S = 0.5


class LeaseLostError(OSError):
    """Another driver has the experiment now: nothing more may be sent."""


@dataclass(frozen=True)
class Holder:
    """The driver that has an experiment: ``name`` for people, ``process`` to find it on its own machine."""

    name: str
    token: str
    process: tuple[str, int, str] | None = None


class Lease:
    """Held from the beginning on, see :func:`held`; a thread keeps it alive."""

    def __init__(self, uri: str, say: Callable[[str], None]) -> None:
        self.uri = uri
        #: Who has taken it away.
        self.lost: str | None = None
        #: How long :meth:`release` may take.
        self.patience_s = 5.0
        self._remote, self._say = Remote(uri), say
        self._own = Holder(_name(), secrets.token_hex(8), _process())
        self._mutex, self._ending = threading.Lock(), threading.Event()
        self._take()
        self._sure = time.monotonic()
        self._thread = threading.Thread(target=self._keep, name=THREAD, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Return if nothing speaks against sending; asks again if the last sign of life was too long ago.

        Raises:
            LeaseLostError: another driver has taken it.
            OSError: it cannot be asked.
        """
        if self.lost is None and time.monotonic() - self._sure > SILENT_S / 2:
            self._beat()
        if self.lost is not None:
            raise LeaseLostError(f"{self.lost} goes on with it now")

    def release(self) -> None:
        """Give it up, if the other side takes that in time; otherwise it lapses."""
        self._ending.set()
        self._thread.join(self.patience_s)

    def _take(self) -> None:
        self._wait_for(self._holder())
        self._write()
        time.sleep(_SETTLE_S)
        found = self._holder()
        if found is not None and found.token != self._own.token:
            raise _in_use(self.uri, found, 0.0)

    def _wait_for(self, holder: Holder | None) -> None:
        """Return when nobody has it; raises ExperimentError if somebody does and lives."""
        first = None
        while holder is not None and not _is_gone(holder.process):
            last, silent = self._last_sign()
            if silent > SILENT_S:
                return
            if _is_here(holder.process) or (first is not None and last != first):
                raise _in_use(self.uri, holder, silent)
            if first is None:
                self._say(f"{self.uri} was in use by {holder.name} {silent:.0f} s ago: waiting for a sign of life")
            first = last
            time.sleep(BEAT_S / 2)
            holder = self._holder()

    def _last_sign(self) -> tuple[float, float]:
        """When the holder wrote last, and how many seconds ago that was, both by the other side's clock."""
        self._remote.put(_CLOCK, b"now")
        now = self._remote.modified(_CLOCK)
        self._remote.delete(_CLOCK)
        try:
            last = self._remote.modified(FILE)
        except FileNotFoundError:
            return 0.0, float("inf")
        return last, max(0.0, now - last)

    def _holder(self) -> Holder | None:
        try:
            held: dict[str, Any] = json.loads(self._remote.get(FILE))
            process = held.get("process")
            return Holder(str(held["name"]), str(held["token"]), tuple(process) if process else None)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return Holder("another driver", "")  # half a file: it will be written again, or fall silent

    def _write(self) -> None:
        self._remote.put(FILE, json.dumps({**asdict(self._own), "time": time.time()}).encode())

    def _beat(self) -> None:
        with self._mutex:
            found = self._holder()
            if found is not None and found.token != self._own.token:
                self.lost = found.name
                logger.warning("%s goes on with %s: this driver sends nothing more there", found.name, self.uri)
                return
            self._write()
            self._sure = time.monotonic()

    def _keep(self) -> None:
        while not self._ending.wait(BEAT_S) and self.lost is None:
            try:
                self._beat()
            except Exception as error:  # tried again: only a long silence gives it away
                logger.debug("no sign of life could be given in %s: %s", self.uri, error)
        if self.lost is None:
            try:
                self._remote.delete(FILE)
            except Exception as error:
                logger.debug("the lease of %s is left to lapse: %s", self.uri, error)


@contextmanager
def held(uri: str | None, say: Callable[[str], None] = lambda _: None) -> Iterator[Lease | None]:
    """Hold the experiment at ``uri`` while the block runs; None where there is no copy to hold.

    ``say`` is told if it takes a while because another driver may still be alive.

    Raises:
        ExperimentError: another driver has it, or nothing can be written there.
    """
    if uri is None:
        yield None
        return
    try:
        lease = Lease(uri, say)
    except ExperimentError:
        raise
    except Exception as error:
        raise ExperimentError(f"{uri} cannot be used: {' '.join(str(error).split())[:300]}") from error
    try:
        yield lease
    finally:
        lease.release()


def _in_use(uri: str, holder: Holder, silent_s: float) -> ExperimentError:
    return ExperimentError(
        f"{uri} is in use by {holder.name}, whose last sign of life came {silent_s:.0f} s ago: wait until it ends, or "
        f"stop it there. It is taken to be dead once it has been silent for {SILENT_S:g} s."
    )


def _name() -> str:
    return f"process {os.getpid()} on {os.uname().nodename}"


def _process() -> tuple[str, int, str] | None:
    """This machine (and its process numbers), this process, and when it began; None where that cannot be told."""
    pid = os.getpid()
    machine, began = _machine(), _began(pid)
    return (machine, pid, began) if machine and began else None


def _is_gone(process: tuple[str, int, str] | None) -> bool:
    """Whether this was a process of this machine and is no more."""
    return _is_here(process) and process is not None and _began(process[1]) != process[2]


def _is_here(process: tuple[str, int, str] | None) -> bool:
    """Whether this is, or was, a process of this machine."""
    return process is not None and process[0] == _machine()


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _began(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty if there is none. A zombie has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
