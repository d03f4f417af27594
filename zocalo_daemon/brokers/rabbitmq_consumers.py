"""The consumers of a transport: each on a channel of its own, set up again whenever that was lost."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

from zocalo_daemon.brokers.base import Event, Kind, Source, Subscribed, SubscriptionFailed
from zocalo_daemon.brokers.loop import Loop
from zocalo_daemon.brokers.rabbitmq import Channel, Problem
from zocalo_daemon.brokers.rabbitmq_clerk import Clerk
from zocalo_daemon.brokers.rabbitmq_consumer import MISSING, Consumer, Verdict, explain, make, verdict
from zocalo_daemon.brokers.rabbitmq_intake import Intake
from zocalo_daemon.brokers.rabbitmq_peer import RabbitPeer

CLOSED = 200  # the code with which we close a channel ourselves
STAND_BY = 1.0  # seconds between attempts to become the exclusive consumer
FIRST_RETRY, LAST_RETRY = 0.5, 30.0  # seconds between attempts after a channel error

log = logging.getLogger(__name__)


class Consumers:
    """All consumers.

    Args:
        name: of the transport, for logs.
        events: where events go.
    """

    def __init__(
        self, name: str, peer: RabbitPeer, loop: Loop, intake: Intake, clerk: Clerk, *, events: list[Event]
    ) -> None:
        self._name, self._peer, self._loop, self._intake = name, peer, loop, intake
        self._clerk, self._events = clerk, events
        self._consumers = intake.consumers
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
        consumer.stands = partial(self._announce, consumer)
        self._open(consumer)

    def cancel(self, number: int) -> None:
        """End a consumer; its channel stays until everything that is out is settled."""
        consumer = self._consumers.get(number)
        if consumer is None or consumer.cancelled:
            return
        consumer.cancelled = True
        if consumer.timer is not None:
            self._loop.cancel(consumer.timer)
        self._intake.pause(consumer)
        if consumer.channel is not None and consumer.source.kind is Kind.TEMPORARY and consumer.ready:
            consumer.channel.queue_delete(consumer.name, callback=lambda _: None)
        self._close_if_done(consumer)

    def credit(self, number: int, count: int) -> None:
        """Change how many deliveries a consumer may have."""
        consumer = self._consumers.get(number)
        if consumer is not None and not consumer.cancelled:
            self._intake.credit(consumer, count)

    def flush(self) -> None:
        """Acknowledge what is done, and give back channels that nobody needs."""
        for consumer in self._intake.flush():
            self._close_if_done(consumer)
        while self._intake.returned:
            self._look_for_others(self._intake.returned.pop())

    def _look_for_others(self, queue: str, *, again: bool = True) -> None:
        # What went back may be in somebody else's hands, and be begun, before it comes here again.
        def counted(answer: Any, _problem: Problem | None) -> None:
            ours = sum(bool(one.tag) for one in self._consumers.values() if one.name == queue)
            if answer is not None and answer[2] <= ours:
                return
            if answer is not None and again:  # it may count one that we have just cancelled
                self._look_for_others(queue, again=False)
            else:
                self._intake.unseen.share(queue)

        self._clerk.ask(lambda channel, done: channel.ask_queue(queue, done, passive=True), counted)

    # -- The connection

    def up(self) -> None:
        """It stands."""
        for consumer in list(self._consumers.values()):
            self._open(consumer)

    def down(self) -> None:
        """It is gone, and what was out comes again."""
        for consumer in list(self._consumers.values()):
            self._lost += self._intake.forget(consumer)
            if consumer.cancelled:
                del self._consumers[consumer.number]
        if self._lost:
            log.warning("%s: %d deliveries were out and will come again", self._name, self._lost)
        self._lost = 0

    # -- A channel

    def _open(self, consumer: Consumer) -> None:
        if self._peer.up and consumer.channel is None and not consumer.cancelled:
            consumer.timer = None
            self._peer.open_channel(partial(self._opened, consumer), partial(self._ended, consumer))

    def _opened(self, consumer: Consumer, channel: Channel) -> None:
        if consumer.cancelled:
            channel.close()
            return
        consumer.channel = channel
        channel.on_arrival = partial(self._intake.arrived, consumer, channel)
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
            self._close_if_done(consumer)
        elif consumer.is_queue:
            self._intake.start(consumer, consumer.prefetch.fixed or 1)
        else:
            self._announce(consumer)

    def _announce(self, consumer: Consumer) -> None:
        if not consumer.announced:
            consumer.announced = True
            self._events.append(Subscribed(consumer.number, consumer.name))

    def _ended(self, consumer: Consumer, problem: Problem) -> None:
        self._lost += self._intake.forget(consumer)
        if problem[0] in (0, CLOSED) or consumer.cancelled or consumer.timer is not None:
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
        consumer.timer = self._loop.call_later(delay, partial(self._open_again, consumer))

    def _open_again(self, consumer: Consumer) -> None:
        consumer.timer = None
        self._open(consumer)

    def _cancelled(self, consumer: Consumer, tag: str) -> None:
        channel = consumer.channel
        if tag == consumer.tag and channel is not None:
            self._ended(consumer, (MISSING, f"no queue '{consumer.name}' any more"))
            channel.close()

    def _close_if_done(self, consumer: Consumer) -> None:
        if not consumer.cancelled or len(consumer.acks):
            return
        self._consumers.pop(consumer.number, None)
        if consumer.channel is not None and consumer.channel.is_open:
            consumer.channel.close()
