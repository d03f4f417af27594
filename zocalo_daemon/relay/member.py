"""One transport of the pool: its broker, the deliveries that are out, and who gets what comes back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from zocalo_daemon.brokers.base import (
    Broker,
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
from zocalo_daemon.relay.consumers import Consumers
from zocalo_daemon.relay.ledger import Action, Ledger
from zocalo_daemon.relay.poison import Poison

if TYPE_CHECKING:
    from zocalo_daemon.relay.session import Session

RETRY_AFTER = 1.0  # seconds between attempts to settle on a broker that cannot (a full disk)


Answer = Callable[[Confirmed | Refused], None]


class Member:
    """A transport: every call of the sessions that use it goes through here.

    Args:
        name: of the transport.
        broker: its driver, not yet open.
        numbers: of deliveries, unique over all members and all lives of the relay.
        poison: the messages that workers have died of.
    """

    def __init__(self, name: str, broker: Broker, numbers: Iterator[int], poison: Poison) -> None:
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
        token = self._expect(session, seq, [publication], waits=waits)
        if not waits:
            self.ledger.publish(session.number, token)
        self.broker.publish(token, publication)

    def publish_for(self, publication: Publication, answer: Answer) -> None:
        """Send a message; `answer` is called with what comes of it."""
        token = next(self._tokens)
        self._answers[token] = answer
        self.broker.publish(token, publication)

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
        token = self._expect(session, seq, publications, waits=waits)
        self._perform(self.ledger.unit(session.number, token, publications, settlements))

    def settle(self, session: Session, deliveries: Iterable[int], outcome: Outcome) -> None:
        """Settle deliveries of a session, now or when the barrier allows it."""
        self._perform(self.ledger.settle(session.number, deliveries, outcome))

    def _expect(self, session: Session, seq: int, publications: Sequence[Publication], *, waits: bool) -> int:
        token = next(self._tokens)
        size = sum(len(one.body) for one in publications)
        session.unconfirmed += 1
        session.unconfirmed_bytes += size

        def answer(event: Confirmed | Refused) -> None:
            if isinstance(event, Confirmed):
                session.confirmed(seq, size, waits=waits)
            else:
                session.refused(seq, size, event.code, event.reason, waits=waits)

        self._answers[token] = answer
        return token

    def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Refused):
                self._answers.pop(action.token)(action)
                continue
            if self._poison.watched:
                for one in [action] if isinstance(action, Settlement) else action.settlements:
                    self._poison.settled(self.name, one)
            if isinstance(action, Settlement):
                self.broker.settle(action)
            else:
                self.broker.commit(action.token, action.publications, action.settlements)

    # -- The broker

    def poll(self, now: float) -> None:
        """Let the broker work, and pass on what has happened."""
        retried = self._retry_at is not None and now >= self._retry_at
        if retried:
            self._retry_at = None
            self._perform(self.ledger.retry())
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
        broker = self.broker.timeout()
        if broker is not None:
            times.append(broker)
        return max(0.0, min(times)) if times else None

    def _take(self, event: Event, now: float) -> None:
        if isinstance(event, Delivered):
            consumer = self.consumers.taker(event.consumer)
            if consumer is not None:
                if self._poison and consumer.source.kind is not Kind.TOPIC:
                    self._poison.delivered(self.name, consumer.name, event.tag, event.headers, event.body)
                consumer.session.deliver(consumer, event, now)
                if consumer.source.kind is not Kind.TOPIC:
                    self.consumers.touched.add(consumer)
            else:
                self.broker.settle(Settlement(event.tag, Outcome.RELEASE))
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
