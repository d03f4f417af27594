"""A consumer of a STOMP broker, its slots, and when to open and close them (pure).

STOMP fixes the prefetch of a subscription when it begins, and gives back nothing but a whole subscription:
one that ends returns all that it has out, also what a service works on. So a consumer has many subscriptions
of one message each, its slots. Credit opens more of them; a message that nobody wants is given back by ending
its slot, and no other one notices. The broker spreads a queue over slots in its order.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from zocalo_daemon.brokers.base import Kind, Source

MOST_SLOTS = 256  # of one consumer; a larger prefetch makes them larger
MOST_PARKED = 100  # slots that are replaced while their messages wait to be put back
STATIC = 256  # size of the only slot of a consumer that must not have two
PATIENCE = 0.05  # seconds that a message waits here for credit before it goes back
REMEMBERED = 10_000  # messages
FIRST_DELAY, LAST_DELAY = 0.1, 60.0  # seconds before what was put back comes again; doubles with every time


@dataclass(slots=True, eq=False)
class Slot:
    """A subscription at the broker.

    Args:
        id: by which the broker knows it.
        size: messages that it may have out.
        out: that it has; `held` of them were handed to the relay.
        leaving: to be ended once nothing of it is held.
    """

    id: str
    size: int
    out: int = 0
    held: int = 0
    leaving: bool = False


@dataclass(slots=True, eq=False)
class Arrival:
    """A message as it came: by which slot, and what acknowledges it."""

    consumer: Consumer
    slot: Slot
    ack: str
    id: str
    headers: dict[str, str]
    body: bytes
    redelivered: bool


@dataclass(slots=True, eq=False)
class Consumer:
    """A consumer.

    Args:
        name: of its queue or topic.
        destination: the same for the broker.
        slots: by their ids.
        allowed: credit that no delivery has used.
        buffer: what came without credit, since `waiting_since` (seconds) untouched.
        announced: the relay knows that it stands.
        cancelled: it only settles what it still has out.
        parked: how many deliveries wait to be put back.
    """

    number: int
    source: Source
    name: str
    destination: str
    slots: dict[str, Slot] = field(default_factory=dict)
    allowed: int = 0
    buffer: deque[Arrival] = field(default_factory=deque)
    waiting_since: float = 0.0
    announced: bool = False
    cancelled: bool = False
    attempts: int = 0
    parked: int = 0

    @property
    def is_static(self) -> bool:
        """Whether it has one slot that stays: for an exclusive one a second would stand by."""
        return self.source.exclusive or self.source.kind is not Kind.QUEUE

    @property
    def is_topic(self) -> bool:
        """Whether nothing of it is settled."""
        return self.source.kind is Kind.TOPIC

    @property
    def slot_size(self) -> int:
        """How many messages each of its slots may have."""
        if self.is_static:
            return self.source.prefetch or STATIC
        return max(1, -(-self.source.prefetch // MOST_SLOTS))

    @property
    def wanted(self) -> int:
        """How many more slots it needs for its credit."""
        if self.is_static or self.cancelled:
            return 0
        free = sum(slot.size - slot.held for slot in self.slots.values() if not slot.leaving)
        missing = -(-(self.allowed - free) // self.slot_size)
        return max(0, min(missing, MOST_SLOTS + min(self.parked, MOST_PARKED) - len(self.slots)))

    def idle(self) -> list[Slot]:
        """Return the slots of which nobody has anything."""
        return [slot for slot in self.slots.values() if not slot.held]

    def headers(self, slot: Slot) -> dict[str, object]:
        """Return what begins a slot."""
        source = self.source
        made: dict[str, object] = {
            "destination": self.destination,
            "id": slot.id,
            "ack": "auto" if self.is_topic else "client-individual",
            "receipt": f"sub.{slot.id}",
        }
        if not self.is_topic:
            made["activemq.prefetchSize"] = made["prefetch-count"] = slot.size
        if source.exclusive:
            made["activemq.exclusive"] = "true"
        if source.priority:
            made["activemq.priority"] = source.priority
        if source.retroactive:
            made["activemq.retroactive"] = "true"
        if source.selector:
            made["selector"] = source.selector
        return made

    def may_take_over(self, other: Consumer) -> bool:
        """Whether it can have a message that the broker gave to another one."""
        return (
            self.allowed > 0
            and not self.cancelled
            and self.destination == other.destination
            and self.source.selector == other.source.selector
            and (self is other or not (self.is_static or other.is_static))
        )


class Requeues:
    """How often each message was put back lately: it waits longer each time."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def delay(self, message: str) -> float:
        """Count one more and return the seconds to wait."""
        count = self._counts.pop(message, 0)
        self._counts[message] = count + 1
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)
        return float(min(LAST_DELAY, FIRST_DELAY * 2 ** min(count, 30)))


class Unseen:
    """Messages that went back before anybody had begun with them: they come again marked."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def add(self, arrival: Arrival) -> None:
        """A message goes back."""
        if not arrival.redelivered:
            self._ids[arrival.id] = None
            if len(self._ids) > REMEMBERED:
                self._ids.popitem(last=False)

    def take(self, message: str) -> bool:
        """Say whether a message that comes marked as redelivered was only here, and forget it."""
        return self._ids.pop(message, self) is None


def temporary_name(hint: str) -> str:
    """Return a name that no other temporary queue has.

    A hint that has one comes from a transport that had this queue before: others answer to that name.
    """
    try:
        uuid.UUID(hint[-36:])
    except ValueError:
        return f"transient.{hint.removeprefix('transient.') or 'reply'}.{uuid.uuid4()}"
    return hint
