"""The embedded broker's semantics without a disk: for tests of the relay, and as a reference to read.

Queues come into being when something is sent to them or taken from them. A message is leased to its consumer
until it is settled; nothing survives this process. Longer than other files, because a reference is read in
one piece.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence

from zocalo_daemon.brokers.base import (
    Broker,
    BrokerStatus,
    Confirmed,
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
from zocalo_daemon.brokers.deadletters import PREFIX, origin_of
from zocalo_daemon.brokers.inspector import DeadLetter, QueueInfo, Route
from zocalo_daemon.brokers.memory_queues import (
    Consumer,
    Message,
    Queue,
    dead,
    dead_letter,
    delivered,
    is_temporary,
    next_consumer,
    temporary_name,
)

RETAINED = 16  # messages of a topic kept for retroactive consumers
FIRST_REQUEUE_DELAY = 0.1  # seconds; doubles with every requeue
LAST_REQUEUE_DELAY = 60.0  # seconds


class MemoryBroker(Broker):
    """A Broker whose queues live in this process.

    Args:
        name: of the transport.
        clock: monotonic seconds.
        limit: messages over all queues; a publication beyond it is refused as "full".
    """

    driver = "memory"
    ordered = True

    def __init__(
        self, name: str, *, clock: Callable[[], float] = time.monotonic, limit: int = 1_000_000
    ) -> None:
        self.name = name
        self.limit = limit
        self._clock = clock
        self._queues: dict[str, Queue] = {}
        self._topics: dict[str, list[Consumer]] = {}
        self._retained: dict[str, deque[Message]] = {}
        self._consumers: dict[int, Consumer] = {}
        self._later: list[tuple[float, int, Message]] = []  # of topics, by the time they are due
        self._out: dict[int, Message] = {}
        self._seen: dict[str, int] = {}  # client: highest sequence of a publication with an origin
        self._events: list[Event] = []
        self._dirty: set[str] = set()
        self._numbers = itertools.count(1)
        self._stored = 0
        self._refused = False  # since the last poll: no settlement may outlive what was sent before it

    # -- Life

    def open(self) -> None:
        """Nothing to start."""

    def close(self) -> None:
        """Put back everything that is out."""
        for tag in list(self._out):
            self.settle(Settlement(tag, Outcome.RELEASE))

    def timeout(self) -> float | None:
        """Return 0 with something to do, else the seconds until a delayed message is due."""
        if self._events or self._dirty:
            return 0.0
        delayed = [queue.delayed for queue in self._queues.values()]
        due = [one[0][0] for one in [*delayed, self._later] if one]
        return max(0.0, min(due) - self._clock()) if due else None

    def poll(self) -> list[Event]:
        """Deliver what can be delivered and return what has happened."""
        now = self._clock()
        self._refused = False
        while self._later and self._later[0][0] <= now:
            self._spread(heapq.heappop(self._later)[2])
        for queue in list(self._queues.values()):
            if queue.take_due(now):
                self._dirty.add(queue.name)
        dirty, self._dirty = self._dirty, set()
        for name in dirty:
            if name in self._queues:
                self._serve(self._queues[name], now)
        events, self._events = self._events, []
        return events

    # -- Consumers

    def subscribe(self, consumer: int, source: Source) -> None:
        """Set up a consumer; a selector is refused."""
        if source.selector:
            reason = f"the {self.driver} broker knows no selectors; subscribe to a queue of its own instead"
            self._events.append(SubscriptionFailed(consumer, reason))
            return
        name = source.name
        if source.kind is Kind.TEMPORARY:
            name = temporary_name(name)
        made = self._consumers[consumer] = Consumer(consumer, source, name)
        if source.kind is Kind.TOPIC:
            self._topics.setdefault(name, []).append(made)
        else:
            queue = self._queue(name)
            queue.temporary |= source.kind is Kind.TEMPORARY
            queue.consumers.append(made)
            # A stable sort: of equal priority, who came first stands first.
            queue.consumers.sort(key=lambda one: -one.source.priority)
        self._events.append(Subscribed(consumer, name))
        if source.retroactive:
            self._events += [delivered(made, m) for m in self._retained.get(name, ())]

    def cancel(self, consumer: int) -> None:
        """End a consumer; a temporary queue goes with its last one."""
        gone = self._consumers.pop(consumer, None)
        if gone is None:
            return
        if gone.source.kind is Kind.TOPIC:
            self._topics[gone.queue].remove(gone)
            return
        queue = self._queues[gone.queue]
        queue.consumers.remove(gone)
        self._dirty.add(queue.name)
        if queue.temporary and not queue.consumers:
            self._stored -= len(queue.ready) + len(queue.delayed)
            del self._queues[queue.name]

    def credit(self, consumer: int, count: int) -> None:
        """Let a consumer have more deliveries, or take unused credit back."""
        one = self._consumers.get(consumer)
        if one is not None:
            one.credit = max(0, one.credit + count)
            self._dirty.add(one.queue)

    # -- Messages

    def publish(self, token: int, publication: Publication) -> None:
        """Send a message."""
        problem = self._problem([publication])
        if problem is not None:
            self._refuse(token, *problem)
            return
        self._store(publication)
        self._events.append(Confirmed(token))

    def commit(
        self, token: int, publications: Sequence[Publication], settlements: Sequence[Settlement]
    ) -> None:
        """Send and settle all of it or nothing."""
        problem = self._problem(publications)
        if self._refused and settlements:
            problem = ("failed", "a message that was sent before it was refused")
        if problem is not None:
            self._refuse(token, *problem)
            return
        repeated = any(self._repeated(one) for one in publications)
        for one in publications if not repeated else ():
            self._store(one, remember=False)
        for one in publications:
            self._remember(one)
        for settlement in settlements:
            self.settle(settlement)
        self._events.append(Confirmed(token))

    def settle(self, settlement: Settlement) -> None:
        """Settle a delivery; one that is not out is ignored."""
        if self._refused:
            reason = "a message that was sent before it was refused"
            self._events.append(SettlementFailed(settlement.tag, reason))
            return
        message = self._out.pop(settlement.tag, None)
        if message is None:
            return
        queue = self._queues.get(message.queue)
        if queue is None:  # a temporary queue that has ended
            self._stored -= 1
            return
        queue.out -= 1
        _SETTLE[settlement.outcome](self, queue, message, settlement.reason)

    def _accept(self, _queue: Queue, _message: Message, _reason: str) -> None:
        self._stored -= 1

    def _requeue(self, queue: Queue, message: Message, _reason: str) -> None:
        delay = min(LAST_REQUEUE_DELAY, FIRST_REQUEUE_DELAY * 2**message.requeues)
        message.requeues += 1
        message.redelivered = True
        queue.delay(message, self._clock() + delay)

    def _release(self, queue: Queue, message: Message, _reason: str) -> None:
        self._make_ready(queue, message)

    def _forfeit(self, queue: Queue, message: Message, _reason: str) -> None:
        message.redelivered = True
        self._make_ready(queue, message)

    def _reject(self, queue: Queue, message: Message, reason: str) -> None:
        message.queue = PREFIX + queue.name
        message.reason, message.dead_since = reason or "rejected", time.time()
        message.publication = dead(message.publication, queue.name, message.dead_since, message.reason)
        self._make_ready(self._queue(message.queue), message)

    def _refuse(self, token: int, code: str, reason: str) -> None:
        self._refused = True
        self._events.append(Refused(token, code, reason))

    def _problem(self, publications: Sequence[Publication]) -> tuple[str, str] | None:
        for one in publications:
            if one.exchange:
                return "unroutable", f"there is no exchange '{one.exchange}'"
            if not one.destination:
                return "invalid", "a message needs a destination"
            if one.destination not in self._queues and is_temporary(one.destination):
                return "unroutable", f"the temporary queue {one.destination} is gone"
        if self._stored + len(publications) > self.limit:
            return "full", f"transport '{self.name}' holds {self._stored} messages, its limit"
        return None

    def _repeated(self, publication: Publication) -> bool:
        origin = publication.origin
        return origin is not None and self._seen.get(origin[0], -1) >= origin[1]

    def _remember(self, publication: Publication) -> None:
        if publication.origin is not None:
            self._seen[publication.origin[0]] = publication.origin[1]

    def _store(self, publication: Publication, *, remember: bool = True) -> None:
        if remember:
            if self._repeated(publication):
                return
            self._remember(publication)
        now = self._clock()
        expires = None if publication.expiration is None else now + publication.delay + publication.expiration
        message = Message(next(self._numbers), publication.destination, publication, expires)
        if publication.kind is Kind.TOPIC:
            heapq.heappush(self._later, (now + publication.delay, message.number, message))
            return
        self._stored += 1
        queue = self._queue(publication.destination)
        if publication.delay > 0:
            queue.delay(message, now + publication.delay)
        else:
            self._make_ready(queue, message)

    def _spread(self, message: Message) -> None:
        self._retained.setdefault(message.queue, deque(maxlen=RETAINED)).append(message)
        self._events += [delivered(one, message) for one in self._topics.get(message.queue, ())]

    def _queue(self, name: str) -> Queue:
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = Queue(name)
        return queue

    def _make_ready(self, queue: Queue, message: Message) -> None:
        queue.add(message)
        self._dirty.add(queue.name)

    def _serve(self, queue: Queue, now: float) -> None:
        while queue.ready:
            consumer = next_consumer(queue)
            if consumer is None:
                return
            message = heapq.heappop(queue.ready)[1]
            if message.expires is not None and message.expires <= now:
                self._stored -= 1
                continue
            consumer.credit -= 1
            queue.out += 1
            self._out[message.number] = message
            self._events.append(delivered(consumer, message))

    def peek(self, tag: int) -> Outstanding | None:
        """Return the message of a delivery that is out."""
        message = self._out.get(tag)
        if message is None:
            return None
        return Outstanding(message.publication.headers, message.publication.body, message.redelivered)

    # -- What operators see

    def status(self) -> BrokerStatus:
        """Return the state of the transport."""
        return BrokerStatus("full" if self._stored >= self.limit else "connected", "memory", connections=1)

    def queues(self) -> list[QueueInfo]:
        """Return every queue, by name."""
        return [
            QueueInfo(
                queue.name,
                ready=len(queue.ready),
                delayed=len(queue.delayed),
                unsettled=queue.out,
                consumers=len(queue.consumers),
                dead_letters=queue.name.startswith(PREFIX),
            )
            for _, queue in sorted(self._queues.items())
        ]

    def walk(self, queue: str, after: int = 0) -> Generator[DeadLetter]:
        """Yield messages of a dead-letter queue, oldest first."""
        ready = self._queues[queue].ready if queue in self._queues else []
        found = sorted((m for _, m in ready if m.number > after), key=lambda m: m.number)
        yield from (dead_letter(queue, message) for message in found)

    def purge(self, queue: str, ids: Sequence[int] | None) -> int:
        """Delete messages of a dead-letter queue."""
        return len(self._pick(queue, ids))

    def reinject(self, queue: str, ids: Sequence[int] | None, destination: str | None) -> int:
        """Move dead letters back."""
        moved = self._pick(queue, ids)
        for message in moved:
            message.queue = destination or origin_of(message.publication.headers, queue)
            self._stored += 1
            self._make_ready(self._queue(message.queue), message)
        return len(moved)

    def drain(self, queue: str, route: Route) -> DeadLetter | None:
        """Move the oldest message of a queue."""
        ready = self._queues[queue].ready if queue in self._queues else []
        if not ready:
            return None
        message = min(ready)[1]
        letter = dead_letter(queue, message)
        target = route(letter)
        self._pick(queue, [message.number])
        message.queue = target
        self._stored += 1
        self._make_ready(self._queue(target), message)
        return letter

    def _pick(self, name: str, ids: Sequence[int] | None) -> list[Message]:
        queue = self._queues.get(name)
        picked = queue.pick(ids) if queue is not None else []
        self._stored -= len(picked)
        return picked


_SETTLE: dict[Outcome, Callable[[MemoryBroker, Queue, Message, str], None]] = {
    Outcome.ACCEPT: MemoryBroker._accept,
    Outcome.REQUEUE: MemoryBroker._requeue,
    Outcome.RELEASE: MemoryBroker._release,
    Outcome.FORFEIT: MemoryBroker._forfeit,
    Outcome.REJECT: MemoryBroker._reject,
}
