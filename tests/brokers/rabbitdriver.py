"""A RabbitBroker that a test drives as the relay does."""

from __future__ import annotations

import select
from collections.abc import Callable

from tests.brokers.rabbit import RabbitServer
from tests.waiting import wait_until
from zocalo_daemon.brokers.base import (
    Broker,
    Confirmed,
    Delivered,
    Event,
    Kind,
    Outcome,
    Publication,
    Refused,
    Settlement,
    Source,
    Subscribed,
    SubscriptionFailed,
)
from zocalo_daemon.brokers.rabbitmq_broker import RabbitBroker


class Driver:
    """The broker, its events, and short words for what tests do all the time."""

    def __init__(self, settings: dict) -> None:
        self.broker = self.make(settings)
        self.broker.open()
        self.events: list[Event] = []
        self.token = 0

    def make(self, settings: dict) -> Broker:
        return RabbitBroker("test", settings, chance=lambda: 0.0)

    def turn(self) -> None:
        timeout = self.broker.timeout()
        select.select([self.broker.fileno()], [], [], min(0.05, 0.05 if timeout is None else timeout))
        self.events += self.broker.poll()

    def until(self, condition: Callable[[], object], what: str = "", timeout: float = 20.0) -> object:
        def look() -> object:
            self.turn()
            return condition()

        return wait_until(look, what, timeout, every=0.0)

    def of(self, kind: type) -> list:
        return [one for one in self.events if isinstance(one, kind)]

    def connected(self) -> None:
        self.until(lambda: self.broker.status().state == "connected", "a connection")

    def subscribe(self, consumer: int, name: str, credit: int = 0, kind: Kind = Kind.QUEUE, **more) -> Event:
        self.broker.subscribe(consumer, Source(kind, name, **more))
        wanted = (Subscribed, SubscriptionFailed)
        answer = self.until(
            lambda: [e for e in self.events if isinstance(e, wanted) and e.consumer == consumer]
        )
        if credit:
            self.broker.credit(consumer, credit)
        return answer[0]

    def send(self, name: str, body: bytes = b"x", kind: Kind = Kind.QUEUE, **more) -> int:
        self.token += 1
        self.broker.publish(self.token, Publication(kind, name, more.pop("headers", {}), body, **more))
        return self.token

    def answer(self, token: int) -> Confirmed | Refused:
        found = self.until(
            lambda: [e for e in self.events if isinstance(e, Confirmed | Refused) and e.token == token],
            f"an answer to {token}",
        )
        assert len(found) == 1
        return found[0]

    def deliveries(self, count: int) -> list[Delivered]:
        return self.until(
            lambda: len(self.of(Delivered)) >= count and self.of(Delivered), f"{count} messages"
        )

    def settle(self, delivery: Delivered, outcome: Outcome = Outcome.ACCEPT, reason: str = "") -> None:
        self.broker.settle(Settlement(delivery.tag, outcome, reason))


def ready(rabbit: RabbitServer, queue: str) -> int:
    with rabbit.channel() as channel:
        return channel.queue_declare(queue, passive=True).method.message_count
