"""Trees of control groups as ordinary files, and what /proc says of them."""

from __future__ import annotations

from pathlib import Path


def mountinfo(trees: Path, groups: str) -> str:
    """Return /proc/self/mountinfo for trees below a directory, one for each line of /proc/self/cgroup."""
    lines = ["1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw"]
    for line in groups.splitlines():
        controllers = (*line.split(":"), "", "")[1]
        kind, options = ("cgroup", f"rw,{controllers}") if controllers else ("cgroup2", "rw")
        where = str(tree(trees, controllers)).replace(" ", "\\040")
        lines.append(f"2 1 0:2 / {where} rw,nosuid shared:2 - {kind} cgroup {options}")
    return "\n".join(lines) + "\n"


def tree(trees: Path, controllers: str) -> Path:
    """Return where the tree of these controllers is; "" is version 2."""
    return trees / (controllers or "unified")


def make_group(trees: Path, line: str) -> Path | None:
    """Make the directory of a group that /proc/self/cgroup names."""
    _, controllers, path = (*line.split(":", 2), "", "")[:3]
    if not path.startswith("/"):
        return None
    group = tree(trees, controllers) / path.lstrip("/")
    group.mkdir(parents=True, exist_ok=True)
    return group
