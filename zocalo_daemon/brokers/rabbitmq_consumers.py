"""The consumers of a transport: each on a channel of its own, set up again whenever that was lost."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from functools import partial

from zocalo_daemon.brokers.base import Delivered, Event, Kind, Source, Subscribed, SubscriptionFailed
from zocalo_daemon.brokers.loop import Loop
from zocalo_daemon.brokers.rabbitmq import Arrival, Channel, Problem
from zocalo_daemon.brokers.rabbitmq_consumer import Consumer, Held, Verdict, explain, make, verdict
from zocalo_daemon.brokers.rabbitmq_headers import from_amqp
from zocalo_daemon.brokers.rabbitmq_peer import Peer
from zocalo_daemon.brokers.rabbitmq_window import PATIENCE

STAND_BY = 1.0  # seconds between attempts to become the exclusive consumer
FIRST_RETRY, LAST_RETRY = 0.5, 30.0  # seconds between attempts after a channel error

log = logging.getLogger(__name__)


class Consumers:
    """All consumers.

    Args:
        name: of the transport, for logs.
        events: where events go.
    """

    def __init__(self, name: str, peer: Peer, loop: Loop, events: list[Event]) -> None:
        self._name, self._peer, self._loop, self._events = name, peer, loop, events
        self._consumers: dict[int, Consumer] = {}
        self._tags = itertools.count(1)
        self.held: dict[int, Held] = {}
        self._dirty: set[Consumer] = set()  # with acknowledgements to send
        self._surplus: set[Consumer] = set()  # with something in its buffer
        self._lost = 0  # deliveries that were out when a channel ended

    def __iter__(self) -> Iterator[Consumer]:
        return iter(self._consumers.values())

    # -- Calls

    def subscribe(self, number: int, source: Source) -> None:
        """Set up a consumer."""
        if source.selector:
            reason = "RabbitMQ knows no selectors; subscribe to a queue of its own instead"
            self._events.append(SubscriptionFailed(number, reason))
            return
        consumer = self._consumers[number] = make(number, source)
        self._open(consumer)

    def cancel(self, number: int) -> None:
        """End a consumer; its channel stays until everything that is out is settled."""
        consumer = self._consumers.get(number)
        if consumer is None or consumer.cancelled:
            return
        consumer.cancelled = True
        if consumer.timer is not None:
            self._loop.cancel(consumer.timer)
        self.pause(consumer)
        if consumer.channel is not None and consumer.source.kind is Kind.TEMPORARY and consumer.ready:
            consumer.channel.queue_delete(consumer.name, callback=lambda _: None)
        self.close_if_done(consumer)

    def credit(self, number: int, count: int) -> None:
        """Change how many deliveries a consumer may have."""
        consumer = self._consumers.get(number)
        if consumer is None or consumer.cancelled:
            return
        window = consumer.prefetch
        window.allowed = max(0, window.allowed + count)
        while consumer.buffer and window.allowed > 0:
            self._deliver(consumer, consumer.buffer.popleft())
            consumer.waiting_since = self._loop.clock()
        if not consumer.buffer:
            self._surplus.discard(consumer)
        self._fill(consumer)

    def acknowledge(self, held: Held) -> None:
        """A delivery is done; the broker learns it with the next `flush`."""
        held.consumer.acks.done(held.arrival.tag)
        held.consumer.prefetch.out -= 1
        self._dirty.add(held.consumer)

    def put_back(self, held: Held) -> None:
        """Have a delivery delivered again."""
        consumer = held.consumer
        if consumer.offset is not None:  # a stream only goes forward
            consumer.buffer.appendleft(held.arrival)
            self._surplus.add(consumer)
            return
        if consumer.prefetch.may_pause and not consumer.is_static:
            self.pause(consumer)  # or it would come straight back
        self._return(consumer, held.channel, held.arrival)
        self.close_if_done(consumer)

    def restart(self, consumer: Consumer) -> None:
        """Start it anew, so that what it has out does not count any more."""
        if consumer.tag and not consumer.starting and not consumer.is_static and consumer.offset is None:
            self._start(consumer, consumer.prefetch.size)

    def flush(self) -> None:
        """Acknowledge what is done, and give back what waits in vain."""
        dirty, self._dirty = self._dirty, set()
        for consumer in dirty:
            if consumer.channel is not None:
                for tag, multiple in consumer.acks.take():
                    consumer.channel.basic_ack(tag, multiple)
                self.close_if_done(consumer)
        if self._surplus:
            now = self._loop.clock()
            for consumer in [one for one in self._surplus if self._is_late(one, now)]:
                self.pause(consumer)

    def timeout(self) -> float | None:
        """Return the seconds until `flush` has something to do, or None."""
        waiting = [one.waiting_since for one in self._surplus if self._is_shared(one)]
        if self._dirty:
            return 0.0
        return max(0.0, min(waiting) + PATIENCE - self._loop.clock()) if waiting else None

    # -- Its channel

    def up(self) -> None:
        """The connection stands."""
        for consumer in list(self._consumers.values()):
            self._open(consumer)

    def down(self) -> None:
        """The connection is gone, and what was out comes again."""
        for consumer in list(self._consumers.values()):
            self._forget(consumer)
            if consumer.cancelled:
                del self._consumers[consumer.number]
        if self._lost:
            log.warning("%s: %d deliveries were out and will come again", self._name, self._lost)
        self._lost = 0

    def _open(self, consumer: Consumer) -> None:
        if self._peer.up and consumer.channel is None and not consumer.cancelled:
            consumer.timer = None
            self._peer.open_channel(partial(self._opened, consumer), partial(self._ended, consumer))

    def _opened(self, consumer: Consumer, channel: Channel) -> None:
        if consumer.cancelled:
            channel.close()
            return
        consumer.channel = channel
        channel.on_arrival = partial(self._arrived, consumer, channel)
        channel.on_cancelled(lambda tag: self._cancelled(consumer, tag))
        source = consumer.source
        if source.kind is Kind.QUEUE:
            channel.ask_queue(consumer.name, lambda *_: self._ready(consumer), passive=True)
        elif source.kind is Kind.TEMPORARY:
            channel.ask_queue(
                consumer.name, lambda *_: self._ready(consumer), exclusive=True, auto_delete=True
            )
        else:
            channel.ask_queue("", lambda queue, *_: self._bind(consumer, channel, queue), exclusive=True)

    def _bind(self, consumer: Consumer, channel: Channel, queue: str) -> None:
        def bound(_frame: object) -> None:
            channel.consume(queue, f"{consumer.number}", 0, lambda: self._ready(consumer), no_ack=True)

        if not consumer.cancelled:
            channel.queue_bind(queue, consumer.name, callback=bound)

    def _ready(self, consumer: Consumer) -> None:
        consumer.ready, consumer.attempts = True, 0
        if consumer.cancelled:
            self.close_if_done(consumer)
            return
        if consumer.is_queue:
            self._start(consumer, consumer.prefetch.fixed or 1)
        else:
            self._announce(consumer)

    def _announce(self, consumer: Consumer) -> None:
        if not consumer.announced:
            consumer.announced = True
            self._events.append(Subscribed(consumer.number, consumer.name))

    def _ended(self, consumer: Consumer, problem: Problem) -> None:
        mine = consumer.channel is not None or not consumer.ready
        self._forget(consumer)
        if not mine or not problem[0] or consumer.cancelled:
            return
        decision, reason = verdict(consumer, problem), explain(consumer, problem)
        if decision is Verdict.FAIL:
            del self._consumers[consumer.number]
            self._events.append(SubscriptionFailed(consumer.number, reason))
            return
        delay = STAND_BY
        if decision is Verdict.STAND_BY:
            self._announce(consumer)
        else:
            delay = min(LAST_RETRY, FIRST_RETRY * 2 ** min(consumer.attempts, 10))
            if not consumer.attempts:
                log.warning("%s: a subscription is interrupted: %s", self._name, reason)
            consumer.attempts += 1
        consumer.timer = self._loop.call_later(delay, partial(self._open, consumer))

    def _cancelled(self, consumer: Consumer, tag: str) -> None:
        if tag == consumer.tag and consumer.channel is not None:
            channel = consumer.channel
            self._ended(consumer, (404, f"the broker has ended it: no queue '{consumer.name}' any more"))
            channel.close()

    def _forget(self, consumer: Consumer) -> None:
        consumer.reset()
        self._surplus.discard(consumer)
        self._dirty.discard(consumer)
        for tag in [tag for tag, held in self.held.items() if held.consumer is consumer]:
            del self.held[tag]
            self._lost += 1

    def close_if_done(self, consumer: Consumer) -> None:
        """Give the channel of a cancelled consumer back once nothing is out."""
        if not consumer.cancelled or len(consumer.acks):
            return
        self._consumers.pop(consumer.number, None)
        if consumer.channel is not None and consumer.channel.is_open:
            consumer.channel.close()

    # -- Deliveries

    def _fill(self, consumer: Consumer) -> None:
        wanted = consumer.prefetch.wanted()
        if wanted and consumer.ready and not consumer.starting and consumer.channel is not None:
            if consumer.is_static and consumer.tag:
                return
            self._start(consumer, wanted)

    def _start(self, consumer: Consumer, prefetch: int) -> None:
        channel = consumer.channel
        if channel is None or consumer.source.kind is Kind.TOPIC:
            return
        if consumer.tag:
            channel.basic_cancel(consumer.tag, callback=lambda _: None)
        consumer.serial += 1
        consumer.tag = f"{consumer.number}.{consumer.serial}"
        consumer.starting, consumer.prefetch.size = True, prefetch
        channel.consume(
            consumer.name,
            consumer.tag,
            prefetch,
            partial(self._started, consumer),
            exclusive=consumer.source.exclusive,
            arguments=consumer.arguments(),
        )

    def _started(self, consumer: Consumer) -> None:
        consumer.starting = False
        if consumer.tag:
            self._announce(consumer)
        self._fill(consumer)

    def pause(self, consumer: Consumer) -> None:
        """Take nothing more until there is credit, and give back what nobody has seen."""
        channel = consumer.channel
        self._surplus.discard(consumer)
        if channel is None:
            return
        if consumer.tag:
            channel.basic_cancel(consumer.tag, callback=lambda _: None)
            consumer.tag, consumer.prefetch.size = "", 0
        while consumer.buffer:
            self._return(consumer, channel, consumer.buffer.popleft())

    def _arrived(self, consumer: Consumer, channel: Channel, arrival: Arrival) -> None:
        if consumer.source.kind is Kind.TOPIC:
            self._events.append(_delivered(consumer.number, 0, arrival))
            return
        consumer.acks.add(arrival.tag)
        consumer.prefetch.out += 1
        offset = arrival.headers.get("x-stream-offset")
        if isinstance(offset, int):
            consumer.offset = offset + 1
        if consumer.cancelled:
            self._return(consumer, channel, arrival)
            self.close_if_done(consumer)
        elif consumer.prefetch.allowed > 0:
            self._deliver(consumer, arrival)
        else:
            if not consumer.buffer:
                consumer.waiting_since = self._loop.clock()
                self._surplus.add(consumer)
            consumer.buffer.append(arrival)

    def _deliver(self, consumer: Consumer, arrival: Arrival) -> None:
        assert consumer.channel is not None
        consumer.prefetch.allowed -= 1
        tag = next(self._tags)
        self.held[tag] = Held(consumer, consumer.channel, arrival)
        self._events.append(_delivered(consumer.number, tag, arrival))

    def _return(self, consumer: Consumer, channel: Channel, arrival: Arrival) -> None:
        consumer.acks.drop(arrival.tag)
        consumer.prefetch.out -= 1
        channel.basic_nack(arrival.tag, requeue=True)

    def _is_shared(self, consumer: Consumer) -> bool:
        return not consumer.prefetch.fixed and consumer.offset is None

    def _is_late(self, consumer: Consumer, now: float) -> bool:
        return self._is_shared(consumer) and now >= consumer.waiting_since + PATIENCE


def _delivered(number: int, tag: int, arrival: Arrival) -> Delivered:
    return Delivered(
        number,
        tag,
        from_amqp(arrival.headers),
        arrival.body,
        arrival.redelivered,
        arrival.routing_key,
        arrival.exchange,
    )
