"""RabbitMQ as the relay drives it; the parts, from calls to the wire:

rabbitmq_broker      this: the calls of the relay
rabbitmq_consumers   subscriptions; rabbitmq_consumer decides
rabbitmq_intake      deliveries; rabbitmq_window and rabbitmq_requeues decide
rabbitmq_publisher   messages; rabbitmq_lane carries them, rabbitmq_confirms and rabbitmq_delays decide
rabbitmq_browse      operators, by rabbitmq_visit and rabbitmq_management; rabbitmq_clerk asks for the others
rabbitmq_peer        each of the two connections, a peer; hosts decides where and when;
                     rabbitmq_parameters and rabbitmq_reasons translate
rabbitmq             pika, over stream and loop; rabbitmq_wire writes and reads messages

One connection takes messages, the other one sends them, because a broker that is short of memory or disk
stops reading from connections that publish, and acknowledgements must go on. Not `ordered`: a settlement and
a publication travel by different connections, so the ledger holds settlements back until the broker has
confirmed.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from zocalo_daemon.brokers import deadletters
from zocalo_daemon.brokers.base import (
    BrokerStatus,
    Confirmed,
    Event,
    Inspected,
    Kind,
    Outcome,
    Outstanding,
    Publication,
    Refused,
    Settlement,
    Source,
)
from zocalo_daemon.brokers.hosts import Hosts, Troubles
from zocalo_daemon.brokers.inspector import Inspector
from zocalo_daemon.brokers.loop import Loop
from zocalo_daemon.brokers.peer import tls_context
from zocalo_daemon.brokers.rabbitmq_browse import inspect
from zocalo_daemon.brokers.rabbitmq_clerk import Clerk
from zocalo_daemon.brokers.rabbitmq_consumer import Held
from zocalo_daemon.brokers.rabbitmq_consumers import Consumers
from zocalo_daemon.brokers.rabbitmq_headers import from_amqp
from zocalo_daemon.brokers.rabbitmq_intake import Intake
from zocalo_daemon.brokers.rabbitmq_lane import Refusal
from zocalo_daemon.brokers.rabbitmq_parameters import properties_of_arrival
from zocalo_daemon.brokers.rabbitmq_peer import RabbitPeer, status_of
from zocalo_daemon.brokers.rabbitmq_publisher import Publisher
from zocalo_daemon.brokers.rabbitmq_requeues import LAST_DELAY, Requeues

FAREWELL = 3.0  # seconds for what was sent to be confirmed when the relay ends
PARKED_LIMIT = 100  # of a consumer with an explicit prefetch: more than that stay in the queue

log = logging.getLogger(__name__)


class RabbitBroker(Inspected):
    """RabbitMQ.

    Args:
        name: of the transport.
        settings: hosts, vhost, username, password, password_file, heartbeat, tls and management.
        clock: monotonic seconds.
        chance: returns a number from 0 to 1.

    Raises:
        ZocaloError: a file for TLS cannot be used.
    """

    driver = "rabbitmq"

    def __init__(
        self,
        name: str,
        settings: Mapping[str, Any],
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name, self._settings = name, settings
        self._events: list[Event] = []
        self._loop = loop = Loop(clock)
        tls, hosts = tls_context(settings.get("tls")), list(settings["hosts"])
        self._troubles = Troubles()

        make = partial(RabbitPeer, loop, name, settings=settings, tls=tls, troubles=self._troubles)
        self._incoming = make(
            "consume", hosts=Hosts(hosts, chance), on_up=self._incoming_up, on_down=self._incoming_down
        )
        self._outgoing = make(
            "publish", hosts=Hosts(hosts, chance), on_up=self._outgoing_up, on_down=self._outgoing_down
        )
        self._intake = Intake(name, loop, self._events)
        self._clerk = Clerk(self._incoming)
        self._consumers = Consumers(
            name, self._incoming, loop, self._intake, self._clerk, events=self._events
        )
        self._publisher = Publisher(self._outgoing, self._clerk, clock)
        self._requeues = Requeues()

    # -- Life

    def open(self) -> None:
        """Begin to connect."""
        self._incoming.start()
        self._outgoing.start()

    def close(self) -> None:
        """Wait a little for confirmations, send the last acknowledgements, and disconnect."""
        deadline = self._loop.clock() + FAREWELL
        self._flush()
        while self._publisher.unconfirmed and self._outgoing.up and self._loop.clock() < deadline:
            self._loop.turn(0.05)
            self._flush()
        if self._publisher.unconfirmed:
            log.warning("%s: %d messages are not confirmed", self.name, self._publisher.unconfirmed)
        self._incoming.close()
        self._outgoing.close()
        self._loop.close()

    def fileno(self) -> int:
        """Return the descriptor of the loop."""
        return self._loop.fileno()

    def timeout(self) -> float | None:
        """Return the seconds until something is due."""
        if self._events or self._incoming.pending or self._outgoing.pending:
            return 0.0
        times = [self._loop.timeout(), self._intake.timeout()]
        return min((one for one in times if one is not None), default=None)

    def poll(self) -> list[Event]:
        """Write what was called, read what there is, and return what has happened."""
        self._loop.turn()
        self._flush()
        events = list(self._events)
        self._events.clear()
        return events

    def _flush(self) -> None:
        self._consumers.flush()
        self._publisher.flush()
        self._incoming.flush()
        self._outgoing.flush()

    def _incoming_up(self) -> None:
        self._clerk.up()
        self._consumers.up()

    def _incoming_down(self) -> None:
        self._clerk.down()
        self._consumers.down()

    def _outgoing_up(self) -> None:
        self._publisher.flush()

    def _outgoing_down(self) -> None:
        self._publisher.down()

    # -- Calls

    def subscribe(self, consumer: int, source: Source) -> None:
        """Set up a consumer; a queue or exchange that does not exist is not made."""
        self._consumers.subscribe(consumer, source)

    def cancel(self, consumer: int) -> None:
        """End a consumer; its temporary queue ends with it."""
        self._consumers.cancel(consumer)

    def credit(self, consumer: int, count: int) -> None:
        """Change how many deliveries a consumer may have."""
        self._consumers.credit(consumer, count)

    def publish(self, token: int, publication: Publication) -> None:
        """Send a message."""
        self._publisher.publish(publication, partial(self._answer, token))

    def _answer(self, token: int, refusal: Refusal | None) -> None:
        self._events.append(Confirmed(token) if refusal is None else Refused(token, *refusal))

    def commit(
        self, token: int, publications: Sequence[Publication], settlements: Sequence[Settlement]
    ) -> None:
        """Send all of it, and settle once it is confirmed."""
        if any(one.tag not in self._intake.held for one in settlements):
            reason = "the connection to the broker was lost meanwhile, its deliveries come again"
            self._events.append(Refused(token, "failed", reason))
            return

        def done(refusal: Refusal | None) -> None:
            for settlement in settlements if refusal is None else ():
                self.settle(settlement)
            self._answer(token, refusal)

        self._publisher.publish_all(publications, done)

    def settle(self, settlement: Settlement) -> None:
        """Settle a delivery; one of a former connection has gone back already."""
        held = self._intake.held.pop(settlement.tag, None)
        if held is None:
            self._intake.drop(settlement.tag)
        else:
            _SETTLE[settlement.outcome](self, held, settlement.reason)

    def _accept(self, held: Held, _reason: str) -> None:
        self._intake.acknowledge(held)

    def _release(self, held: Held, _reason: str) -> None:
        self._intake.release(held)

    def _put_back(self, held: Held, _reason: str) -> None:
        self._intake.put_back(held)

    def _requeue(self, held: Held, _reason: str) -> None:
        arrival = held.arrival
        self._park(
            held,
            self._requeues.delay(held.consumer.name, arrival.headers, arrival.body, arrival.redelivered),
        )

    def _park(self, held: Held, delay: float) -> None:
        consumer = held.consumer
        consumer.parked += 1
        if consumer.prefetch.fixed and consumer.parked <= PARKED_LIMIT:
            self._intake.restart(consumer)  # what waits here keeps nothing else from coming

        def due() -> None:
            if consumer.channel is held.channel:
                consumer.parked -= 1
                self._intake.put_back(held)

        self._loop.call_later(delay, due)

    def _reject(self, held: Held, reason: str) -> None:
        # Not by basic.nack: what becomes of that is a policy of the queue, and without one the message is
        # lost. So it is sent, and acknowledged once it is safe.
        queue, arrival = held.consumer.name, held.arrival
        headers = deadletters.headers_of(from_amqp(arrival.headers), queue, reason or "rejected", time.time())
        more = properties_of_arrival(arrival.properties)
        letter = Publication(
            Kind.QUEUE,
            deadletters.PREFIX + queue,
            headers,
            arrival.body,
            priority=more.get("priority"),
            properties=more,
        )

        def buried(refusal: Refusal | None) -> None:
            if held.consumer.channel is not held.channel:
                return
            if refusal is None:
                self._intake.acknowledge(held)
                return
            log.error("%s: no dead letter for '%s': %s; it comes again", self.name, queue, refusal[1])
            self._park(held, LAST_DELAY)

        self._publisher.bury(letter, buried)

    # -- What operators see

    def peek(self, tag: int) -> Outstanding | None:
        """Return the message of a delivery that is out."""
        held = self._intake.held.get(tag)
        if held is None:
            return None
        arrival = held.arrival
        return Outstanding(from_amqp(arrival.headers), arrival.body, arrival.redelivered)

    def status(self) -> BrokerStatus:
        """Return the state of the transport."""
        return status_of((self._incoming, self._outgoing), self._troubles)

    def inspector(self) -> Inspector:
        """Return what looks at queues, over a connection of its own."""
        return inspect(
            self.name,
            self._settings,
            host=self._incoming.host,
            known=self._publisher.destinations | {one.name for one in self._consumers if one.is_queue},
            out=Counter(one.name for one in self._consumers for _ in range(one.prefetch.out)),
            complain=lambda line: self._loop.call_soon(partial(log.warning, "%s: %s", self.name, line)),
        )


_SETTLE: dict[Outcome, Callable[[RabbitBroker, Held, str], None]] = {
    Outcome.ACCEPT: RabbitBroker._accept,
    Outcome.RELEASE: RabbitBroker._release,
    Outcome.FORFEIT: RabbitBroker._put_back,
    Outcome.REQUEUE: RabbitBroker._requeue,
    Outcome.REJECT: RabbitBroker._reject,
}
