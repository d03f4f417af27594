"""One transport of the pool: its broker, the deliveries that are out, and who gets what comes back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
    Source,
    Subscribed,
    SubscriptionFailed,
)
from zocalo_daemon.protocol import worker as protocol
from zocalo_daemon.relay.dispatch import Window
from zocalo_daemon.relay.ledger import Action, Ledger
from zocalo_daemon.relay.poison import Poison

if TYPE_CHECKING:
    from zocalo_daemon.relay.session import Session

TOPIC_CREDIT = 1 << 30  # a worker that does not read loses a topic's messages, with a count
RETRY_AFTER = 1.0  # seconds between attempts to settle on a broker that cannot (a full disk)


@dataclass(slots=True, eq=False)
class Consumer:
    """A subscription of a session; `request` waits for its answer, `name` is empty until it stands."""

    number: int
    session: Session
    sub: int
    source: Source
    window: Window
    request: int
    name: str = ""


Answer = Callable[[Confirmed | Refused], None]


class Member:
    """A transport: every call of the sessions that use it goes through here.

    Args:
        name: of the transport.
        broker: its driver, not yet open.
        first: number of the first delivery, unique over all lives of the relay.
        poison: the messages that workers have died of.
    """

    def __init__(self, name: str, broker: Broker, first: int, poison: Poison) -> None:
        self.name = name
        self._poison = poison
        self.broker = broker
        self.ledger = Ledger(first, ordered=broker.ordered)
        self.sessions: dict[int, Session] = {}
        self.touched: set[Consumer] = set()  # whose window may have changed
        self.flushing: set[Session] = set()
        self._consumers: dict[int, Consumer] = {}
        self._numbers = itertools.count(1)
        self._tokens = itertools.count(1)
        self._answers: dict[int, Answer] = {}
        self._retry_at: float | None = None
        self._waiting: dict[Consumer, None] = {}  # more out than in hand: perhaps to be recalled
        self._draining = False

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
            self.cancel(consumer)
            self._consumers.pop(consumer.number, None)

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

    def next_consumer(self) -> int:
        """Return a number for a consumer."""
        return next(self._numbers)

    def subscribe(self, consumer: Consumer) -> None:
        """Set up a consumer."""
        self._consumers[consumer.number] = consumer
        self.broker.subscribe(consumer.number, consumer.source)

    def cancel(self, consumer: Consumer) -> None:
        """End a consumer; what it has out stays out."""
        self.touched.discard(consumer)
        self._waiting.pop(consumer, None)
        if not consumer.window.closed:
            consumer.window.closed = True
            self.broker.cancel(consumer.number)

    def forget(self, consumer: Consumer) -> None:
        """A consumer has ended and has nothing out; what still comes for it goes back."""
        self._consumers.pop(consumer.number, None)

    def drain(self) -> None:
        """Deliver nothing more, and take back what workers have not begun: the relay is about to end."""
        self._draining = True
        self.touched.update(self._consumers.values())
        for consumer in self._consumers.values():
            if consumer.window.out > consumer.window.gate:
                consumer.session.send([protocol.RECALL, consumer.sub])

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
        self._recall(now)
        self._grant()
        self.flushing = {one for one in self.flushing if not one.answer_flushes()}

    def timeout(self, now: float) -> float | None:
        """Return the seconds until `poll` must be called again, or None."""
        ends = [one.window.patience_ends() for one in self._waiting]
        times = [end - now for end in [*ends, self._retry_at] if end is not None]
        broker = self.broker.timeout()
        if broker is not None:
            times.append(broker)
        return max(0.0, min(times)) if times else None

    def _take(self, event: Event, now: float) -> None:
        if isinstance(event, Delivered):
            consumer = self._consumers.get(event.consumer)
            if consumer is not None and not (consumer.window.closed or self._draining):
                if self._poison and consumer.source.kind is not Kind.TOPIC:
                    self._poison.delivered(self.name, consumer.name, event.tag, event.headers, event.body)
                consumer.session.deliver(consumer, event, now)
                if consumer.source.kind is not Kind.TOPIC:
                    self.touched.add(consumer)
            else:
                self.broker.settle(Settlement(event.tag, Outcome.RELEASE))
        elif isinstance(event, Confirmed):
            self._perform(self.ledger.confirm(event.token))
            self._answers.pop(event.token)(event)
        elif isinstance(event, Refused):
            self._perform(self.ledger.refuse(event.token, event.code, event.reason))
            self._answers.pop(event.token)(event)
        elif isinstance(event, Subscribed):
            self._subscribed(event)
        elif isinstance(event, SubscriptionFailed):
            self._failed(event)

    def _subscribed(self, event: Subscribed) -> None:
        consumer = self._consumers.get(event.consumer)
        if consumer is not None:
            consumer.name = event.name
            consumer.session.send([protocol.DONE, consumer.request, event.name])
            if consumer.source.kind is Kind.TOPIC:
                self.broker.credit(consumer.number, TOPIC_CREDIT)
            else:
                self.touched.add(consumer)

    def _failed(self, event: SubscriptionFailed) -> None:
        consumer = self._consumers.pop(event.consumer, None)
        if consumer is None:
            return
        consumer.window.closed = True
        session = consumer.session
        if consumer.name:
            session.send([protocol.CANCELLED, consumer.sub, event.reason])
        else:
            session.consumers.pop(consumer.sub, None)
            session.send([protocol.FAILED, consumer.request, "invalid", event.reason])

    def _grant(self) -> None:
        touched, self.touched = self.touched, set()
        for consumer in touched:
            if consumer.window.closed:
                continue
            paused = consumer.session.channel.is_congested
            if paused:
                self.touched.add(consumer)  # until it reads
            change = consumer.window.change(paused=paused or self._draining)
            if change:
                self.broker.credit(consumer.number, change)
            if consumer.window.patience_ends() is None:
                self._waiting.pop(consumer, None)
            else:
                self._waiting[consumer] = None

    def _recall(self, now: float) -> None:
        for consumer in [one for one in self._waiting if one.window.recall(now)]:
            del self._waiting[consumer]
            self.touched.add(consumer)
            consumer.session.send([protocol.RECALL, consumer.sub])
