"""What becomes of a delivery of ActiveMQ: done, put back at once or later, or a dead letter."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from zocalo_daemon.brokers import deadletters
from zocalo_daemon.brokers.activemq_batches import Refusal
from zocalo_daemon.brokers.activemq_consumer import LAST_DELAY, Arrival, Requeues
from zocalo_daemon.brokers.activemq_consumers import Consumers
from zocalo_daemon.brokers.activemq_headers import as_sent
from zocalo_daemon.brokers.activemq_publisher import Publisher
from zocalo_daemon.brokers.base import Kind, Outcome, Publication
from zocalo_daemon.brokers.loop import Loop

log = logging.getLogger(__name__)


class Settling:
    """Settles deliveries.

    Args:
        name: of the transport, for logs.
    """

    def __init__(self, name: str, consumers: Consumers, publisher: Publisher, loop: Loop) -> None:
        self._name, self._consumers, self._publisher, self._loop = name, consumers, publisher, loop
        self._requeues = Requeues()

    def settle(self, arrival: Arrival, outcome: Outcome, reason: str) -> None:
        """Settle a delivery; `reason` goes into the dead letter of a REJECT."""
        _SETTLE[outcome](self, arrival, reason)

    def _accept(self, arrival: Arrival, _reason: str) -> None:
        self._consumers.acknowledge(arrival)

    def _release(self, arrival: Arrival, _reason: str) -> None:
        self._consumers.release(arrival)

    def _forfeit(self, arrival: Arrival, _reason: str) -> None:
        self._consumers.put_back(arrival)

    def _requeue(self, arrival: Arrival, _reason: str) -> None:
        self._park(arrival, self._requeues.delay(arrival.id))

    def _park(self, arrival: Arrival, delay: float) -> None:
        consumer = arrival.consumer
        consumer.parked += 1
        self._consumers.credit(consumer.number, 0)  # what waits here keeps nothing else from coming

        def due() -> None:
            if self._consumers.is_out(arrival):
                consumer.parked -= 1
                self._consumers.put_back(arrival)

        self._loop.call_later(delay, due)

    def _reject(self, arrival: Arrival, reason: str) -> None:
        # Not by NACK: where that leads is a policy of the broker, and the reason would be lost.
        queue = arrival.consumer.name
        headers = deadletters.headers_of(as_sent(arrival.headers), queue, reason or "rejected", time.time())
        headers["original-destination"] = arrival.headers.get("destination", arrival.consumer.destination)

        def buried(refusal: Refusal | None) -> None:
            if not self._consumers.is_out(arrival):
                return
            if refusal is None:
                self._consumers.acknowledge(arrival)
                return
            log.error("%s: no dead letter for '%s': %s; it comes again", self._name, queue, refusal[1])
            self._park(arrival, LAST_DELAY)

        plain = arrival.consumer.source.ignore_namespace
        name = deadletters.PREFIX + queue
        letter = Publication(Kind.QUEUE, name, headers, arrival.body, ignore_namespace=plain)
        self._publisher.publish_all([letter], buried)


_SETTLE: dict[Outcome, Callable[[Settling, Arrival, str], None]] = {
    Outcome.ACCEPT: Settling._accept,
    Outcome.RELEASE: Settling._release,
    Outcome.REQUEUE: Settling._requeue,
    Outcome.FORFEIT: Settling._forfeit,
    Outcome.REJECT: Settling._reject,
}
