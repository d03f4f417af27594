"""The transports of the relay, by name."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zocalo_daemon.brokers import spool_store
from zocalo_daemon.brokers.base import Broker
from zocalo_daemon.brokers.embedded import EmbeddedBroker
from zocalo_daemon.brokers.memory import MemoryBroker
from zocalo_daemon.errors import NotPermitted, UsageError, ZocaloError
from zocalo_daemon.relay.member import Member
from zocalo_daemon.relay.poison import Poison
from zocalo_daemon.relay.spool import Spool

log = logging.getLogger(__name__)

SPOOLS = "spool"  # in the state directory, with a directory for each transport


def make_broker(transport: Mapping[str, Any], state_dir: Path) -> Broker:
    """Return the driver of a transport.

    Args:
        transport: its settings: name, driver and what the driver needs.

    Raises:
        ZocaloError: this version has no such driver, or the settings name files that cannot be used.
    """
    name, driver = str(transport["name"]), str(transport["driver"])
    if driver == "embedded":
        return EmbeddedBroker(name, state_dir / "queues" / name)
    if driver == "memory":
        return MemoryBroker(name)
    if driver == "rabbitmq":
        # Imported here: pika takes 4 MiB that a relay without RabbitMQ does not need.
        from zocalo_daemon.brokers.rabbitmq_broker import RabbitBroker  # noqa: PLC0415

        return RabbitBroker(name, transport)
    if driver == "activemq":
        from zocalo_daemon.brokers.activemq_broker import StompBroker  # noqa: PLC0415  # as above

        return StompBroker(name, transport)
    raise ZocaloError(f"transport '{name}': driver {driver} is not available in this version")


def spool_places(state_dir: Path, index: int, relays: int) -> list[Path]:
    """Return where a relay has its spools, and then where relays had theirs of which there are less now.

    Args:
        index: of the relay; the first one sees to what others have left.
        relays: how many there are.
    """
    if index:
        return [state_dir / f"relay-{index}"]
    found = {place.name.removeprefix("relay-"): place for place in sorted(state_dir.glob("relay-*"))}
    return [
        state_dir,
        *(place for number, place in found.items() if number.isdigit() and int(number) >= relays),
    ]


def make_member(
    transport: Mapping[str, Any],
    state_dir: Path,
    places: Sequence[Path],
    numbers: Iterator[int],
    poison: Poison,
) -> Member:
    """Return a transport: its driver, and a spool if its broker can be away; arguments as those of Member.

    Args:
        places: where the spool is, and what others have left of theirs.

    Raises:
        ZocaloError: as `make_broker`.
    """
    name = str(transport["name"])
    spool = None
    if transport["driver"] not in ("embedded", "memory"):
        directory, *left = [place / SPOOLS / name for place in places]
        spool = Spool(name, directory, int(transport.get("spool", 0)), numbers, left=left)
    return Member(name, make_broker(transport, state_dir), numbers, poison, spool)


def warn_of_strangers(state_dir: Path, known: Collection[str]) -> None:
    """Say what waits in spools of transports that are not configured any more."""
    try:
        for name, count in spool_store.strangers(state_dir / SPOOLS, known):
            log.warning(
                "%d messages are in %s, the spool of a transport that is not configured: configure '%s' "
                "again and they are sent, or remove that directory",
                *(count, state_dir / SPOOLS / name, name),
            )
    except ZocaloError as e:
        log.warning("%s", e.message)


class Pool:
    """The members, one for each transport.

    Args:
        members: by name, not yet open.
        default: name of the transport for whoever names none.
        secret: what a transport must show to enter; "" if it need not.
        of_workers: what one of another user must show, whom only a worker can have; "" lets none in.
    """

    def __init__(
        self, members: Sequence[Member], default: str, secret: str = "", of_workers: str = ""
    ) -> None:
        self._members = {member.name: member for member in members}
        self._default = default
        # A set: it compares hashes, of a seed that nobody knows, so that the time it takes tells nothing.
        self._secrets, self._of_workers = frozenset({secret} - {""}), frozenset({of_workers} - {""})

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def add(self, member: Member) -> None:
        """Take in a member, which is open."""
        self._members[member.name] = member

    def remove(self, member: Member) -> None:
        """Forget a member."""
        del self._members[member.name]

    def set_default(self, name: str) -> None:
        """Change which transport those get who name none."""
        self._default = name

    def get(self, name: str) -> Member:
        """Return the transport of a name, "" for the default one.

        Raises:
            UsageError: there is none.
        """
        member = self._members.get(name or self._default)
        if member is None:
            known = ", ".join(sorted(self._members)) or "none"
            raise UsageError(f"there is no transport '{name or self._default}'; there are: {known}")
        return member

    def some(self, name: str) -> list[Member]:
        """Return the transport of a name, all of them for "".

        Raises:
            UsageError: there is none of that name.
        """
        return [self.get(name)] if name else list(self)

    @property
    def lets_in_strangers(self) -> bool:
        """Whether other users may try: the daemon may have workers that run as these."""
        return bool(self._of_workers)

    def enter_as_worker(self, name: str, secret: str = "") -> Member:
        """Return the transport of a name for a process of another user.

        Raises:
            NotPermitted: it is none of our workers.
            UsageError: there is no such transport.
        """
        if secret not in self._of_workers:
            raise NotPermitted("the relay accepts no other users than workers of this daemon")
        return self.get(name)

    def enter(self, name: str, secret: str = "") -> Member:
        """Return the transport of a name for one that has said hello.

        Raises:
            NotPermitted: it has not shown the secret.
            UsageError: there is no such transport.
        """
        if self._secrets and secret not in self._secrets:
            raise NotPermitted(
                "the relay accepts only workers of this daemon; set relay.clients: user in zocalod.yaml"
            )
        return self.get(name)

    def open(self) -> None:
        """Start every broker.

        Raises:
            ZocaloError: one of them can never work.
        """
        for member in self:
            member.open()

    def close(self) -> None:
        """Finish what was called and stop every broker."""
        for member in self:
            member.close()

    def drain(self) -> None:
        """Deliver nothing more."""
        for member in self:
            member.drain()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in hand, nor waits to be confirmed."""
        return all(member.is_idle for member in self)

    def poll(self, now: float) -> None:
        """Let every broker work."""
        for member in self:
            member.poll(now)

    def timeout(self, now: float) -> float | None:
        """Return the seconds until `poll` must be called again, or None."""
        times = [one for one in (member.timeout(now) for member in self) if one is not None]
        return min(times) if times else None
