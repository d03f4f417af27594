"""Whether the kernel has killed a worker for lack of memory: a counter that has gone up.

The kernel counts such kills for each control group (cgroup v2: `oom_kill` in memory.events; v1: in
memory.oom_control) and for the whole machine (/proc/vmstat), all since Linux 4.13. Workers are in the control
group of the supervisor, or below it in one of their own. The count of a group is proof enough; the machine's
may be of somebody else.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from pathlib import Path

from zocalo_daemon import cgroups

FRESH = 1.0  # seconds for which a kill that nobody has claimed may still be that of another worker
_COUNT = re.compile(rb"^oom_kill (\d+)$", re.MULTILINE)


class Evidence(enum.Enum):
    """What the counter says about one SIGKILL."""

    NONE = enum.auto()
    PROBABLE = enum.auto()
    CERTAIN = enum.auto()


class OomWatch:
    """Looks at the counter whenever a worker was killed by a SIGKILL that was not the supervisor's.

    Args:
        file: that has the counter.
        certain: it counts for the workers' own control group.
        clock: monotonic seconds.
    """

    def __init__(self, file: Path, *, certain: bool, clock: Callable[[], float]) -> None:
        self._file = file
        self._found = Evidence.CERTAIN if certain else Evidence.PROBABLE
        self._clock = clock
        self._count = count(self._file)
        self._unclaimed = 0
        self._until = 0.0

    def look(self) -> Evidence:
        """Return whether a worker that has just been killed was killed by the kernel.

        One kill counts for one worker; several may die before the first of them is seen.
        """
        found, now = count(self._file), self._clock()
        if now > self._until:
            self._unclaimed = 0
        self._unclaimed += max(0, found - self._count)
        self._count, self._until = found, now + FRESH
        if not self._unclaimed:
            return Evidence.NONE
        self._unclaimed -= 1
        return self._found


def own(clock: Callable[[], float], proc: Path = cgroups.PROC) -> OomWatch:
    """Return a watch on the counter of the daemon's control group, or else of the machine."""
    for tree in cgroups.hierarchies(proc):
        file = tree.group / counter(unified=tree.unified)
        if (tree.unified or "memory" in tree.controllers) and file.exists():  # the topmost group has none
            return OomWatch(file, certain=True, clock=clock)
    return OomWatch(proc / "vmstat", certain=False, clock=clock)


def counter(*, unified: bool) -> str:
    """Return the name of the file of a group that has the counter."""
    return "memory.events" if unified else "memory.oom_control"


def count(file: Path) -> int:
    """Return how many were killed, 0 if there is no counter."""
    try:
        found = _COUNT.search(file.read_bytes())
    except OSError:
        return 0
    return int(found[1]) if found else 0
