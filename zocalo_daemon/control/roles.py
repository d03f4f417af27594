"""Who may do what: from the credentials of a peer (unix(7), SO_PEERCRED and SO_PEERGROUPS) to its rights."""

from __future__ import annotations

import contextlib
import grp
import os
from collections.abc import Iterable, Iterator, Set
from fnmatch import fnmatchcase

from zocalo_daemon.config.schema import ROLES, ControlConfig
from zocalo_daemon.errors import NoSuchService, NotPermitted
from zocalo_daemon.protocol import control as protocol
from zocalo_daemon.values import Value

_ASK = "ask for a group of control.roles"


class Rights(Value):
    """What a peer may do.

    Args:
        whole: its role for every service, and for the daemon as a whole.
        parts: roles for some services only, each with the patterns of their names.
    """

    whole: str = "none"
    parts: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def role(self) -> str:
        """Its highest role anywhere, which the hello tells."""
        return max((self.whole, *(role for role, _ in self.parts)), key=protocol.ROLES.index)

    def on(self, service: str) -> str:
        """Return its role for a service."""
        found = (role for role, globs in self.parts if any(fnmatchcase(service, glob) for glob in globs))
        return max((self.whole, *found), key=protocol.ROLES.index)

    def sees(self, source: str) -> bool:
        """Return whether it may see a service, an instance `service/N`, or a process of the daemon itself."""
        if _suffices(self.whole, "view"):
            return True
        service, slash, _ = source.rpartition("/")
        return bool(slash) and _suffices(self.on(service), "view")

    @contextlib.contextmanager
    def discreet(self) -> Iterator[None]:
        """Give no hint at the names of services that it may not see, when one is not found."""
        try:
            yield
        except NoSuchService as e:
            if self.sees("zocalod"):
                raise
            text = f"no service that you may see is {e.data.get('pattern', 'one of these')}"
            raise NoSuchService(text, e.data) from None

    def objection(self, op: str) -> NotPermitted | None:
        """Return why it may not do an operation at all, or None; `check` looks at the services."""
        needed = protocol.OPERATIONS[op]
        role = self.role if op in protocol.BY_SERVICE else self.whole
        if _suffices(role, needed):
            return None
        where = " for all services" if role != self.role else ""
        return NotPermitted(
            f"{op} needs the role {needed}{where}, and yours is {self.role}{_only(role, self.role)}: {_ASK}",
            {"role": self.role, "needed": needed},
        )

    def check(self, op: str, services: Iterable[str]) -> None:
        """Go on if it may do an operation for all of these services.

        Raises:
            NotPermitted: there is one for which it may not.
        """
        needed = protocol.OPERATIONS[op]
        for service in services:
            role = self.on(service)
            if not _suffices(role, needed):
                raise NotPermitted(
                    f"{op} needs the role {needed} for {service}, and yours there is {role}: {_ASK}",
                    {"role": role, "needed": needed, "service": service},
                )


def rights_of(control: ControlConfig, uid: int, groups: Set[int]) -> Rights:
    """Return the rights of a peer, by default none.

    Root and the user of the daemon are admin; anybody else is what the groups in `control.roles` make them.

    Args:
        groups: primary and supplementary groups, by number. A group that this machine does not know, gives
            nobody anything.
    """
    if uid in (0, os.getuid()):
        return Rights("admin")
    granted = [
        (role, grant.services)
        for role in reversed(ROLES)
        for grant in control.roles.get(role, ())
        if _number(grant.group) in groups
    ]
    whole = next((role for role, services in granted if services is None), "none")
    return Rights(whole, tuple((role, services) for role, services in granted if services is not None))


def _suffices(role: str, needed: str) -> bool:
    return protocol.ROLES.index(role) >= protocol.ROLES.index(needed)


def _only(role: str, highest: str) -> str:
    return " for some of them only" if role != highest else ""


def _number(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
