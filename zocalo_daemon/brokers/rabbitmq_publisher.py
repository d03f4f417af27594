"""Everything that goes to RabbitMQ: plain, delayed, in units, and to the dead letters."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from zocalo_daemon.brokers import rabbitmq_delays as delays
from zocalo_daemon.brokers.base import Kind, Publication
from zocalo_daemon.brokers.rabbitmq import Problem
from zocalo_daemon.brokers.rabbitmq_clerk import MISSING, Clerk
from zocalo_daemon.brokers.rabbitmq_confirms import Entry
from zocalo_daemon.brokers.rabbitmq_headers import to_amqp
from zocalo_daemon.brokers.rabbitmq_lane import Lane, Refusal, unroutable
from zocalo_daemon.brokers.rabbitmq_parameters import properties_of
from zocalo_daemon.brokers.rabbitmq_peer import RabbitPeer

DELAYED = "delayed"  # the exchange of the delayed-message plugin, by the name that workflows uses
KNOWN_LIMIT = 10_000  # destinations of which is remembered that they exist

Done = Callable[[Refusal | None], None]


class Publisher:
    """Sends, and says of each message what became of it.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, peer: RabbitPeer, clerk: Clerk, clock: Callable[[], float]) -> None:
        self._peer, self._clerk, self._clock = peer, clerk, clock
        self._lanes: dict[str, Lane] = {}
        self._open: dict[Entry, Done] = {}
        self._known: set[tuple[str, str]] = set()  # exchange and key that lead somewhere
        self._bound: set[str] = set()  # queues behind the delayed exchange
        self._declared: dict[str, float] = {}  # delay queue: until when it may be relied on
        self._has_delayed: bool | None = None
        self._units: deque[tuple[Sequence[Publication], Done]] = deque()  # the first one is looked at

    @property
    def unconfirmed(self) -> int:
        """How many messages nobody knows the end of yet."""
        return len(self._open)

    @property
    def destinations(self) -> set[str]:
        """Queues to which something was sent."""
        return {key for exchange, key in self._known if not exchange}

    def flush(self) -> None:
        """Send what waits, if the broker takes it."""
        for lane in self._lanes.values():
            lane.flush()

    def down(self) -> None:
        """The connection is gone; whatever was known may have changed by the next one."""
        self._known.clear()
        self._bound.clear()
        self._declared.clear()
        self._has_delayed = None
        for lane in self._lanes.values():
            lane.down()

    def publish(self, publication: Publication, done: Done) -> None:
        """Send a message."""
        exchange, key = route(publication)
        try:
            if publication.delay > 0:
                self._delay(publication, exchange, key, done)
            else:
                self._send(self._entry(publication, exchange, key), done)
        except ValueError as e:
            done(("invalid", str(e)))

    def publish_all(self, publications: Sequence[Publication], done: Done) -> None:
        """Send all of it, or nothing if some of it would lead nowhere.

        AMQP's own transactions promise no more over several queues, and take ten times as long. What is
        confirmed lately is known to exist; for the rest the broker is asked first.
        """
        self._units.append((publications, done))
        if len(self._units) == 1:
            self._next_unit()

    def _next_unit(self) -> None:
        while self._units:
            publications, done = self._units[0]
            unknown = {route(one): one for one in publications if route(one) not in self._known}
            if unknown:
                self._check(unknown)
                return
            self._units.popleft()
            self._send_all(publications, done)

    def _check(self, unknown: dict[tuple[str, str], Publication]) -> None:
        # Later units wait meanwhile, or they would overtake this one.
        which, publication = next(iter(unknown.items()))

        def answered(problem: Problem | None) -> None:
            if problem is not None and not (problem[0] == MISSING and publication.kind is Kind.TOPIC):
                self._units.popleft()[1](missing(which[0], which[1], problem))
            elif len(unknown) > 1:
                del unknown[which]
                self._check(unknown)
                return
            else:
                self._send_all(*self._units.popleft())
            self._next_unit()

        self._clerk.exists(which[0], which[1], answered)

    def _send_all(self, publications: Sequence[Publication], done: Done) -> None:
        left = len(publications)
        refusal: Refusal | None = None

        def one(problem: Refusal | None) -> None:
            nonlocal left, refusal
            left -= 1
            refusal = refusal or problem
            if not left:
                done(refusal)

        if not publications:
            done(None)
        for publication in publications:
            self.publish(publication, one)

    def _entry(
        self, publication: Publication, exchange: str, key: str, *, headers: dict[str, Any] | None = None
    ) -> Entry:
        expiration = publication.expiration
        properties = properties_of(
            to_amqp(publication.headers if headers is None else headers),
            expiration=None if expiration is None else str(max(0, round(expiration * 1000))),
            priority=publication.priority,
            persistent=publication.persistent,
            more=publication.properties,
        )
        return Entry(exchange, key, publication.body, properties, publication.kind is not Kind.TOPIC)

    def _send(self, entry: Entry, done: Done) -> None:
        self._open[entry] = done
        lane = self._lanes.get(entry.exchange)
        if lane is None:
            lane = Lane(entry.exchange, self._peer, self._clock, self._resolve)
            self._lanes[entry.exchange] = lane
        lane.publish(entry)

    def _resolve(self, entry: Entry, refusal: Refusal | None) -> None:
        where = (entry.exchange, entry.key)
        if refusal is not None:
            self._known.discard(where)
        elif where not in self._known and len(self._known) < KNOWN_LIMIT:
            self._known.add(where)
        self._open.pop(entry)(refusal)

    # -- Delays

    def _delay(self, publication: Publication, exchange: str, key: str, done: Done) -> None:
        if publication.delay > delays.LONGEST:
            days = delays.LONGEST / 86400
            done(("invalid", f"a delay of {publication.delay:g} s is too long, {days:g} days is the limit"))
        elif self._has_delayed is None:
            self._clerk.exists(DELAYED, "", partial(self._learned, publication, exchange, key, done))
        elif self._has_delayed and publication.kind is Kind.QUEUE and not exchange:
            self._delay_by_exchange(publication, key, done)
        else:
            self._delay_by_queue(publication, exchange, key, done)

    def _learned(
        self, publication: Publication, exchange: str, key: str, done: Done, problem: Problem | None
    ) -> None:
        self._has_delayed = problem is None
        self._delay(publication, exchange, key, done)

    def _delay_by_exchange(self, publication: Publication, key: str, done: Done) -> None:
        # What waits in the exchange is dropped in the end if no queue is bound to it, and mandatory does not
        # help: it looks for a queue while the message still waits.
        if key not in self._bound:

            def bound(_: Any, problem: Problem | None) -> None:
                if problem is None:
                    self._bound.add(key)
                    self._delay_by_exchange(publication, key, done)
                elif problem[0] == MISSING:
                    done(missing("", key, problem))
                else:  # not allowed to bind
                    self._delay_by_queue(publication, "", key, done)

            self._clerk.ask(
                lambda channel, answer: channel.queue_bind(
                    key, DELAYED, routing_key=key, callback=lambda _: answer()
                ),
                bound,
            )
            return
        headers = {**publication.headers, "x-delay": max(1, int(publication.delay * 1000))}
        entry = self._entry(publication, DELAYED, key, headers=headers)
        entry.mandatory = False
        self._send(entry, done)

    def _delay_by_queue(self, publication: Publication, exchange: str, key: str, done: Done) -> None:
        if (exchange, key) not in self._known:

            def answered(problem: Problem | None) -> None:
                if problem is not None:
                    nobody = problem[0] == MISSING and publication.kind is Kind.TOPIC
                    done(None if nobody else missing(exchange, key, problem))
                else:
                    self._known.add((exchange, key))
                    self._delay_by_queue(publication, exchange, key, done)

            self._clerk.exists(exchange, key, answered)
            return
        name, arguments = delays.queue_for(delays.milliseconds(publication.delay), exchange, key)
        # It counts from its publication; a time to live would end the waiting instead (docs/ttl).
        entry = self._entry(publication, "", name)
        entry.properties.expiration = None
        self._ensure(name, arguments, partial(self._send_delayed, entry, arguments, done))

    def _send_delayed(
        self, entry: Entry, arguments: dict[str, Any], done: Done, refusal: Refusal | None
    ) -> None:
        if refusal is not None:
            done(refusal)
            return

        def sent(problem: Refusal | None) -> None:
            if problem is None or problem[0] != "unroutable":
                done(problem)
                return
            self._declared.pop(entry.key, None)  # somebody has deleted it meanwhile
            entry.returned = False
            self._ensure(entry.key, arguments, partial(self._send_delayed, entry, arguments, done))

        self._send(entry, sent)

    def _ensure(self, name: str, arguments: dict[str, Any] | None, then: Done) -> None:
        if self._declared.get(name, 0.0) > self._clock():
            then(None)
            return

        def declared(_: Any, problem: Problem | None) -> None:
            if problem is None:
                self._declared[name] = self._clock() + delays.FRESH
                then(None)
            else:
                then(("invalid", f"cannot make the queue '{name}': {problem[1]}"))

        self._clerk.ask(
            lambda channel, answer: channel.ask_queue(name, answer, durable=True, arguments=arguments),
            declared,
        )

    # -- Dead letters

    def bury(self, letter: Publication, done: Done) -> None:
        """Send a message to a dead-letter queue, which is made if there is none."""
        queue = letter.destination

        def sent(refusal: Refusal | None) -> None:
            if refusal is None or refusal[0] != "unroutable":
                done(refusal)
                return
            self._declared.pop(queue, None)
            self._ensure(queue, None, again)

        def again(refusal: Refusal | None) -> None:
            if refusal is not None:
                done(refusal)
            else:
                self._send(self._entry(letter, "", queue), done)

        self._send(self._entry(letter, "", queue), sent)


def route(publication: Publication) -> tuple[str, str]:
    """Return the exchange and routing key of a message."""
    if publication.kind is Kind.TOPIC:
        return publication.destination, ""
    return publication.exchange, publication.destination


def missing(exchange: str, key: str, problem: Problem) -> Refusal:
    """Return the refusal of a message whose destination the broker does not show."""
    if problem[0] != MISSING:
        return "invalid", problem[1]
    if exchange:
        return "unroutable", f"there is no exchange '{exchange}'"
    return "unroutable", unroutable(Entry("", key, b"", None))
