"""Deliveries: from a consumer's channel to the relay, and their settlements back.

What goes back to the broker comes again marked as redelivered, wherever it goes. So a delivery that nobody
has seen is given to another consumer here that has credit; only if there is none does it go back, and is
remembered.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from functools import partial

from zocalo_daemon.brokers.base import Delivered, Event, Kind
from zocalo_daemon.brokers.loop import Loop
from zocalo_daemon.brokers.rabbitmq import Channel
from zocalo_daemon.brokers.rabbitmq_consumer import Consumer, Held
from zocalo_daemon.brokers.rabbitmq_headers import from_amqp
from zocalo_daemon.brokers.rabbitmq_requeues import Unseen
from zocalo_daemon.brokers.rabbitmq_window import PATIENCE
from zocalo_daemon.brokers.rabbitmq_wire import Arrival

TOGETHER = 1.0  # seconds for which late settlements are counted before they are logged

log = logging.getLogger(__name__)


class Intake:
    """What is out, and how much more may come.

    Args:
        name: of the transport, for logs.
        events: where deliveries go.

    Attributes:
        consumers: all of them, by number.
        returned: queues to which something went back that is remembered as unseen.
    """

    def __init__(self, name: str, loop: Loop, events: list[Event]) -> None:
        self._name, self._loop, self._events = name, loop, events
        self._tags = itertools.count(1)
        self.held: dict[int, Held] = {}
        self.consumers: dict[int, Consumer] = {}
        self.unseen = Unseen()
        self.returned: set[str] = set()
        self._stale: set[int] = set()  # lost with their channel, and not settled by the relay yet
        self._dropped = 0
        self._dirty: set[Consumer] = set()  # with acknowledgements to send
        self._surplus: set[Consumer] = set()  # with something in its buffer

    # -- How much may come

    def fill(self, consumer: Consumer) -> None:
        """Take as much as there is credit for."""
        if not consumer.ready or consumer.starting or (consumer.tag and not consumer.may_restart):
            return
        wanted = consumer.prefetch.wanted()
        if wanted:
            self.start(consumer, wanted)

    def start(self, consumer: Consumer, prefetch: int) -> None:
        """Have the broker deliver."""
        channel = consumer.channel
        if channel is None:
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

    def restart(self, consumer: Consumer) -> None:
        """Start it anew, so that what it has out does not count any more."""
        if consumer.tag and not consumer.starting and consumer.may_restart and consumer.offset is None:
            self.start(consumer, consumer.prefetch.size)

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
            self._give_away(consumer, channel, consumer.buffer.popleft()[1])

    def credit(self, consumer: Consumer, count: int) -> None:
        """Change how many deliveries a consumer may have."""
        if not consumer.is_queue:
            return  # a broadcast comes as it comes
        window = consumer.prefetch
        window.allowed = max(0, window.allowed + count)
        channel = consumer.channel
        while consumer.buffer and window.allowed > 0 and channel is not None:
            self._deliver(consumer, Held(consumer, channel, consumer.buffer.popleft()[1]))
        if not consumer.buffer:
            self._surplus.discard(consumer)
        self.fill(consumer)

    def _started(self, consumer: Consumer) -> None:
        consumer.starting = False
        if consumer.tag:
            consumer.stands()
        self.fill(consumer)

    # -- What comes

    def arrived(self, consumer: Consumer, channel: Channel, arrival: Arrival) -> None:
        """Pass on a message, or keep it until there is credit."""
        if consumer.source.kind is Kind.TOPIC:
            self._events.append(_delivered(consumer.number, 0, arrival))
            return
        consumer.acks.add(arrival.tag)
        consumer.prefetch.out += 1
        if arrival.redelivered and self.unseen.take(consumer.name, arrival.headers, arrival.body):
            arrival = replace(arrival, redelivered=False)
        if consumer.is_repeated(arrival):
            self._acknowledge(consumer, arrival)
        elif consumer.cancelled:
            self._give_away(consumer, channel, arrival)
        elif consumer.prefetch.allowed > 0:
            self._deliver(consumer, Held(consumer, channel, arrival))
        else:
            consumer.buffer.append((self._loop.clock(), arrival))
            self._surplus.add(consumer)
        if not consumer.seen:
            consumer.seen = True
            self.fill(consumer)

    def _deliver(self, consumer: Consumer, held: Held) -> None:
        consumer.prefetch.allowed -= 1
        tag = next(self._tags)
        self.held[tag] = held
        self._events.append(_delivered(consumer.number, tag, held.arrival))

    # -- What goes back

    def acknowledge(self, held: Held) -> None:
        """A delivery is done; the broker learns it with the next `flush`."""
        self._acknowledge(held.consumer, held.arrival)

    def _acknowledge(self, consumer: Consumer, arrival: Arrival) -> None:
        consumer.acks.done(arrival.tag)
        consumer.prefetch.out -= 1
        self._dirty.add(consumer)

    def release(self, held: Held) -> None:
        """Have a delivery that nobody has seen delivered again, as if it had never left."""
        if not self._hand_over(held):
            self._remember(held.consumer, held.arrival)
            self.put_back(held)

    def put_back(self, held: Held) -> None:
        """Have a delivery delivered again."""
        consumer = held.consumer
        if consumer.offset is not None and not consumer.cancelled:  # a stream only goes forward
            consumer.buffer.appendleft((self._loop.clock(), held.arrival))
            self._surplus.add(consumer)
            self.credit(consumer, 0)
            return
        if consumer.prefetch.may_pause and not consumer.is_static:
            self.pause(consumer)  # or it would come straight back
        self._return(consumer, held.channel, held.arrival)

    def _give_away(self, consumer: Consumer, channel: Channel, arrival: Arrival) -> None:
        if not self._hand_over(Held(consumer, channel, arrival)):
            self._remember(consumer, arrival)
            self._return(consumer, channel, arrival)

    def _hand_over(self, held: Held) -> bool:
        able = [one for one in self.consumers.values() if one.may_take_over(held.consumer)]
        if not able:
            return False
        self._deliver(max(able, key=lambda one: (one.source.priority, one.prefetch.allowed)), held)
        return True

    def _remember(self, consumer: Consumer, arrival: Arrival) -> None:
        if not arrival.redelivered and consumer.source.kind is Kind.QUEUE and consumer.offset is None:
            self.unseen.add(consumer.name, arrival.headers, arrival.body)
            self.returned.add(consumer.name)

    def _return(self, consumer: Consumer, channel: Channel, arrival: Arrival) -> None:
        consumer.acks.drop(arrival.tag)
        consumer.prefetch.out -= 1
        channel.basic_nack(arrival.tag, requeue=True)
        self._dirty.add(consumer)

    def forget(self, consumer: Consumer) -> int:
        """The consumer's channel is gone, and what was out comes again; return how much that was."""
        lost = {tag: held.arrival for tag, held in self.held.items() if held.consumer is consumer}
        for tag in lost:
            del self.held[tag]
            self._stale.add(tag)
        consumer.rewind([*lost.values(), *(arrival for _, arrival in consumer.buffer)])
        consumer.reset()
        self._surplus.discard(consumer)
        self._dirty.discard(consumer)
        return len(lost)

    def drop(self, tag: int) -> None:
        """A settlement comes for a delivery whose channel is gone: it must reach no other."""
        if tag not in self._stale:
            return
        self._stale.remove(tag)
        if not self._dropped:
            self._loop.call_later(TOGETHER, self._tell)
        self._dropped += 1

    def _tell(self) -> None:
        what = "%d settlements came after the connection of their deliveries was lost, and were dropped"
        log.warning(f"%s: {what}", self._name, self._dropped)
        self._dropped = 0

    def flush(self) -> list[Consumer]:
        """Acknowledge what is done, and give back what waits in vain; return whose state has changed."""
        dirty, self._dirty = self._dirty, set()
        for consumer in dirty:
            if consumer.channel is not None:
                for tag, multiple in consumer.acks.take():
                    consumer.channel.basic_ack(tag, multiple)
        if self._surplus:
            now = self._loop.clock()
            for consumer in [one for one in self._surplus if one.is_shared]:
                if now >= consumer.buffer[0][0] + PATIENCE:
                    self.pause(consumer)
        return list(dirty)

    def timeout(self) -> float | None:
        """Return the seconds until `flush` has something to do, or None."""
        if self._dirty:
            return 0.0
        waiting = [one.buffer[0][0] for one in self._surplus if one.is_shared]
        return max(0.0, min(waiting) + PATIENCE - self._loop.clock()) if waiting else None


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
