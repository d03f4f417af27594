"""What this machine allows a daemon: descriptors, processes, memory.

Sources: getrlimit(2), proc(5), and for control groups the kernel's admin-guide/cgroup-v2.rst and cgroup-v1.
The limits are those of the process that asks: in a shell others than in a unit of systemd.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from zocalo_daemon import cgroups
from zocalo_daemon.values import Value

PROC = Path("/proc")


class Limit(Value):
    """One limit.

    Args:
        most: so many are allowed, or so many bytes.
        name: what people call it.
        remedy: what to set, with {need} for the number that is needed.
    """

    most: int
    name: str
    remedy: str


class Limits(Value):
    """The tightest limit of each kind; None if there is none that can be known."""

    descriptors: Limit | None = None
    processes: Limit | None = None
    memory: Limit | None = None


def read(proc: Path = PROC) -> Limits:
    """Return the limits of this process, which what it starts inherits."""
    _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)  # zocalod raises its own to this
    limit = Limit(
        descriptors, "RLIMIT_NOFILE", "set LimitNOFILE={need} in the unit of zocalod, or ulimit -Hn {need}"
    )
    return Limits(
        None if descriptors == resource.RLIM_INFINITY else limit,
        min(_processes(proc), key=lambda one: one.most, default=None),
        min(_memory(proc), key=lambda one: one.most, default=None),
    )


def _processes(proc: Path) -> Iterator[Limit]:
    """Yield every limit of processes, for each of which every thread counts."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if os.geteuid() and soft != resource.RLIM_INFINITY:  # root is exempt (setrlimit(2), RLIMIT_NPROC)
        yield Limit(soft, "RLIMIT_NPROC", "set LimitNPROC={need} in the unit of zocalod, or ulimit -u {need}")
    for most, where in _of_groups(proc, "pids", "pids.max", "pids.max"):
        yield Limit(most, f"pids.max of {where}", "set TasksMax={need} in the unit of zocalod")
    for name in ("pid_max", "threads-max"):
        kernels = cgroups.number(proc / "sys" / "kernel" / name)
        if kernels is not None:
            yield Limit(kernels, f"kernel.{name}", f"set sysctl kernel.{name}={{need}}")


def _memory(proc: Path) -> Iterator[Limit]:
    for most, where in _of_groups(proc, "memory", "memory.max", "memory.limit_in_bytes"):
        yield Limit(most, f"the memory limit of {where}", "set MemoryMax={need} in the unit of zocalod")
    for line in _text(proc / "meminfo").splitlines():
        if line.startswith("MemTotal:"):
            least = "configure fewer instances, or less for max_rss and limits.memory"
            yield Limit(int(line.split()[1]) * 1024, "the memory of this machine", least)


def _of_groups(proc: Path, controller: str, unified: str, legacy: str) -> Iterator[tuple[int, str]]:
    """Yield a limit of the control group of this process and of every one above it."""
    for tree in cgroups.hierarchies(proc):
        if not tree.unified and controller not in tree.controllers:
            continue
        for group in tree.above():
            most = cgroups.number(group / (unified if tree.unified else legacy))
            if most is not None:
                yield most, f"the control group {tree.name(group)}"


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
