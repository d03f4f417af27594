"""A control group for each worker, where the daemon may make some: what it starts cannot leave it unnoticed.

A worker makes its own group and enters it before any code of the service runs (worker/groups). Where there is
none, a worker is contained by its process group, its session and its marks alone (`strays`). Whether there
is any is decided once, when the daemon starts (`delegation`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zocalo_daemon import cgroups, strays
from zocalo_daemon.cgroups import HOME
from zocalo_daemon.config.schema import ServiceConfig
from zocalo_daemon.supervision import oom
from zocalo_daemon.values import Value

SECONDS = 5.0  # for what is in the groups of a daemon that ends
PERIOD = 100_000  # microseconds in which a worker may use its share of the processors: the kernel's default
CONTROLLERS = ("memory", "cpu")


class Groups(Value):
    """Where workers get groups: the daemon's directory in each tree that is used, "" for none.

    Args:
        members: in which every worker has a group.
        unified: that is in a tree of version 2.
        memory, cpu: in which groups with these limits are.
        missing: why there is no `members`, or no limit, for people.
    """

    members: str = ""
    unified: bool = False
    memory: str = ""
    cpu: str = ""
    missing: str = ""

    @property
    def bases(self) -> list[str]:
        """The daemon's directories."""
        return list(dict.fromkeys(filter(None, (self.members, self.memory, self.cpu))))

    def of_worker(self, serial: int, instance: str, service: ServiceConfig) -> dict[str, Any]:
        """Return `confined` of a fork request (protocol/channel.py)."""
        groups = [f"{self.members}/{_name(serial, instance)}"] if self.members else []
        settings: list[list[str]] = []
        limits = service.limits
        for controller, value in (("memory", limits.memory), ("cpu", limits.cpu)):
            base = getattr(self, controller)
            if base and value is not None:
                group, unified = f"{base}/{_name(serial, instance)}", self._is_unified(base)
                if unified:  # offered only once it is needed: to count everybody's memory is not for nothing
                    settings.append([f"{base}/cgroup.subtree_control", f"+{controller}"])
                elif group not in groups:
                    groups.append(group)
                settings.append(
                    [f"{group}/{_FILES[controller, unified]}", _value(controller, value, unified)]
                )
        if service.nice and limits.cpu is not None and self._is_unified(self.cpu):
            # Once groups share the processors, `nice` counts only among the processes of one.
            settings.append([f"{self.cpu}/{_name(serial, instance)}/cpu.weight.nice", str(service.nice)])
        rlimits = {"open_files": limits.open_files, "memory": None if self.memory else limits.memory}
        wanted = {name: value for name, value in rlimits.items() if value is not None}
        return {"groups": groups, "unified": self.unified, "settings": settings, "rlimits": wanted}

    def _is_unified(self, base: str) -> bool:
        return self.unified and base == self.members

    # -- The end of a worker

    def left(self, serial: int, instance: str) -> str:
        """Remove the groups of a worker that has ended; return the one that is not empty yet, or ""."""
        name = _name(serial, instance)
        left = [group for base in self.bases if not cgroups.remove(group := f"{base}/{name}")]
        return left[0] if left else ""

    def oom_kills(self, serial: int, instance: str) -> int:
        """Return how many processes the kernel has killed in the group of a worker for lack of memory."""
        if not self.memory:
            return 0
        name = oom.counter(unified=self._is_unified(self.memory))
        return oom.count(Path(self.memory, _name(serial, instance), name))

    # -- The end of the daemon

    def end(self) -> None:
        """Kill what is left in the groups, and remove them all."""
        home = Path(self.members, HOME)
        if self.members and home.exists():
            move_back(home)
        strays.end_groups(self.bases, SECONDS)

    # -- In words

    def describe(self) -> dict[str, Any]:
        """Return `control_groups` of the status document."""
        limits = [name for name in CONTROLLERS if getattr(self, name)]
        version = (2 if self.unified else 1) if self.members else None
        return {"path": self.members or None, "version": version, "limits": limits, "reason": self.missing}

    def __str__(self) -> str:
        """Return it as `zocalod --check` prints it."""
        how = [f"{name} by {'it' if getattr(self, name) else _OTHERWISE[name]}" for name in CONTROLLERS]
        if not self.members:
            return f"none ({self.missing}); limits: memory by RLIMIT_DATA, cpu not at all"
        return f"one for each worker, in {self.members}; limits: {', '.join(how)}"

    def warnings(self, services: Mapping[str, ServiceConfig]) -> list[str]:
        """Return which limits of services have no effect."""
        without = [one.name for one in services.values() if one.limits.cpu is not None and not self.cpu]
        return [f"services.{name}.limits.cpu has no effect: {self.missing}" for name in without]


_FILES = {
    ("memory", True): "memory.max",
    ("memory", False): "memory.limit_in_bytes",
    ("cpu", True): "cpu.max",
    ("cpu", False): "cpu.cfs_quota_us",
}
_OTHERWISE = {"memory": "RLIMIT_DATA", "cpu": "nothing"}


def _value(controller: str, value: float, unified: bool) -> str:
    if controller == "memory":
        return str(value)
    return f"{round(value * PERIOD)} {PERIOD}" if unified else str(round(value * PERIOD))


def _name(serial: int, instance: str) -> str:
    """Return the name of a worker's group: two of one instance may be there at once."""
    return f"{instance.replace('/', '-')}.{serial}"


def move_back(home: Path) -> None:
    """Have the daemon return to the group that it was given, as it was."""
    given = home.parent.parent
    for file in (home.parent / "cgroup.subtree_control", given / "cgroup.subtree_control"):
        for name in CONTROLLERS:
            with contextlib.suppress(OSError):  # it was not passed on
                cgroups.write(str(file), f"-{name}")
    with contextlib.suppress(OSError):
        cgroups.write(f"{given}/cgroup.procs", str(os.getpid()))
    cgroups.remove(str(home))
