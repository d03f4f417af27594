"""Where the daemon may make control groups, decided and made once, before anything else is started.

`plan` decides (pure but for what it is told to look at), `make` makes the daemon's own directories.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from zocalo_daemon import cgroups
from zocalo_daemon.cgroups import HOME, PREFIX, Hierarchy
from zocalo_daemon.supervision.groups import CONTROLLERS, Groups, move_back
from zocalo_daemon.values import replace

# Of version 1 any tree would do. These two do nothing by themselves, and the third is the one that systemd
# gives to an ordinary user.
LEGACY = ("freezer", "pids", "name=systemd")


def directory(marker: str) -> str:
    """Return the name of a daemon's directory, which no other life of a daemon has."""
    return f"{PREFIX}{os.getpid()}-{marker[:8]}"


def plan(
    name: str,
    trees: Sequence[Hierarchy],
    writable: Callable[[Path], bool] = lambda path: os.access(path, os.W_OK),
) -> Groups:
    """Return where groups can be made, as far as that can be seen.

    Args:
        name: of the daemon's directory.
        writable: whether this process may write to a file or directory.
    """
    usable = [tree for tree in trees if writable(tree.group) and writable(tree.group / "cgroup.procs")]
    ranked = [tree for tree in usable if tree.unified]
    ranked += [tree for kind in LEGACY for tree in usable if kind in tree.controllers]
    if not ranked:
        return Groups(missing=_why_none(trees))
    first = ranked[0]
    groups = Groups(str(first.group / name), first.unified)
    missing = []
    for controller in CONTROLLERS:
        tree = next((one for one in usable if controller in one.controllers), None)
        if tree is None:
            missing.append(f"no control group with a limit of {controller} may be made")
        elif not tree.unified:
            groups = _with(groups, controller, str(tree.group / name))
        elif why := _why_kept(tree.group, controller):
            missing.append(why)
        else:
            groups = _with(groups, controller, groups.members)
    return replace(groups, missing="; ".join(dict.fromkeys(missing)))


def _with(groups: Groups, controller: str, base: str) -> Groups:
    return replace(groups, memory=base) if controller == "memory" else replace(groups, cpu=base)


def _without(groups: Groups, controllers: Sequence[str], why: str) -> Groups:
    for controller in controllers:
        groups = _with(groups, controller, "")
    return replace(groups, missing=why)


def _why_none(trees: Sequence[Hierarchy]) -> str:
    if not trees:
        return "no control groups are mounted"
    tree = next((one for one in trees if one.unified), trees[0])
    return f"no control group may be made in {tree.name(tree.group)}; set Delegate=yes in the unit of zocalod"


def _why_kept(group: Path, controller: str) -> str:
    """Return why a group of version 2 cannot pass a controller on, "" if it does or will."""
    if controller in cgroups.words(group / "cgroup.subtree_control"):
        return ""
    if not (group / "cgroup.events").exists():
        return f"the topmost control group does not pass {controller} on"  # which is not a daemon's to change
    if cgroups.words(group / "cgroup.procs") - {str(os.getpid())}:
        # A group that passes a controller on must not have processes of its own, and those are not ours.
        return f"the control group {group} has other processes in it; set Delegate=yes in a unit of its own"
    return ""


# -- Making


def make(groups: Groups) -> Groups:
    """Make the daemon's directories and return what could be; the daemon leaves its group if it has to."""
    for base in groups.bases:
        try:
            Path(base).mkdir(mode=0o755)
        except OSError as e:
            why = f"{base} cannot be made: {e.strerror}"
            if base == groups.members:
                for made in groups.bases:
                    cgroups.remove(made)
                return Groups(missing=why)
            groups = _without(groups, [name for name in CONTROLLERS if getattr(groups, name) == base], why)
    return _pass_on(groups) if groups.unified else groups


def _pass_on(groups: Groups) -> Groups:
    """Have the daemon's group of version 2 pass on the controllers that limits need."""
    given = Path(groups.members).parent
    wanted = [name for name in CONTROLLERS if getattr(groups, name) == groups.members]
    lacking = [name for name in wanted if name not in cgroups.words(given / "cgroup.subtree_control")]
    if not lacking:
        return groups
    home = Path(groups.members, HOME)
    try:
        home.mkdir(mode=0o755)
        cgroups.write(f"{home}/cgroup.procs", str(os.getpid()))
        for name in lacking:
            cgroups.write(f"{given}/cgroup.subtree_control", f"+{name}")
    except OSError as e:
        move_back(home)
        why = f"{given} does not pass on {' and '.join(lacking)}: {e.strerror}"
        return _without(groups, lacking, why)
    return groups
