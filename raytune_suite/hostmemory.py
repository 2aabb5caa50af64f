"""Whether the kernel has killed a process of this machine, or of this container, because memory ran out."""

from __future__ import annotations

from pathlib import Path

#: In the order in which they are looked at: a container's own count (cgroup version 2, then 1), the machine's.
COUNTS = (
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
    Path("/proc/vmstat"),
)


def kills(counts: tuple[Path, ...] = COUNTS) -> int | None:
    """How many processes have been killed for memory so far; None where that is not told."""
    for path in counts:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for name, _, count in (line.partition(" ") for line in lines):
            if name == "oom_kill" and count.strip().isdigit():
                return int(count)
    return None


class Kills:
    """Notices a kill since it was last asked: what Linux tells of the reason why a worker has vanished."""

    def __init__(self, counts: tuple[Path, ...] = COUNTS) -> None:
        self._counts, self._known = counts, kills(counts)

    def rose(self) -> bool:
        """Whether there was one since the last call."""
        before, self._known = self._known, kills(self._counts)
        return before is not None and self._known is not None and self._known > before
