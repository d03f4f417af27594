"""Whether the kernel has killed a worker for lack of memory: a counter that has gone up.

The kernel counts such kills for each control group (cgroup v2: `oom_kill` in memory.events; v1: in
memory.oom_control) and for the whole machine (/proc/vmstat), all since Linux 4.13. Workers are in the control
group of the supervisor. Its count is proof enough; the machine's may be of somebody else.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
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
        self._count = self._read()
        self._unclaimed = 0
        self._until = 0.0

    def look(self) -> Evidence:
        """Return whether a worker that has just been killed was killed by the kernel.

        One kill counts for one worker; several may die before the first of them is seen.
        """
        count, now = self._read(), self._clock()
        if now > self._until:
            self._unclaimed = 0
        self._unclaimed += max(0, count - self._count)
        self._count, self._until = count, now + FRESH
        if not self._unclaimed:
            return Evidence.NONE
        self._unclaimed -= 1
        return self._found

    def _read(self) -> int:
        try:
            found = _COUNT.search(self._file.read_bytes())
        except OSError:
            return 0
        return int(found[1]) if found else 0


def find(
    clock: Callable[[], float], groups: str, cgroups: Path = CGROUPS, vmstat: Path = Path("/proc/vmstat")
) -> OomWatch:
    """Return a watch on the best counter that there is.

    Args:
        groups: the text of /proc/self/cgroup (cgroups(7)).
        cgroups: where control groups are mounted.
    """
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            root, name = cgroups / "memory", "memory.oom_control"
        elif not controllers:
            root, name = cgroups, "memory.events"
        else:
            continue
        # In a container the path may be one of the host's, and the mounted root is the container's own group.
        for file in (root / path.lstrip("/") / name, root / name):
            if file.exists():
                return OomWatch(file, certain=True, clock=clock)
    return OomWatch(vmstat, certain=False, clock=clock)


def own(clock: Callable[[], float]) -> OomWatch:
    """Return a watch on the counter of this process's control group, or of the machine."""
    try:
        groups = Path("/proc/self/cgroup").read_text()
    except OSError:
        groups = ""
    return find(clock, groups)
