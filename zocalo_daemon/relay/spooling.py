"""What a spool keeps, how it is written down, and what time does to it (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from zocalo_daemon.brokers import deadletters
from zocalo_daemon.brokers.base import Confirmed, Kind, Publication, Refused
from zocalo_daemon.brokers.inspector import DeadLetter

GRACE = 0.5  # seconds for which a broker may be away before what waits for it goes to the spool
PATIENCE = 5.0  # seconds that a submission waits for a broker if it cannot go to the spool
IN_FLIGHT = 200  # entries on their way to the broker, and
IN_FLIGHT_BYTES = 1024 * 1024  # bytes of them
NOTHING = {"spooled": 0, "spooled_bytes": 0, "spooled_since": None}  # in the figures of a transport
_LONGEST_NAME = 250  # bytes of the name of a dead-letter queue


@dataclass(slots=True, frozen=True)
class Spooled(Confirmed):
    """A publication is safe in the spool.

    Args:
        since: when the broker went away, in seconds since the epoch; None if it is there, and the message
            only waits for others.
    """

    since: float | None = None


Answer = Callable[[Confirmed | Refused], None]
Send = Callable[[Sequence[Publication], bool, Answer], None]  # True for all of it or nothing


@dataclass(slots=True, frozen=True)
class Entry:
    """What was submitted together.

    Args:
        unit: all of it or nothing.
        submitted: seconds since the epoch.
    """

    publications: Sequence[Publication]
    unit: bool
    submitted: float


@dataclass(slots=True, eq=False)
class Job:
    """A submission that has no answer yet.

    Args:
        patient: its sender waits while there is no room; others are refused.
        unit: all of it or nothing.
    """

    publications: Sequence[Publication]
    answer: Answer
    patient: bool
    unit: bool = False
    number: int = 0  # in the order of submission
    token: int = 0  # of its entry
    entry: Entry | None = None
    data: bytes = b""  # the entry, packed
    flying: bool = False  # the driver has it, and will say what came of it
    outcome: Confirmed | Refused | None = None  # that


def is_kept(publication: Publication) -> bool:
    """Say whether a message may wait in a spool.

    What goes to a temporary queue may not: it ends with the connection of whoever asked. Nor may a broadcast
    with an expiration: it is news for those who listen now, like the status that each service tells.
    """
    if publication.kind is Kind.TOPIC:
        return publication.expiration is None
    return bool(publication.exchange) or not publication.destination.startswith(("transient.", "amq.gen-"))


def is_news(publication: Publication) -> bool:
    """Say whether it is a broadcast that nobody misses later."""
    return publication.kind is Kind.TOPIC and publication.expiration is not None


def pack(entry: Entry) -> bytes:
    """Return an entry as the spool stores it.

    Raises:
        TypeError, ValueError, OverflowError: its headers cannot be stored.
    """
    parts = [
        [
            *(p.kind.value, p.origin, p.destination, p.headers, p.body, p.delay),
            *(p.expiration, p.exchange, p.priority, p.persistent, p.ignore_namespace),
            *([p.properties] if p.properties else []),
        ]
        for p in entry.publications
    ]
    packed: bytes = msgpack.packb([entry.unit, entry.submitted, parts], use_bin_type=True)
    return packed


def unpack(data: bytes) -> Entry:
    """Return what `pack` was given.

    Raises:
        ValueError: it is no entry.
    """
    try:
        unit, submitted, parts = msgpack.unpackb(data, raw=False, strict_map_key=False)
        made = [
            replace(
                Publication(Kind(kind), *rest[:9]),
                origin=(origin[0], origin[1]) if origin else None,
                properties=rest[9] if rest[9:] else None,
            )
            for kind, origin, *rest in parts
        ]
    except (TypeError, ValueError, IndexError, msgpack.UnpackException) as e:
        raise ValueError(f"no entry of a spool: {type(e).__name__}") from None
    return Entry(made, bool(unit), float(submitted))


def alive(entry: Entry, now: float) -> Entry:
    """Return an entry without what has expired; `now` in seconds since the epoch."""
    waited = now - entry.submitted
    left = [one for one in entry.publications if one.expiration is None or one.expiration > waited]
    return replace(entry, publications=left)


def current(entry: Entry, now: float) -> list[Publication]:
    """Return the messages of an entry as they are sent: delay and expiration count from its submission."""
    waited = max(0.0, now - entry.submitted)
    return [
        replace(
            one,
            delay=max(0.0, one.delay - waited),
            expiration=None if one.expiration is None else max(0.0, one.expiration - waited),
        )
        for one in entry.publications
    ]


def in_flight(count: int, size: int) -> int:
    """Return how many entries may be on their way, of `count` that have `size` bytes together."""
    return max(1, min(IN_FLIGHT, IN_FLIGHT_BYTES * count // max(1, size)))


def letter(publication: Publication, reason: str, now: float) -> Publication:
    """Return the dead letter of a message that the broker refuses; `now` in seconds since the epoch."""
    where = publication.destination or publication.exchange
    headers = deadletters.headers_of(publication.headers, where, reason, now)
    exchange, key = publication.exchange, publication.destination
    if publication.kind is Kind.TOPIC:
        exchange, key = key, ""
    headers["x-death"][0].update({"exchange": exchange, "routing-keys": [key]})
    name = f"{deadletters.PREFIX}{where}".encode()[:_LONGEST_NAME].decode(errors="ignore")
    return Publication(Kind.QUEUE, name, headers, publication.body, priority=publication.priority)


def revived(dead: DeadLetter, destination: str | None) -> Publication:
    """Return the message of a dead letter, for where it was going or for another queue."""
    death: dict[str, Any] = dead.headers["x-death"][0]
    headers = {**dead.headers, deadletters.REINJECTED: True}
    if destination is not None:
        return Publication(Kind.QUEUE, destination, headers, dead.body)
    return Publication(
        Kind.QUEUE, death["routing-keys"][0], headers, dead.body, exchange=str(death["exchange"])
    )


class Outage:
    """Since when a broker has been away.

    A broker that takes nothing for lack of memory or disk is blocked, and not away for who can wait.
    """

    def __init__(self) -> None:
        self.connected = False
        self.since: float | None = None  # it takes no messages, in seconds of the caller's clock
        self._gone: float | None = None  # it is not only blocked

    def note(self, state: str, now: float) -> None:
        """Take note of the state of a transport."""
        self.connected = state == "connected"
        self.since = None if self.connected else now if self.since is None else self.since
        if self.connected or state == "blocked":
            self._gone = None
        elif self._gone is None:
            self._gone = now

    def begins(self, *, patient: bool, after: float) -> float | None:
        """Return when it has been away for `after` seconds, None if it is not.

        Args:
            patient: for somebody who waits while it is blocked.
        """
        since = self._gone if patient else self.since
        return None if since is None else since + after
