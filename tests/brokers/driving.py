"""A broker driven by hand, on clocks that only the test moves."""

from __future__ import annotations

from pathlib import Path

from zocalo_daemon.brokers.base import (
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
)
from zocalo_daemon.brokers.embedded import EmbeddedBroker

START = 1_700_000_000.0  # seconds since the epoch


class Driver:
    """An embedded broker, its clock, and short words for what tests do all the time."""

    def __init__(
        self, directory: Path, now: float = 1000.0, wall: float = START, reserve: int = 4096
    ) -> None:
        self.now = now
        self.wall = wall
        self.broker = EmbeddedBroker("test", directory, lambda: self.now, lambda: self.wall, reserve)
        self.broker.open()
        self.token = 0
        self.names: dict[int, str] = {}
        self.events: list[Event] = []

    def poll(self) -> list[Event]:
        events = self.broker.poll()
        self.events += events
        return events

    def subscribe(self, consumer: int, name: str, credit: int = 0, kind: Kind = Kind.QUEUE, **options) -> str:
        self.broker.subscribe(consumer, Source(kind, name, **options))
        events = self.poll()
        (self.names[consumer],) = [
            e.name for e in events if isinstance(e, Subscribed) and e.consumer == consumer
        ]
        if credit:
            self.broker.credit(consumer, credit)
        return self.names[consumer]

    def send(self, name: str, body: bytes = b"x", kind: Kind = Kind.QUEUE, **options) -> int:
        self.token += 1
        headers = options.pop("headers", {})
        self.broker.publish(self.token, Publication(kind, name, headers, body, **options))
        return self.token

    def stored(self, name: str, body: bytes = b"x", **options) -> None:
        token = self.send(name, body, **options)
        events = self.poll()
        assert Confirmed(token) in events, events

    def deliveries(self) -> list[Delivered]:
        return [e for e in self.poll() if isinstance(e, Delivered)]

    def bodies(self) -> list[bytes]:
        return [d.body for d in self.deliveries()]

    def one(self) -> Delivered:
        (delivery,) = self.deliveries()
        return delivery

    def settle(self, delivery: Delivered, outcome: Outcome = Outcome.ACCEPT, reason: str = "") -> None:
        self.broker.settle(Settlement(delivery.tag, outcome, reason))

    def refusals(self) -> list[Refused]:
        return [e for e in self.poll() if isinstance(e, Refused)]

    def info(self, name: str) -> tuple[int, int, int]:
        """Return (ready, delayed, unsettled)."""
        (q,) = [q for q in self.broker.queues() if q.name == name]
        return q.ready, q.delayed, q.unsettled
