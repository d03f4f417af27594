"""The interface between the relay and a broker.

A broker is driven from the relay's one loop: calls are cheap and never block, what comes of them is returned
by `poll` as events. `fileno` becomes readable when `poll` has something to return.

Order is a promise: what is called first takes effect first. A broker with `ordered = True` guarantees
besides that a settlement never outlives a publication that was called before it: when a batch fails, all
of it fails (Refused for publications, SettlementFailed for settlements). For any other broker the ledger
holds a settlement back until the publications before it are confirmed.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zocalo_daemon.brokers.inspector import DeadLetter, Inspector, QueueInfo, Route

NORMAL_PRIORITY = 4


class Kind(enum.IntEnum):
    """Kinds of destination, numbered as in protocol.worker."""

    QUEUE = 0
    TOPIC = 1
    TEMPORARY = 2


class Outcome(enum.Enum):
    """What becomes of a delivery."""

    ACCEPT = "accept"  # done: forget it
    REQUEUE = "requeue"  # failed once: deliver again, later each time
    RELEASE = "release"  # nobody looked at it: deliver again at once, as if it had never left
    FORFEIT = "forfeit"  # its worker died: deliver again at once, marked as redelivered
    REJECT = "reject"  # to the dead-letter queue


@dataclass(slots=True, frozen=True)
class Publication:
    """A message to be sent.

    Args:
        headers: string keys; values of plain msgpack types.
        delay, expiration: seconds from now.
        priority: 0 (lowest) to 9; None if nobody has said: what the broker takes as normal.
        origin: (client, sequence) of a publication that may be sent twice because its sender never saw a
            confirmation; a broker that can, drops the second one and confirms it.
        ignore_namespace: its destination is what the broker calls it, whatever prefix the transport has.
        properties: of AMQP besides, by their names; a broker that has no such thing leaves them out.
    """

    kind: Kind
    destination: str
    headers: dict[str, Any]
    body: bytes
    delay: float = 0.0
    expiration: float | None = None
    exchange: str = ""
    priority: int | None = None
    persistent: bool = True
    ignore_namespace: bool = False
    origin: tuple[str, int] | None = None
    properties: Mapping[str, Any] | None = None

    @property
    def rank(self) -> int:
        """What comes first has the lower rank, from 0 to 9; normal is that of JMS and STOMP."""
        return 9 - (NORMAL_PRIORITY if self.priority is None else min(9, max(0, self.priority)))


@dataclass(slots=True, frozen=True)
class Settlement:
    """What becomes of delivery `tag`; `reason` goes into the dead letter of a REJECT."""

    tag: int
    outcome: Outcome
    reason: str = ""


@dataclass(slots=True, frozen=True)
class Source:
    """Where a consumer takes its messages from.

    Args:
        name: queue or topic; for a temporary queue a hint, possibly empty.
        exclusive: all messages go to one consumer, the others stand by.
        priority: consumers of a higher number are served first.
        retroactive: a topic's latest messages first.
        acknowledged: False if the service does not settle; the transport settles for it.
        prefetch: how many deliveries its service may have, 0 if the relay adapts that; the credit never
            exceeds it.
        ignore_namespace: as of a publication.
    """

    kind: Kind
    name: str
    exclusive: bool = False
    priority: int = 0
    retroactive: bool = False
    acknowledged: bool = True
    selector: str = ""
    prefetch: int = 0
    ignore_namespace: bool = False


# -- Events that poll() returns


@dataclass(slots=True, frozen=True)
class Subscribed:
    """The consumer stands; `name` is the real name of its queue or topic."""

    consumer: int
    name: str


@dataclass(slots=True, frozen=True)
class SubscriptionFailed:
    """The consumer could not be set up, or was ended by the broker."""

    consumer: int
    reason: str


@dataclass(slots=True, frozen=True)
class Delivered:
    """A message for a consumer; every delivery must be settled, by its tag, except those of a topic."""

    consumer: int
    tag: int
    headers: dict[str, Any]
    body: bytes
    redelivered: bool
    routing_key: str
    exchange: str = ""


@dataclass(slots=True, frozen=True)
class Confirmed:
    """A publication or unit is safe: on disk, or taken over by the broker."""

    token: int


@dataclass(slots=True, frozen=True)
class Refused:
    """A publication or unit did not happen. `code`: "unroutable", "full", "invalid" or "failed"."""

    token: int
    code: str
    reason: str


@dataclass(slots=True, frozen=True)
class SettlementFailed:
    """A settlement did not happen (the disk is full); the delivery is still out and must be settled again."""

    tag: int
    reason: str


@dataclass(slots=True, frozen=True)
class Outstanding:
    """The message of a delivery that is out, with its headers as they were sent."""

    headers: dict[str, Any]
    body: bytes
    redelivered: bool


Event = Subscribed | SubscriptionFailed | Delivered | Confirmed | Refused | SettlementFailed


@dataclass(slots=True)
class BrokerStatus:
    """State of a transport: "connected", "connecting", "blocked", "full" or "failed".

    Args:
        host: the one that it is connected to, or tries.
        detail: a line that says why it is not connected.
        next_attempt: when it tries again, in monotonic seconds; None if it does not wait.
    """

    state: str
    host: str
    detail: str = ""
    connections: int = 0
    next_attempt: float | None = None


class Broker(Inspector):
    """A driver. All calls come from one thread; `token`, `consumer` are the caller's own numbers."""

    driver: str
    ordered: bool = False

    @abc.abstractmethod
    def open(self) -> None:
        """Start. A broker that cannot be reached is no error: `status` says so, and it keeps trying.

        Raises:
            ZocaloError: it can never work (a state directory that cannot be written).
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Finish what was called, release everything that is out, and stop."""

    def fileno(self) -> int | None:
        """Return a descriptor that is readable when `poll` has events, or None."""
        return None

    @abc.abstractmethod
    def timeout(self) -> float | None:
        """Return the seconds until `poll` should be called again, or None if only a call can bring events."""

    @abc.abstractmethod
    def poll(self) -> list[Event]:
        """Carry out what was called since the last time and return what has happened."""

    @abc.abstractmethod
    def subscribe(self, consumer: int, source: Source) -> None:
        """Set up a consumer with no credit; answered by Subscribed or SubscriptionFailed."""

    @abc.abstractmethod
    def cancel(self, consumer: int) -> None:
        """End a consumer. What it has out stays out until it is settled."""

    @abc.abstractmethod
    def credit(self, consumer: int, count: int) -> None:
        """Let a consumer have `count` more deliveries; a negative count takes unused credit back."""

    @abc.abstractmethod
    def publish(self, token: int, publication: Publication) -> None:
        """Send a message; answered by Confirmed or Refused."""

    @abc.abstractmethod
    def settle(self, settlement: Settlement) -> None:
        """Settle a delivery; answered only if it fails."""

    @abc.abstractmethod
    def commit(
        self, token: int, publications: Sequence[Publication], settlements: Sequence[Settlement]
    ) -> None:
        """Send and settle all of it or nothing: Confirmed, or Refused with its deliveries still out."""

    @abc.abstractmethod
    def peek(self, tag: int) -> Outstanding | None:
        """Return the message of a delivery that is out; None if it is not, or cannot be read now."""

    @abc.abstractmethod
    def status(self) -> BrokerStatus:
        """Return the state of the transport."""

    def inspector(self) -> Inspector:
        """Return what answers operators: this, if it answers at once, or something that takes a thread."""
        return self


class Inspected(Broker):
    """A broker whose own answers are those of its inspector."""

    def queues(self) -> list[QueueInfo]:
        """Return the queues that are known."""
        return self.inspector().queues()

    def walk(self, queue: str, after: int = 0) -> Generator[DeadLetter]:
        """Yield dead letters, oldest first."""
        return self.inspector().walk(queue, after)

    def purge(self, queue: str, ids: Sequence[int] | None) -> int:
        """Delete dead letters."""
        return self.inspector().purge(queue, ids)

    def reinject(self, queue: str, ids: Sequence[int] | None, destination: str | None) -> int:
        """Send dead letters back."""
        return self.inspector().reinject(queue, ids, destination)

    def drain(self, queue: str, route: Route) -> DeadLetter | None:
        """Move the oldest message of a queue."""
        return self.inspector().drain(queue, route)
