"""Whether workers can run as the users and groups that a configuration names, on this machine."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable, Iterator

from .schema import DaemonConfig


def problems(config: DaemonConfig, uid: int) -> Iterator[str]:
    """Yield what stands against it, one line each.

    Args:
        uid: whom the daemon runs as.
    """
    for service in config.services.values():
        key = f"services.{service.name}"
        if service.user is not None and not _is_known(pwd.getpwnam, service.user):
            yield f"{key}.user: there is no user {service.user!r} on this machine"
        elif service.group is not None and not _is_known(grp.getgrnam, service.group):
            yield f"{key}.group: there is no group {service.group!r} on this machine"
        elif uid != 0 and (service.user is not None or service.group is not None):
            name = "user" if service.user is not None else "group"
            yield f"{key}.{name}: only a daemon that runs as root can give its workers another one"


def _is_known(find: Callable[[str], object], name: str) -> bool:
    try:
        find(name)
    except KeyError:
        return False
    return True
