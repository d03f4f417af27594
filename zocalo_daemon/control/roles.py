"""Who may do what: from the credentials of a peer (unix(7), SO_PEERCRED and SO_PEERGROUPS) to its role."""

from __future__ import annotations

import grp
import os
from collections.abc import Set

from zocalo_daemon.config.schema import ROLES, ControlConfig


def role_of(control: ControlConfig, uid: int, groups: Set[int]) -> str:
    """Return the highest role of a peer, "none" by default.

    Root and the user of the daemon are admin; anybody else is what the groups in `control.roles` make them.

    Args:
        groups: primary and supplementary groups, by number. A group that this machine does not know, gives
            nobody anything.
    """
    if uid in (0, os.getuid()):
        return "admin"
    for role in reversed(ROLES):
        if any(_number(name) in groups for name in control.roles.get(role, ())):
            return role
    return "none"


def _number(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
