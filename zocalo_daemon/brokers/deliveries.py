"""Consumers of the embedded broker, and what they get."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import msgpack

from zocalo_daemon.brokers.base import (
    Delivered,
    Event,
    Kind,
    Outstanding,
    Source,
    Subscribed,
    SubscriptionFailed,
)
from zocalo_daemon.brokers.batch import TEMPORARY_NAME, Batch, State
from zocalo_daemon.brokers.consumers import Consumer, Topic
from zocalo_daemon.brokers.housekeeping import Housekeeping
from zocalo_daemon.brokers.planning import is_name
from zocalo_daemon.brokers.store import Store
from zocalo_daemon.brokers.waiting import Lease, Message, Queue

HEADER_DELIVERIES = "x-delivery-count"  # as RabbitMQ's quorum queues have it


class Deliveries:
    """Sets up consumers and hands out messages.

    Args:
        events: where everything that happens is appended.
    """

    def __init__(self, state: State, store: Store, housekeeping: Housekeeping, events: list[Event]) -> None:
        self._state = state
        self._store = store
        self._housekeeping = housekeeping
        self._events = events
        self._consumers: dict[int, Consumer] = {}
        self._tag = 0
        self.doomed: list[Queue] = []  # temporary queues without their consumer, still on disk

    def follow(self, batch: Batch, call: Callable[..., None], *arguments: Any) -> None:
        """Make a call (`credit`, `cancel`) in its place after the batch, even if the batch fails."""
        batch.follow.append((True, partial(call, *arguments)))

    def subscribe(self, batch: Batch, number: int, source: Source) -> None:
        """Plan a consumer: Subscribed or SubscriptionFailed follows the batch; a selector is refused."""
        if source.selector:
            reason = "the embedded broker knows no selectors; subscribe to a queue of its own instead"
            batch.events.append(SubscriptionFailed(number, reason))
            return
        place: Queue | str | None = source.name
        if source.kind is not Kind.TOPIC:
            temporary = source.kind is Kind.TEMPORARY
            name = _temporary_name(source.name) if temporary else source.name
            place = self._state.queue(name, batch, temporary) if is_name(name) else None
        if not place:
            reason = f"there is no queue {source.name!r}, and none can be made of that name"
            batch.events.append(SubscriptionFailed(number, reason))
            return
        batch.follow.append((False, partial(self._place, number, source, place)))

    def _place(self, number: int, source: Source, place: Queue | str) -> None:
        where = self._state.topics.get(place) if isinstance(place, str) else place
        consumer = Consumer(number, source, where)
        self._consumers[number] = consumer
        if isinstance(where, Topic):
            where.add(consumer)
        else:
            where.consumers.add(consumer)
        self._events.append(Subscribed(number, where.name))

    def credit(self, number: int, count: int) -> None:
        """Let a consumer have `count` more deliveries; a negative number takes unused credit back."""
        consumer = self._consumers.get(number)
        if consumer is None:
            return
        if isinstance(consumer.place, Topic):
            consumer.credit = max(0, consumer.credit + count)
            self._state.topics.hot[consumer.place] = None
        else:
            consumer.place.consumers.credit(consumer, count)
            self._state.hot[consumer.place] = None

    def cancel(self, number: int) -> None:
        """End a consumer; a temporary queue ends with it, and so do the queue's other consumers."""
        consumer = self._consumers.pop(number, None)
        if consumer is None:
            return
        if isinstance(consumer.place, Topic):
            consumer.place.remove(consumer)
            return
        queue: Queue = consumer.place
        queue.consumers.remove(consumer)
        self._state.hot[queue] = None
        if consumer.source.kind is Kind.TEMPORARY:
            for other in queue.consumers:
                del self._consumers[other.number]
                self._events.append(SubscriptionFailed(other.number, f"the queue {queue.name} is gone"))
            self._state.forget_queue(queue)
            self.doomed.append(queue)

    # -- Deliveries

    def dispatch(self, now: float) -> None:
        """Hand out what can be; events follow.

        Raises:
            sqlite3.Error: something could not be read; it is tried again by the next call.
        """
        topics = self._state.topics
        topics.publish_due(now)
        while topics.hot:
            topic, _ = topics.hot.popitem()
            for consumer, notice in topic.serve(now):
                self._tag += 1
                self._events.append(
                    Delivered(consumer.number, self._tag, notice.headers, notice.body, False, "", topic.name)
                )
        while self._state.hot:
            self._serve(next(iter(self._state.hot)), now)

    def peek(self, tag: int) -> Outstanding | None:
        """Return the message of a delivery that is out, or None."""
        lease = self._state.leases.get(tag)
        try:
            rows = self._store.load([lease.id]) if lease is not None else []
        except sqlite3.Error:
            return None
        if lease is None or not rows:
            return None
        headers = msgpack.unpackb(rows[0][4], raw=False, strict_map_key=False)
        return Outstanding(headers, rows[0][5], lease.deliveries > 1)

    def _serve(self, queue: Queue, now: float) -> None:
        while (consumer := queue.consumers.next()) and (found := queue.take(self._store)):
            rank, message = found
            if message.expires is not None and message.expires <= now:
                self._housekeeping.expired.append((queue.name, message.id))
                continue
            queue.consumers.served(consumer)
            self._deliver(consumer, queue, rank, message, now)
        del self._state.hot[queue]

    def _deliver(self, consumer: Consumer, queue: Queue, rank: int, message: Message, now: float) -> None:
        self._tag = tag = self._tag + 1
        deliveries = message.deliveries
        self._state.leases[tag] = Lease(
            message.id, queue, rank, deliveries + 1, message.requeues, message.expires, now
        )
        queue.out.add(message.id)
        self._housekeeping.went_out(tag, now)
        headers = message.headers
        if isinstance(headers, bytes):
            headers = msgpack.unpackb(headers, raw=False, strict_map_key=False)
        if deliveries:
            headers = {**headers, HEADER_DELIVERIES: deliveries}
        self._events.append(
            Delivered(consumer.number, tag, headers, message.body, deliveries > 0, queue.name)
        )


def _temporary_name(hint: str) -> str:
    """Return a name of its own, in the form that the pika transport of workflows gives it.

    A hint that is such a name already comes from a consumer that had it before the relay died: it is kept,
    because others have been told to answer there.
    """
    if TEMPORARY_NAME.fullmatch(hint):
        return hint
    parts = ["" if hint.startswith("transient.") else "transient", hint, str(uuid.uuid4())]
    return ".".join(part for part in parts if part)
