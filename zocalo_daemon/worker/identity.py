"""Who a worker is to the kernel: priorities, umask, user and groups, working directory."""

from __future__ import annotations

import os
import sys
from typing import Any

from zocalo_daemon import linux


def assume(request: dict[str, Any], parent: int) -> None:
    """Become what the service is to be.

    In this order: a user who is not root may raise no priority, and has to be able to enter the directory.

    Args:
        request: the map `worker` of a fork request (protocol/channel.py).
        parent: pid of the supervisor.

    Raises:
        OSError, KeyError: it cannot run as this user, or in this directory, and must not as another.
    """
    _prioritize(request)
    if request.get("umask") is not None:
        os.umask(request["umask"])
    if request.get("user") or request.get("group"):
        _change_user(request.get("user"), request.get("group"))
        # The kernel forgets it with a change of user (prctl(2)).
        if not linux.die_with_parent(parent):
            raise RuntimeError(f"the supervisor {parent} is not its parent")
    if directory := request.get("working_directory"):
        os.chdir(directory)
        os.environ["PWD"] = directory


def _prioritize(request: dict[str, Any]) -> None:
    """Set the priorities; a worker without them is better than none."""
    for name, change in (("nice", os.nice), ("ionice", linux.set_io_priority)):
        if wanted := request.get(name):
            try:
                change(wanted)
            except OSError as e:
                sys.stderr.write(f"{name} {wanted} was not possible: {e.strerror}\n")


def _change_user(user: str | None, group: str | None) -> None:
    import grp  # noqa: PLC0415 - most workers need neither, and would keep them in their memory
    import pwd  # noqa: PLC0415

    known = pwd.getpwnam(user) if user else None
    gid = grp.getgrnam(group).gr_gid if group else known.pw_gid if known else os.getgid()
    if os.geteuid() == 0:
        if known:
            os.initgroups(known.pw_name, gid)
        else:
            os.setgroups([gid])
    os.setresgid(gid, gid, gid)
    if known:
        os.setresuid(known.pw_uid, known.pw_uid, known.pw_uid)
        os.environ.update(HOME=known.pw_dir, USER=known.pw_name, LOGNAME=known.pw_name)
