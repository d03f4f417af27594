"""Control groups (cgroups(7)): which there are, what is in them, and how they go away.

Both versions may be mounted at once. Version 1 has a tree for each controller. Version 2 has one tree for all
of them, in which a group offers what the groups above it pass on.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from zocalo_daemon.values import Value

PROC = Path("/proc")
PREFIX = "zocalod-"  # how the name of a daemon's own directory begins: what is in it is the daemon's to kill,
HOME = "daemon"  # but for this group, in which it is itself if it had to leave the one that it was given


class Hierarchy(Value):
    """One tree of groups, and where this process is in it.

    Args:
        controllers: what it is for: "memory", "name=systemd"; of version 2 those that `group` offers.
        unified: version 2.
        mount: directory of the topmost group that can be seen.
        group: directory of the group that this process, or the daemon that it is, was given.
    """

    controllers: frozenset[str]
    unified: bool
    mount: Path
    group: Path

    def above(self) -> Iterator[Path]:
        """Yield the group and every one above it."""
        for one in (self.group, *self.group.parents):
            yield one
            if one == self.mount:
                return

    def name(self, group: Path) -> str:
        """Return a group's name as /proc/PID/cgroup has it."""
        return f"/{group.relative_to(self.mount)}" if group != self.mount else "/"


def hierarchies(proc: Path = PROC) -> list[Hierarchy]:
    """Return every tree that is mounted and in which this process can see its group."""
    found = []
    mounts = list(_mounts(_text(proc / "self" / "mountinfo")))
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, listed, path = (*line.split(":", 2), "", "")[:3]
        names = frozenset(filter(None, listed.split(",")))
        for unified, options, root, mount in mounts:
            if unified != (not names) or not names <= options:
                continue
            group = _given(_below(mount, root, path))
            if group and group.is_dir():
                offered = _text(group / "cgroup.controllers").split() if unified else names
                found.append(Hierarchy(frozenset(offered), unified, mount, group))
                break
    return found


def number(file: Path) -> int | None:
    """Return the number in a file, None for `max` and for a file that is not there."""
    text = _text(file).strip()
    return int(text) if text.isdigit() else None


def words(file: Path) -> frozenset[str]:
    """Return what a file lists, nothing if it cannot be read."""
    return frozenset(_text(file).split())


def write(file: str, text: str) -> None:
    """Write to a file of a group, which has to be there.

    Raises:
        OSError: it is not, or the kernel refuses the value.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


# -- What is in a group, and its end


def members(group: str) -> list[int]:
    """Return the pids in a group and the groups below it."""
    found: list[int] = []
    for directory, _, _ in os.walk(group):
        file = Path(directory, "cgroup.procs")
        # 0 stands for a process that cannot be seen from this pid namespace.
        found += [int(pid) for pid in _text(file).split() if pid.isdigit() and pid != "0"]
    return found


def kill(group: str) -> None:
    """SIGKILL to all in a group at once, forks among it, where the kernel can do that (Linux 5.14)."""
    with contextlib.suppress(OSError):
        write(f"{group}/cgroup.kill", "1")


def remove(group: str) -> bool:
    """Remove a group with those below it; return whether it is gone, as it can be once it is empty."""
    with contextlib.suppress(OSError):
        os.rmdir(group)  # noqa: PTH106 - the loop does this for each worker
        return True
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(directory).rmdir()
    return not os.path.lexists(group)


def of_workers(base: str) -> list[str]:
    """Return the groups of workers in the directory of a daemon."""
    if not Path(base).name.startswith(PREFIX):
        return []  # whatever names it: it is no daemon's
    with contextlib.suppress(OSError):
        return [one.path for one in os.scandir(base) if one.is_dir() and one.name != HOME]
    return []


# -- Reading /proc


def _mounts(text: str) -> Iterator[tuple[bool, frozenset[str], str, Path]]:
    """Yield every mounted tree: version 2 or not, its options, which group is at its top, and where it is."""
    for line in text.splitlines():
        # proc(5): id, parent, device, root, mount point, options, optional fields, -, type, source, options
        fields, _, more = (part.split() for part in line.partition(" - "))
        if len(fields) > 5 and len(more) > 2 and more[0] in ("cgroup", "cgroup2"):
            root, mount = (re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), one) for one in fields[3:5])
            yield more[0] == "cgroup2", frozenset(more[2].split(",")), root, Path(mount)


def _below(mount: Path, root: str, path: str) -> Path | None:
    """Return the directory of a group, None if the mounted part of the tree does not have it."""
    top = root.rstrip("/")
    if not path.startswith("/") or ".." in path.split("/") or not f"{path}/".startswith(f"{top}/"):
        return None
    return mount / path[len(top) :].strip("/")


def _given(group: Path | None) -> Path | None:
    """Return the group that a daemon was given, if it has moved to its own."""
    if group and group.name == HOME and group.parent.name.startswith(PREFIX):
        return group.parent.parent
    return group


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
