"""The consumers of a transport: their slots at the broker, deliveries, and what goes back."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from functools import partial

from zocalo_daemon.brokers.activemq_consumer import (
    PATIENCE,
    Arrival,
    Consumer,
    Slot,
    Unseen,
    temporary_name,
)
from zocalo_daemon.brokers.activemq_frames import Frame
from zocalo_daemon.brokers.activemq_headers import Names, from_stomp
from zocalo_daemon.brokers.activemq_peer import StompPeer
from zocalo_daemon.brokers.base import Delivered, Event, Kind, Source, Subscribed, SubscriptionFailed
from zocalo_daemon.brokers.loop import Loop

FIRST_RETRY, LAST_RETRY = 0.5, 30.0  # seconds between attempts to subscribe again

log = logging.getLogger(__name__)


class Consumers:
    """All consumers.

    Args:
        name: of the transport, for logs.
        events: where events go.

    Attributes:
        held: deliveries that are out, by tag.
        ended: temporary queues that were of this relay.
    """

    def __init__(self, name: str, peer: StompPeer, loop: Loop, names: Names, events: list[Event]) -> None:
        self._name, self._peer, self._loop, self._names, self._events = name, peer, loop, names, events
        self._consumers: dict[int, Consumer] = {}
        self._slots: dict[str, tuple[Consumer, Slot]] = {}
        self._serial, self._tags = itertools.count(1), itertools.count(1)
        self._surplus: set[Consumer] = set()  # with something in their buffers
        self._unseen = Unseen()
        self.held: dict[int, Arrival] = {}
        self.ended: dict[str, None] = {}

    def __iter__(self) -> Iterator[Consumer]:
        return iter(self._consumers.values())

    # -- Calls

    def subscribe(self, number: int, source: Source) -> None:
        """Set up a consumer."""
        name = temporary_name(source.name) if source.kind is Kind.TEMPORARY else source.name
        self.ended.pop(name, None)
        destination = self._names.destination(source.kind, name, plain=source.ignore_namespace)
        consumer = Consumer(number, source, name, destination)
        self._consumers[number] = consumer
        self._open(consumer)

    def cancel(self, number: int) -> None:
        """End a consumer; the slots of what is out stay until that is settled."""
        consumer = self._consumers.get(number)
        if consumer is None or consumer.cancelled:
            return
        consumer.cancelled = True
        if consumer.source.kind is Kind.TEMPORARY:
            self.ended[consumer.name] = None
        for slot in list(consumer.slots.values()):
            slot.leaving = True
        self._pause(consumer)
        if not consumer.slots:
            self._consumers.pop(number, None)

    def credit(self, number: int, count: int) -> None:
        """Change how many deliveries a consumer may have."""
        consumer = self._consumers.get(number)
        if consumer is None or consumer.cancelled or consumer.is_topic:
            return
        consumer.allowed = max(0, consumer.allowed + count)
        while consumer.buffer and consumer.allowed > 0:
            self._deliver(consumer, consumer.buffer.popleft())
            consumer.waiting_since = self._loop.clock()
        if not consumer.buffer:
            self._surplus.discard(consumer)
        if consumer.announced:
            for _ in range(consumer.wanted):
                self._open(consumer)

    # -- The connection

    def up(self) -> None:
        """It stands."""
        for consumer in list(self._consumers.values()):
            self._open(consumer)

    def down(self) -> None:
        """It is gone, and what was out comes again."""
        if self.held:
            log.warning("%s: %d deliveries were out and will come again", self._name, len(self.held))
        self.held.clear()
        self._surplus.clear()
        self._slots.clear()
        for consumer in list(self._consumers.values()):
            for arrival in consumer.buffer:
                self._unseen.add(arrival)
            consumer.buffer.clear()
            consumer.slots.clear()
            consumer.parked = 0
            if consumer.cancelled:
                del self._consumers[consumer.number]

    # -- Slots

    def _open(self, consumer: Consumer) -> None:
        if not self._peer.up or consumer.cancelled:
            return
        if consumer.source.selector and not self._peer.is_native:
            del self._consumers[consumer.number]
            reason = "this broker knows no selectors; subscribe to a queue of its own instead"
            self._events.append(SubscriptionFailed(consumer.number, reason))
            return
        slot = Slot(f"{consumer.number}.{next(self._serial)}", consumer.slot_size)
        consumer.slots[slot.id] = slot
        self._slots[slot.id] = (consumer, slot)
        self._peer.send("SUBSCRIBE", consumer.headers(slot))

    def _close(self, consumer: Consumer, slot: Slot) -> None:
        consumer.slots.pop(slot.id, None)
        for arrival in [one for one in consumer.buffer if one.slot is slot]:
            consumer.buffer.remove(arrival)
            self._return(arrival)
        if self._slots.pop(slot.id, None) is not None:
            self._peer.send("UNSUBSCRIBE", {"id": slot.id})
        if consumer.cancelled and not consumer.slots:
            self._consumers.pop(consumer.number, None)

    def _return(self, arrival: Arrival) -> None:
        self._unseen.add(arrival)
        if not self._peer.is_native:  # RabbitMQ keeps for a connection what it has out, whatever has ended
            self._peer.send("NACK", {"id": arrival.ack})

    def _pause(self, consumer: Consumer) -> None:
        # First what others here can use: at the broker it would be marked as redelivered.
        for _ in range(len(consumer.buffer)):
            arrival = consumer.buffer.popleft()
            if not self._hand_over(arrival):
                consumer.buffer.append(arrival)
        self._surplus.discard(consumer)
        for slot in consumer.idle():
            self._close(consumer, slot)

    # -- What the broker says

    def receipt(self, receipt: str) -> None:
        """A slot stands."""
        found = self._slots.get(receipt.removeprefix("sub."))
        if found is None:
            return
        consumer = found[0]
        consumer.attempts = 0
        if not consumer.announced:
            consumer.announced = True
            self._events.append(Subscribed(consumer.number, consumer.name))
            self.credit(consumer.number, 0)

    def refused(self, receipt: str, reason: str) -> None:
        """A slot was refused: a new consumer fails, one that stood before tries again."""
        found = self._slots.pop(receipt.removeprefix("sub."), None)
        if found is None:
            return
        consumer, slot = found
        consumer.slots.pop(slot.id, None)
        text = f"the broker refuses the subscription to '{consumer.name}': {reason}"
        if not consumer.announced:
            self._consumers.pop(consumer.number, None)
            self._events.append(SubscriptionFailed(consumer.number, text))
            return
        if not consumer.attempts:
            log.warning("%s: %s", self._name, text)
        delay = min(LAST_RETRY, FIRST_RETRY * 2 ** min(consumer.attempts, 10))
        consumer.attempts += 1
        self._loop.call_later(delay, partial(self._open_again, consumer))

    def _open_again(self, consumer: Consumer) -> None:
        if not consumer.slots:
            self._open(consumer)

    def arrived(self, frame: Frame) -> None:
        """Pass on a message, or keep it until there is credit."""
        headers = frame.headers
        number = headers.get("message-id", "")
        redelivered = headers.get("redelivered") == "true" and not self._unseen.take(number)
        found = self._slots.get(headers.get("subscription", ""))
        consumer, slot = found or (Consumer(0, Source(Kind.QUEUE, ""), "", ""), Slot("", 0))
        arrival = Arrival(consumer, slot, headers.get("ack", ""), number, headers, frame.body, redelivered)
        if found is None:
            self._return(arrival)  # its slot was ended meanwhile
        elif consumer.is_topic:
            self._events.append(_delivered(consumer, 0, arrival))
        else:
            slot.out += 1
            self._offer(arrival)

    def _offer(self, arrival: Arrival) -> None:
        consumer = arrival.consumer
        if consumer.allowed > 0 and not consumer.cancelled:
            self._deliver(consumer, arrival)
            return
        if not consumer.buffer:
            consumer.waiting_since = self._loop.clock()
        consumer.buffer.append(arrival)
        self._surplus.add(consumer)

    def _deliver(self, consumer: Consumer, arrival: Arrival) -> None:
        consumer.allowed -= 1
        arrival.slot.held += 1
        tag = next(self._tags)
        self.held[tag] = arrival
        self._events.append(_delivered(consumer, tag, arrival))

    def _hand_over(self, arrival: Arrival) -> bool:
        able = [one for one in self._consumers.values() if one.may_take_over(arrival.consumer)]
        if not able:
            return False
        self._deliver(max(able, key=lambda one: (one.source.priority, one.allowed)), arrival)
        return True

    # -- What becomes of deliveries

    def is_out(self, arrival: Arrival) -> bool:
        """Say whether the broker still waits for the settlement of a delivery."""
        return arrival.slot.id in self._slots

    def acknowledge(self, arrival: Arrival) -> None:
        """A delivery is done."""
        if self.is_out(arrival):
            self._peer.send("ACK", {"id": arrival.ack})
            arrival.slot.out -= 1
            self._let_go(arrival)

    def release(self, arrival: Arrival) -> None:
        """Have a delivery that nobody has seen delivered again, as if it had never left."""
        if self.is_out(arrival):
            arrival.slot.held -= 1
            if not self._hand_over(arrival):
                arrival.consumer.buffer.appendleft(arrival)
                self._give_back(arrival)

    def put_back(self, arrival: Arrival) -> None:
        """Have a delivery delivered again, marked as redelivered."""
        if self.is_out(arrival):
            arrival.redelivered = True
            arrival.slot.held -= 1
            arrival.consumer.buffer.appendleft(arrival)
            self._give_back(arrival)

    def _give_back(self, arrival: Arrival) -> None:
        consumer, slot = arrival.consumer, arrival.slot
        if consumer.is_static and not consumer.cancelled:
            self._surplus.add(consumer)
            self.credit(consumer.number, 0)
        elif slot.held:  # it goes as soon as nothing of it is in anybody's hands
            slot.leaving = True
        else:
            self._close(consumer, slot)
            self.credit(consumer.number, 0)

    def _let_go(self, arrival: Arrival) -> None:
        slot = arrival.slot
        slot.held -= 1
        if slot.leaving and not slot.held:
            self._close(arrival.consumer, slot)

    # -- Time

    def flush(self) -> None:
        """Give back what waits in vain."""
        now = self._loop.clock()
        for consumer in [one for one in self._surplus if not one.is_static]:
            if consumer.allowed <= 0 and now >= consumer.waiting_since + PATIENCE:
                self._pause(consumer)

    def timeout(self) -> float | None:
        """Return the seconds until `flush` has something to do, or None."""
        waiting = [one.waiting_since for one in self._surplus if not one.is_static]
        return max(0.0, min(waiting) + PATIENCE - self._loop.clock()) if waiting else None


def _delivered(consumer: Consumer, tag: int, arrival: Arrival) -> Delivered:
    key, exchange = ("", consumer.name) if consumer.is_topic else (consumer.name, "")
    headers = from_stomp(arrival.headers)
    return Delivered(consumer.number, tag, headers, arrival.body, arrival.redelivered, key, exchange)
