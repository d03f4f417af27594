"""What one transport has said: its subscriptions, its deliveries, its open questions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from zocalo_daemon.brokers.base import Delivered, Kind, Outcome
from zocalo_daemon.errors import ProtocolError, ZocaloError
from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.protocol.worker import Frame
from zocalo_daemon.relay import requests
from zocalo_daemon.relay.channel import Channel
from zocalo_daemon.relay.consumers import Consumer
from zocalo_daemon.relay.member import Member

UNCONFIRMED_LIMIT = 4096  # publications, and
UNCONFIRMED_BYTES = 32 * 1024 * 1024  # bytes, after which a transport is not read until some are confirmed


class Session:
    """A connected transport.

    Args:
        number: of the connection.
        channel: its socket.
        pid: of the process that connected.
        enter: finds the member of the pool by its name and the secret of the hello; raises ZocaloError.
        epoch: which life of the relay this is.
        log: takes a level of logging and a line.
        busy: called with this session when there is something to write to it.
    """

    def __init__(
        self,
        number: int,
        channel: Channel,
        pid: int,
        *,
        enter: Callable[..., Member],
        epoch: int,
        log: Callable[[int, str], None],
        busy: Callable[[Session], None],
    ) -> None:
        self.number = number
        self.channel = channel
        self.pid = pid
        self.worker = ""
        self.client = ""
        self.processed = 0
        self.turns = 0  # how often it was read or written, which tells whether anything happens
        self.consumers: dict[int, Consumer] = {}
        self.unconfirmed = 0
        self.unconfirmed_bytes = 0
        self._member: Member | None = None
        self._enter, self._epoch, self._log, self._busy = enter, epoch, log, busy
        self._flushes: list[int] = []
        self._dropped = 0
        self._settled: dict[Consumer, int] = {}

    @property
    def member(self) -> Member:
        """The transport that it uses.

        Raises:
            ProtocolError: it has not said hello.
        """
        if self._member is None:
            raise ProtocolError("the first frame must be HELLO")
        return self._member

    @property
    def name(self) -> str:
        """How log lines call it."""
        return self.worker or f"the script with pid {self.pid}"

    @property
    def is_saturated(self) -> bool:
        """Whether it must not be read for now: back-pressure on who sends faster than the broker stores."""
        return self.unconfirmed > UNCONFIRMED_LIMIT or self.unconfirmed_bytes > UNCONFIRMED_BYTES

    @property
    def held(self) -> int:
        """How many deliveries it has."""
        return self._member.ledger.held(self.number) if self._member is not None else 0

    def handle(self, frames: list[Frame], now: float) -> None:
        """Act on frames.

        Raises:
            ProtocolError: one of them is not allowed.
        """
        self.turns += 1
        try:
            for frame in frames:
                _HANDLERS[frame[0]](self, *frame[1:])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as e:
            raise ProtocolError(
                f"a frame of kind {frame[0]} is not as it should be ({type(e).__name__})"
            ) from None
        settled, self._settled = self._settled, {}
        for consumer, count in settled.items():
            consumer.window.settled(now, count)
            self._forget_if_done(consumer)

    def send(self, frame: Frame) -> None:
        """Have a frame sent after this turn."""
        self.channel.send(frame)
        self._busy(self)

    def leave(self) -> None:
        """The transport is gone: what it held goes back."""
        if self._member is not None:
            self._member.leave(self)
        self.channel.close()

    # -- Frames of the transport

    def _hello(self, version: int, worker: str, _pid: int, client: str, *entry: str) -> None:
        if self._member is not None:
            raise ProtocolError("a second HELLO")
        if version != protocol.VERSION:
            self._refuse(
                f"the relay speaks version {protocol.VERSION} of the worker protocol, "
                f"this transport {version}; restart the worker"
            )
        try:
            self._member = self._enter(*map(str, entry))
        except ZocaloError as e:
            self._refuse(e.message)
        self.worker, self.client = str(worker), str(client)
        self.member.enter(self)
        self.send([protocol.WELCOME, protocol.VERSION, self._epoch])

    def _refuse(self, text: str) -> None:
        self.send([protocol.FAILED, 0, "refused", text])
        self.channel.flush()
        raise ProtocolError(text)

    def _subscribe(self, request: int, sub: int, kind: int, name: str, options: dict[str, Any]) -> None:
        known = self.consumers.get(sub)
        if known is not None:  # asked for again by a transport that came back before it had the answer
            known.request = request
            if known.name:
                self.send([protocol.DONE, request, known.name])
            return
        source = requests.source(kind, name, options)
        self.consumers[sub] = self.member.consumers.subscribe(self, sub, source, request)

    def _unsubscribe(self, request: int, sub: int) -> None:
        consumer = self.consumers.get(sub)
        if consumer is not None and not consumer.window.closed:
            self.member.consumers.cancel(consumer)
            self._forget_if_done(consumer)
        self.send([protocol.DONE, request, None])

    def _send(self, seq: int, wait: bool, publication: list[Any]) -> None:
        made = requests.publication(publication, (self.client, seq) if wait else None)
        self.member.publish(self, seq, made, waits=bool(wait))

    def _ack(self, sub: int, delivery: int, multiple: bool) -> None:
        self._settle(sub, delivery, multiple, Outcome.ACCEPT)

    def _nack(self, sub: int, delivery: int, multiple: bool, requeue: bool | str | None) -> None:
        reason = requeue if isinstance(requeue, str) else ""
        self._settle(sub, delivery, multiple, requests.outcome(requeue), reason)

    def _settle(self, sub: int, delivery: int, multiple: bool, outcome: Outcome, reason: str = "") -> None:
        covered = self._find(sub, delivery, multiple)
        if covered:
            self.member.settle(self, covered, outcome, reason)
            self._count(sub, len(covered), outcome)

    def _find(self, sub: int, delivery: int, multiple: bool) -> list[int]:
        consumer = self.consumers.get(sub)
        covered = (
            self.member.ledger.find(self.number, consumer.number, delivery, bool(multiple))
            if consumer
            else []
        )
        if not covered:
            self._log(
                logging.WARNING,
                f"{self.name} settled the delivery {delivery}, which it does not hold: dropped",
            )
        return covered

    def _count(self, sub: int, count: int, outcome: Outcome) -> None:
        consumer = self.consumers.get(sub)
        if consumer is None or not count:
            return
        self._settled[consumer] = self._settled.get(consumer, 0) + count
        self.member.consumers.touched.add(consumer)
        if outcome is not Outcome.REQUEUE:
            self.processed += count

    def _commit(self, seq: int, wait: bool, publications: list[Any], settlements: list[Any]) -> None:
        origin = (self.client, seq) if wait else None
        made = [requests.publication(one, origin) for one in publications]
        outcomes: dict[int, Outcome] = {}
        late = False
        for kind, sub, delivery, multiple, requeue in settlements:
            outcome = Outcome.ACCEPT if kind == protocol.ACK else requests.outcome(requeue)
            covered = self._find(sub, delivery, multiple)
            late |= not covered
            fresh = [one for one in covered if one not in outcomes]
            outcomes.update(dict.fromkeys(fresh, outcome))
            self._count(sub, len(fresh), outcome)
        if late:
            self._undo(seq, wait, list(outcomes))
        else:
            self.member.commit(self, seq, made, list(outcomes.items()), waits=bool(wait))

    def _undo(self, seq: int, wait: bool, deliveries: list[int]) -> None:
        # One of its deliveries has gone back, so what it did is done again: nothing of it may happen now,
        # and its other deliveries, which the worker has let go of, come again too.
        self.member.settle(self, deliveries, Outcome.FORFEIT)
        if wait:
            text = "a delivery of the transaction is not held any more: nothing of it was done"
            self.send([protocol.REFUSED, seq, "failed", text])

    def _released(self, sub: int, deliveries: list[int]) -> None:
        consumer = self.consumers.get(sub)
        if consumer is None:
            return
        ledger = self.member.ledger
        # Once each: a delivery that is named twice must not be taken out of the ledger twice.
        held = [d for d in dict.fromkeys(deliveries) if ledger.find(self.number, consumer.number, d, False)]
        self.member.settle(self, held, Outcome.RELEASE)
        consumer.window.released(len(held))
        self.member.consumers.touched.add(consumer)
        self._forget_if_done(consumer)

    def _forget_if_done(self, consumer: Consumer) -> None:
        if consumer.window.closed and consumer.window.out <= 0:
            self.consumers.pop(consumer.sub, None)
            self.member.consumers.forget(consumer)

    def _flush(self, request: int) -> None:
        self._flushes.append(request)
        self.member.flushing.add(self)

    # -- To the transport

    def deliver(self, consumer: Consumer, event: Delivered, now: float) -> None:
        """Send a delivery."""
        if consumer.source.kind is Kind.TOPIC:
            if self.channel.is_congested:
                self._dropped += 1
                if self._dropped in (1, 1000, 1000_000):
                    self._log(logging.WARNING, f"{self.name} does not read: broadcasts to it are dropped")
                return
            delivery = self.member.ledger.number()
        else:
            delivery = self.member.ledger.take(self.number, consumer.number, event.tag)
            consumer.window.delivered(now, len(event.body))
        self.send(requests.delivery(consumer.sub, delivery, event))

    def confirmed(self, seq: int, size: int, *, waits: bool) -> None:
        """A publication is safe."""
        self._resolved(size)
        if waits:
            self.send([protocol.CONFIRMED, seq])

    def refused(self, seq: int, size: int, code: str, reason: str, *, waits: bool) -> None:
        """A publication did not happen."""
        self._resolved(size)
        if waits:
            self.send([protocol.REFUSED, seq, code, reason])
        else:
            self._log(logging.WARNING, f"{self.name} sent a message that was refused: {reason}")

    def _resolved(self, size: int) -> None:
        if self.is_saturated:
            self._busy(self)
        self.unconfirmed -= 1
        self.unconfirmed_bytes -= size

    def answer_flushes(self) -> bool:
        """Answer FLUSH if everything before is certain; say whether it was."""
        if self.unconfirmed or not self.member.ledger.is_idle(self.number):
            return False
        for request in self._flushes:
            self.send([protocol.DONE, request, None])
        self._flushes.clear()
        return True


_HANDLERS: dict[int, Callable[..., None]] = {
    protocol.HELLO: Session._hello,
    protocol.SUBSCRIBE: Session._subscribe,
    protocol.UNSUBSCRIBE: Session._unsubscribe,
    protocol.SEND: Session._send,
    protocol.ACK: Session._ack,
    protocol.NACK: Session._nack,
    protocol.COMMIT: Session._commit,
    protocol.RELEASED: Session._released,
    protocol.FLUSH: Session._flush,
}
