"""The subscriptions of one transport: set up, given credit, recalled, ended."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zocalo_daemon.brokers.base import (
    Broker,
    Delivered,
    Kind,
    Outcome,
    Settlement,
    Source,
    Subscribed,
    SubscriptionFailed,
)
from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.relay.dispatch import Window
from zocalo_daemon.relay.quarantine import Quarantine, limit_of

if TYPE_CHECKING:
    from zocalo_daemon.relay.session import Session

Hear = Callable[[Delivered | Subscribed | SubscriptionFailed], None]

TOPIC_CREDIT = 1 << 30  # a worker that does not read loses a topic's messages, with a count


@dataclass(slots=True, eq=False)
class Consumer:
    """A subscription of a session; `request` waits for its answer, `name` is empty until it stands."""

    number: int
    session: Session
    sub: int
    source: Source
    window: Window
    request: int
    name: str = ""


class Consumers:
    """All consumers at a broker.

    Args:
        broker: the driver.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._numbers = itertools.count(1)
        self._standing: dict[int, Consumer] = {}
        self._waiting: dict[Consumer, None] = {}  # more out than in hand: perhaps to be recalled
        self._draining = False
        self._listeners: dict[int, Hear] = {}
        self.touched: set[Consumer] = set()  # whose window may have changed
        self.quarantine = Quarantine()

    def subscribe(self, session: Session, sub: int, source: Source, request: int) -> Consumer:
        """Set up a consumer for a session and return it."""
        consumer = Consumer(next(self._numbers), session, sub, source, Window(source.prefetch), request)
        self._standing[consumer.number] = consumer
        limit = limit_of(source)
        if limit is None:
            self._broker.subscribe(consumer.number, source)
        else:  # the broker knows nothing of it
            self.quarantine.keepers[consumer.number] = (consumer, limit)
            consumer.name = source.name
            session.send([protocol.DONE, request, source.name])
        return consumer

    def listen(self, source: Source, hear: Hear) -> None:
        """Have the relay itself told of everything in a topic, and whether it can be."""
        number = next(self._numbers)
        self._listeners[number] = hear
        self._broker.subscribe(number, source)

    def astray(self, event: Delivered) -> None:
        """A delivery that no session takes: it is for the relay itself, or goes back."""
        if not self._heard(event):
            self._broker.settle(Settlement(event.tag, Outcome.RELEASE))

    def _heard(self, event: Delivered | Subscribed | SubscriptionFailed) -> bool:
        hear = self._listeners.get(event.consumer)
        if hear is None:
            return False
        if isinstance(event, Subscribed):
            self._broker.credit(event.consumer, TOPIC_CREDIT)
        elif isinstance(event, SubscriptionFailed):
            del self._listeners[event.consumer]
        hear(event)
        return True

    def cancel(self, consumer: Consumer) -> None:
        """End a consumer; what it has out stays out."""
        self.touched.discard(consumer)
        self._waiting.pop(consumer, None)
        if not consumer.window.closed:
            consumer.window.closed = True
            if self.quarantine.keepers.pop(consumer.number, None) is None:
                self._broker.cancel(consumer.number)

    def forget(self, consumer: Consumer) -> None:
        """A consumer has ended and has nothing out; what still comes for it goes back."""
        self._standing.pop(consumer.number, None)

    def drain(self) -> None:
        """Deliver nothing more, and take back what workers have not begun."""
        self._draining = True
        self.touched.update(self._standing.values())
        for consumer in self._standing.values():
            if consumer.window.out > consumer.window.gate:
                consumer.session.send([protocol.RECALL, consumer.sub])

    def taker(self, number: int) -> Consumer | None:
        """Return the consumer that a delivery is for; None if it takes nothing more."""
        consumer = self._standing.get(number)
        return None if consumer is None or consumer.window.closed or self._draining else consumer

    def subscribed(self, event: Subscribed) -> None:
        """A consumer stands."""
        consumer = self._standing.get(event.consumer)
        if consumer is not None:
            consumer.name = event.name
            consumer.session.send([protocol.DONE, consumer.request, event.name])
            if consumer.source.kind is Kind.TOPIC:
                self._broker.credit(consumer.number, TOPIC_CREDIT)
            else:
                self.touched.add(consumer)
        else:
            self._heard(event)

    def failed(self, event: SubscriptionFailed) -> None:
        """A consumer could not be set up, or was ended by the broker."""
        consumer = self._standing.pop(event.consumer, None)
        if consumer is None:
            self._heard(event)
            return
        consumer.window.closed = True
        session = consumer.session
        if consumer.name:
            session.send([protocol.CANCELLED, consumer.sub, event.reason])
        else:
            session.consumers.pop(consumer.sub, None)
            session.send([protocol.FAILED, consumer.request, "invalid", event.reason])

    def grant(self) -> None:
        """Tell the broker how much those may have whose window has changed."""
        touched, self.touched = self.touched, set()
        for consumer in touched:
            if consumer.window.closed or consumer.number in self.quarantine.keepers:
                continue
            paused = consumer.session.channel.is_congested
            if paused:
                self.touched.add(consumer)  # until it reads
            change = consumer.window.change(paused=paused or self._draining)
            if change:
                self._broker.credit(consumer.number, change)
            if consumer.window.patience_ends() is None:
                self._waiting.pop(consumer, None)
            else:
                self._waiting[consumer] = None

    def recall(self, now: float) -> None:
        """Take back what waits behind a slow delivery."""
        for consumer in [one for one in self._waiting if one.window.recall(now)]:
            del self._waiting[consumer]
            self.touched.add(consumer)
            consumer.session.send([protocol.RECALL, consumer.sub])

    def due(self) -> float | None:
        """Return when `recall` is to be called next, in monotonic seconds, or None."""
        ends = [one.window.patience_ends() for one in self._waiting]
        return min((end for end in ends if end is not None), default=None)
