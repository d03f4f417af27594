"""ActiveMQ, and other brokers that speak STOMP, as the relay drives them; the parts, from calls to the wire:

activemq_broker      this: the calls of the relay
activemq_consumers   subscriptions and deliveries; activemq_consumer decides
activemq_settling    what becomes of deliveries
activemq_publisher   messages; activemq_batches decides
activemq_browse      operators, by activemq_visit; activemq_statistics reads what the plugin tells
activemq_headers     names and headers
activemq_peer        each of the two connections, a peer; hosts decides where and when
activemq             stomp.py, over stream and loop; activemq_frames cuts frames

One connection takes messages, the other one sends them, because a broker that is short of memory or disk
stops reading from connections that send, and acknowledgements must go on. Not `ordered`: the ledger holds
settlements back until the broker has answered for what was sent before. For the same reason a transaction
of the broker has the messages of a unit and not its acknowledgements. Those follow: ActiveMQ carries out an
acknowledgement within a transaction before the transaction, and could die in between.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from zocalo_daemon.brokers import deadletters
from zocalo_daemon.brokers.activemq_batches import Refusal
from zocalo_daemon.brokers.activemq_browse import inspect, known
from zocalo_daemon.brokers.activemq_consumers import Consumers
from zocalo_daemon.brokers.activemq_frames import Frame
from zocalo_daemon.brokers.activemq_headers import NATIVE_DEAD, Names, as_sent
from zocalo_daemon.brokers.activemq_peer import StompPeer
from zocalo_daemon.brokers.activemq_publisher import Publisher
from zocalo_daemon.brokers.activemq_settling import Settling
from zocalo_daemon.brokers.base import (
    BrokerStatus,
    Confirmed,
    Event,
    Inspected,
    Outstanding,
    Publication,
    Refused,
    Settlement,
    Source,
)
from zocalo_daemon.brokers.hosts import Hosts, Troubles
from zocalo_daemon.brokers.inspector import Inspector
from zocalo_daemon.brokers.loop import Callback, Loop
from zocalo_daemon.brokers.peer import tls_context

FAREWELL = 3.0  # seconds for what was sent to be confirmed when the relay ends

log = logging.getLogger(__name__)


class StompBroker(Inspected):
    """ActiveMQ, or another broker that speaks STOMP 1.2.

    Args:
        name: of the transport.
        settings: hosts, vhost, username, password, password_file, prefix and tls.
        clock: monotonic seconds.
        chance: returns a number from 0 to 1.

    Raises:
        ZocaloError: a file for TLS cannot be used.
    """

    driver = "activemq"

    def __init__(
        self,
        name: str,
        settings: Mapping[str, Any],
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name, self._settings = name, settings
        self._complaint = ""  # of the inspector, said once
        self._events: list[Event] = []
        self._loop = loop = Loop(clock)
        tls, hosts = tls_context(settings.get("tls")), list(settings["hosts"])
        self._troubles = Troubles()
        self._names = names = Names(str(settings.get("prefix") or ""))

        def peer(purpose: str, up: Callback, down: Callback) -> StompPeer:
            places = Hosts(hosts, chance)
            return StompPeer(
                loop,
                name,
                purpose,
                settings=settings,
                tls=tls,
                hosts=places,
                troubles=self._troubles,
                on_up=up,
                on_down=down,
            )

        self._incoming = peer("consume", self._incoming_up, self._incoming_down)
        self._outgoing = peer("publish", self._outgoing_up, self._outgoing_down)
        self._consumers = Consumers(name, self._incoming, loop, names, self._events)
        self._publisher = Publisher(self._outgoing, names, clock, time.time, self._consumers.ended)
        self._settling = Settling(name, self._consumers, self._publisher, loop)
        self._incoming.on_frame, self._outgoing.on_frame = self._take, self._publisher.take

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
        times = [self._loop.timeout(), self._consumers.timeout()]
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
        self._names.dead = NATIVE_DEAD if self._incoming.is_native else deadletters.PREFIX
        self._consumers.up()

    def _incoming_down(self) -> None:
        self._consumers.down()

    def _outgoing_up(self) -> None:
        self._publisher.flush()

    def _outgoing_down(self) -> None:
        self._publisher.down()

    # -- Frames

    def _take(self, frame: Frame) -> None:
        receipt = frame.headers.get("receipt-id", "")
        if frame.command == "MESSAGE":
            self._consumers.arrived(frame)
        elif frame.command == "RECEIPT":
            self._consumers.receipt(receipt)
        elif frame.command == "ERROR":
            reason = frame.headers.get("message", "") or "no reason given"
            self._consumers.refused(receipt, reason)
            if not self._incoming.is_native:  # others end the connection over any error
                self._incoming.drop(reason)
            elif not receipt:
                log.warning("%s: the broker complains: %s", self.name, reason)

    # -- Calls

    def subscribe(self, consumer: int, source: Source) -> None:
        """Set up a consumer; a queue that does not exist is made by the broker."""
        self._consumers.subscribe(consumer, source)

    def cancel(self, consumer: int) -> None:
        """End a consumer."""
        self._consumers.cancel(consumer)

    def credit(self, consumer: int, count: int) -> None:
        """Change how many deliveries a consumer may have."""
        self._consumers.credit(consumer, count)

    def publish(self, token: int, publication: Publication) -> None:
        """Send a message."""
        self._publisher.publish_all([publication], partial(self._answer, token))

    def _answer(self, token: int, refusal: Refusal | None) -> None:
        self._events.append(Confirmed(token) if refusal is None else Refused(token, *refusal))

    def commit(
        self, token: int, publications: Sequence[Publication], settlements: Sequence[Settlement]
    ) -> None:
        """Send all of it in one transaction, and settle once that is confirmed."""
        if any(one.tag not in self._consumers.held for one in settlements):
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
        arrival = self._consumers.held.pop(settlement.tag, None)
        if arrival is not None:
            self._settling.settle(arrival, settlement.outcome, settlement.reason)

    # -- What operators see

    def peek(self, tag: int) -> Outstanding | None:
        """Return the message of a delivery that is out."""
        arrival = self._consumers.held.get(tag)
        if arrival is None:
            return None
        return Outstanding(as_sent(arrival.headers), arrival.body, arrival.redelivered)

    def status(self) -> BrokerStatus:
        """Return the state of the transport."""
        peers = (self._incoming, self._outgoing)
        count = sum(peer.up for peer in peers)
        worst = next((peer for peer in peers if not peer.up), self._outgoing)
        if count < len(peers):
            return BrokerStatus(
                "connecting", worst.host, self._troubles.line(), count, next_attempt=worst.next_attempt
            )
        blocked = self._publisher.is_blocked
        detail = "the broker takes no messages for now: is its memory or disk full?" if blocked else ""
        return BrokerStatus("blocked" if blocked else "connected", worst.host, detail, count)

    def inspector(self) -> Inspector:
        """Return what looks at queues, over a connection of its own."""
        return inspect(
            self.name,
            self._settings,
            host=self._incoming.host,
            known=known(self._publisher.destinations, self._consumers),
            remember=self._publisher.destinations.add,
            complain=lambda line: self._loop.call_soon(partial(self._complain, line)),
        )

    def _complain(self, line: str) -> None:
        if line != self._complaint:
            self._complaint = line
            log.warning("%s: %s", self.name, line)
