"""A StompBroker that a test drives as the relay does."""

from __future__ import annotations

from tests.brokers.rabbitdriver import Driver
from zocalo_daemon.brokers.activemq_broker import StompBroker


class StompDriver(Driver):
    """The broker, its events, and short words for what tests do all the time."""

    def make(self, settings: dict) -> StompBroker:
        return StompBroker("test", settings, chance=lambda: 0.0)

    def info(self, name: str) -> tuple[int, int]:
        """Return (ready, unsettled) of a queue."""
        found = [one for one in self.broker.queues() if one.name == name]
        return (found[0].ready, found[0].unsettled) if found else (0, 0)
