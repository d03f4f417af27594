"""One transport of the pool: its broker, the deliveries that are out, and who gets what comes back."""

from __future__ import annotations

import itertools
import select
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from zocalo_daemon.brokers.base import (
    Broker,
    BrokerStatus,
    Confirmed,
    Delivered,
    Event,
    Kind,
    Outcome,
    Outstanding,
    Publication,
    Refused,
    Settlement,
    SettlementFailed,
    Subscribed,
    SubscriptionFailed,
)
from zocalo_daemon.relay.accounts import Unit
from zocalo_daemon.relay.consumers import Consumers
from zocalo_daemon.relay.ledger import Action, Ledger
from zocalo_daemon.relay.letters import Letters
from zocalo_daemon.relay.poison import Poison
from zocalo_daemon.relay.spool import Spool
from zocalo_daemon.relay.spooling import Answer, Job

if TYPE_CHECKING:
    from zocalo_daemon.relay.session import Session

RETRY_AFTER = 1.0  # seconds between attempts to settle on a broker that cannot (a full disk)
FAREWELL = 2.0  # seconds for what the spool has forwarded to be confirmed when the relay ends


class Member:
    """A transport: every call of the sessions that use it goes through here.

    Args:
        name: of the transport.
        broker: its driver, not yet open.
        numbers: of deliveries, unique over all members and all lives of the relay.
        poison: the messages that workers have died of.
        spool: what waits while the broker is away, for one that can be.
    """

    def __init__(
        self, name: str, broker: Broker, numbers: Iterator[int], poison: Poison, spool: Spool | None = None
    ) -> None:
        self.name = name
        self._poison = poison
        self.broker = broker
        self.ledger = Ledger(numbers, ordered=broker.ordered)
        self.sessions: dict[int, Session] = {}
        self.consumers = Consumers(broker)
        self.flushing: set[Session] = set()
        self._tokens = itertools.count(1)
        self._answers: dict[int, Answer] = {}
        self._retry_at: float | None = None
        self.spool = spool
        # Those that the broker has not.
        self.letters = () if spool is None else tuple(map(Letters, spool.backlogs))

    # -- Life

    def open(self) -> None:
        """Start the broker.

        Raises:
            ZocaloError: it can never work.
        """
        self.broker.open()
        if self.spool is not None:
            self.spool.attach(self._send, self.broker.status)

    def drain(self) -> None:
        """Deliver and forward nothing more: the relay is about to end."""
        self.consumers.drain()
        if self.spool is not None:
            self.spool.stop()

    def close(self) -> None:
        """Finish what was called and stop the broker."""
        if self.spool is None:
            self.broker.close()
            return
        # What is confirmed by now is not sent again by the next relay.
        self.spool.stop()
        deadline = time.monotonic() + FAREWELL
        while self.spool.is_forwarding and (now := time.monotonic()) < deadline:
            descriptor, wait = self.broker.fileno(), self.timeout(now)
            select.select([descriptor] if descriptor is not None else [], [], [], min(0.1, wait or 0.0))
            self.poll(time.monotonic())
        self.broker.close()
        self.spool.close()

    def status(self) -> BrokerStatus:
        """Return the state of the transport."""
        return self.broker.status() if self.spool is None else self.spool.look()

    # -- Sessions

    def enter(self, session: Session) -> None:
        """Take in a session."""
        self.sessions[session.number] = session
        self.ledger.open(session.number)

    def detach(self, session: Session) -> None:
        """End a session, which keeps what it holds until it leaves."""
        self.sessions.pop(session.number, None)
        self.flushing.discard(session)
        for consumer in session.consumers.values():
            self.consumers.cancel(consumer)
            self.consumers.forget(consumer)

    def leave(self, session: Session, begun: int | None = None, reason: str = "") -> None:
        """Forget a session and put back what it holds; `begun` and `reason` as in Ledger.drop."""
        # First the consumers, or what goes back would be delivered to them again.
        self.detach(session)
        gates = {one.number: one.window.gate for one in session.consumers.values()}
        self._perform(self.ledger.drop(session.number, gates, begun, reason))

    def holding(self, session: Session, delivery: int) -> tuple[str, Outstanding] | None:
        """Return the queue and the message of a delivery that a session holds; None if it does not."""
        found = self.ledger.holding(session.number, delivery)
        message = self.broker.peek(found[1]) if found is not None else None
        queues = {one.number: one.name for one in session.consumers.values()}
        return (queues.get(found[0], ""), message) if found is not None and message is not None else None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in a worker's hands, and everything that was sent is confirmed or refused."""
        return not self.ledger.unsettled and not self._answers

    # -- Messages

    def publish(self, session: Session, seq: int, publication: Publication, *, waits: bool) -> None:
        """Send a message for a session."""
        answer = self._answer(session, seq, [publication], waits=waits)
        if waits:
            self._submit([publication], answer, patient=True)
            return
        token = self._expect(answer)
        self.ledger.publish(session.number, token)
        self.broker.publish(token, publication)

    def publish_for(self, publication: Publication, answer: Answer) -> None:
        """Send a message; `answer` is called with what comes of it."""
        self._submit([publication], answer, patient=False)

    def announce(self, publication: Publication, answer: Answer) -> None:
        """Send a message that would be worth nothing later: it is not spooled."""
        self._send([publication], False, answer)

    def _submit(self, publications: Sequence[Publication], answer: Answer, *, patient: bool) -> None:
        if self.spool is None:
            self._send(publications, False, answer)
        else:
            self.spool.submit(Job(publications, answer, patient))

    def _send(self, publications: Sequence[Publication], unit: bool, answer: Answer) -> None:
        token = self._expect(answer)
        if unit:
            self.broker.commit(token, publications, ())
        else:
            self.broker.publish(token, publications[0])

    def commit(
        self,
        session: Session,
        seq: int,
        publications: Sequence[Publication],
        settlements: Sequence[tuple[int, Outcome]],
        *,
        waits: bool,
    ) -> None:
        """Carry out a transaction for a session."""
        answer = self._answer(session, seq, publications, waits=waits)
        spool = self.spool
        if waits and publications and not settlements and spool is not None and spool.takes(patient=True):
            spool.submit(Job(publications, answer, patient=True, unit=True))
            return
        token = self._expect(answer)
        self._perform(self.ledger.unit(session.number, token, publications, settlements))

    def settle(self, session: Session, deliveries: Iterable[int], outcome: Outcome, reason: str = "") -> None:
        """Settle deliveries of a session, now or when the barrier allows it."""
        self._perform(self.ledger.settle(session.number, deliveries, outcome, reason))

    def _expect(self, answer: Answer) -> int:
        token = next(self._tokens)
        self._answers[token] = answer
        return token

    def _answer(
        self, session: Session, seq: int, publications: Sequence[Publication], *, waits: bool
    ) -> Answer:
        size = sum(len(one.body) for one in publications)
        session.unconfirmed += 1
        session.unconfirmed_bytes += size

        def answer(event: Confirmed | Refused) -> None:
            if isinstance(event, Confirmed):
                session.confirmed(seq, size, waits=waits)
            else:
                session.refused(seq, size, event.code, event.reason, waits=waits)

        return answer

    def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Refused):
                self._answers.pop(action.token)(action)
                continue
            watched = self._poison.watched or self.consumers.quarantine.watched
            done = self._noted(action) if watched else action
            if isinstance(done, Settlement):
                self.broker.settle(done)
            else:
                self.broker.commit(done.token, done.publications, done.settlements)

    def _noted(self, action: Settlement | Unit) -> Settlement | Unit:
        if isinstance(action, Unit):
            return replace(action, settlements=[self._noted_one(one) for one in action.settlements])
        return self._noted_one(action)

    def _noted_one(self, settlement: Settlement) -> Settlement:
        self._poison.settled(self.name, settlement)
        return self.consumers.quarantine.settled(settlement)

    # -- The broker

    def poll(self, now: float) -> None:
        """Let the broker work, and pass on what has happened."""
        retried = self._retry_at is not None and now >= self._retry_at
        if retried:
            self._retry_at = None
            self._perform(self.ledger.retry())
        if self.spool is not None:
            self.spool.poll(now)
        events = self.broker.poll()
        # Refusals first: they decide what is done about the settlements that failed with them.
        for event in events:
            if not isinstance(event, SettlementFailed):
                self._take(event, now)
        for event in events:
            if isinstance(event, SettlementFailed):
                self.ledger.fail(event.tag)
        self.ledger.polled()
        if self.ledger.has_failed and self._retry_at is None:
            # At once when a refusal was the reason: what has changed is the outcome.
            self._retry_at = now + (RETRY_AFTER if retried else 0.0)
        self.consumers.recall(now)
        self.consumers.grant()
        self.flushing = {one for one in self.flushing if not one.answer_flushes()}

    def timeout(self, now: float) -> float | None:
        """Return the seconds until `poll` must be called again, or None."""
        ends = (self.consumers.due(), self._retry_at)
        times = [end - now for end in ends if end is not None]
        own = self.spool.timeout(now) if self.spool is not None else None
        times += [one for one in (self.broker.timeout(), own) if one is not None]
        return max(0.0, min(times)) if times else None

    def _take(self, event: Event, now: float) -> None:
        if isinstance(event, Delivered):
            consumer = self.consumers.taker(event.consumer)
            if consumer is not None:
                if self._poison and consumer.source.kind is not Kind.TOPIC:
                    self._poison.delivered(self.name, consumer.name, event.tag, event.headers, event.body)
                if consumer.source.kind is not Kind.TOPIC:
                    self.consumers.touched.add(consumer)
                    if event.redelivered and self.consumers.quarantine.keepers:
                        consumer, event = self.consumers.quarantine.pick(consumer, event)
                consumer.session.deliver(consumer, event, now)
            else:
                self.consumers.astray(event)
        elif isinstance(event, Confirmed):
            self._perform(self.ledger.confirm(event.token))
            self._answers.pop(event.token)(event)
        elif isinstance(event, Refused):
            self._perform(self.ledger.refuse(event.token, event.code, event.reason))
            self._answers.pop(event.token)(event)
        elif isinstance(event, Subscribed):
            self.consumers.subscribed(event)
        elif isinstance(event, SubscriptionFailed):
            self.consumers.failed(event)
