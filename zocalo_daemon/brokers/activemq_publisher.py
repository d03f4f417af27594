"""Everything that goes to a STOMP broker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Sequence

from zocalo_daemon.brokers.activemq_batches import Batches, Command, Done, Job, Message, Refusal
from zocalo_daemon.brokers.activemq_frames import Frame
from zocalo_daemon.brokers.activemq_headers import Names, to_stomp
from zocalo_daemon.brokers.activemq_peer import StompPeer
from zocalo_daemon.brokers.base import Kind, Publication

SLOW = 5.0  # seconds without an answer, after which the broker is said to take no messages

log = logging.getLogger(__name__)


class Publisher:
    """Sends, and says of each message what became of it.

    Args:
        wall: seconds since the epoch.
        ended: temporary queues that are no more.

    Attributes:
        destinations: names of queues of the namespace to which something was sent.
    """

    def __init__(
        self,
        peer: StompPeer,
        names: Names,
        clock: Callable[[], float],
        wall: Callable[[], float],
        ended: Container[str],
    ) -> None:
        self._peer, self._names, self._clock, self._wall, self._ended = peer, names, clock, wall, ended
        self._batches = Batches()
        self._answered = 0.0  # when the broker last had nothing to answer, or answered
        self.destinations: set[str] = set()

    @property
    def unconfirmed(self) -> int:
        """How many messages and units nobody knows the end of yet."""
        return len(self._batches)

    @property
    def is_blocked(self) -> bool:
        """Whether the broker lets messages wait: it has no memory or disk left for them."""
        waits = self._peer.up and self._batches.is_on_its_way
        return waits and self._clock() - self._answered > SLOW

    def publish_all(self, publications: Sequence[Publication], done: Done) -> None:
        """Send all of it or nothing."""
        messages: list[Message] = []
        for publication in publications:
            refusal = self._refusal(publication)
            if refusal is not None:
                done(refusal)
                return
            destination = self._names.destination(
                publication.kind, publication.destination, plain=publication.ignore_namespace
            )
            try:
                messages.append((to_stomp(publication, destination, self._wall()), publication.body))
            except ValueError as e:
                done(("invalid", str(e)))
                return
        for publication in publications:
            if publication.kind is not Kind.TOPIC and not publication.ignore_namespace:
                self.destinations.add(publication.destination)
        if messages:
            self._batches.add(Job(messages, done))
        else:
            done(None)

    def _refusal(self, publication: Publication) -> Refusal | None:
        if publication.exchange:
            return "unroutable", f"STOMP knows no exchanges, so there is no exchange '{publication.exchange}'"
        if publication.destination in self._ended:
            return "unroutable", f"the temporary queue '{publication.destination}' is gone"
        return None

    def flush(self) -> None:
        """Send what waits."""
        if self._peer.up:
            if not self._batches.is_on_its_way:
                self._answered = self._clock()
            self._send(self._batches.next(self._peer.is_native))

    def down(self) -> None:
        """The connection is gone."""
        self._refuse(self._batches.lost())

    def take(self, frame: Frame) -> None:
        """Act on a frame of the broker."""
        self._answered = self._clock()
        receipt = frame.headers.get("receipt-id", "")
        if frame.command == "RECEIPT":
            commands, jobs = self._batches.receipt(receipt)
            self._send(commands)
            for job in jobs:
                job.done(None)
        elif frame.command == "ERROR":
            reason = frame.headers.get("message", "") or "no reason given"
            commands, refused = self._batches.error(receipt, reason)
            self._send(commands)
            self._refuse(refused)
            if not self._peer.is_native:
                self._peer.drop(reason)

    def _send(self, commands: Sequence[Command]) -> None:
        for command, headers, body in commands:
            self._peer.send(command, headers, body)

    def _refuse(self, refused: Sequence[tuple[Job, Refusal]]) -> None:
        for job, refusal in refused:
            job.done(refusal)
