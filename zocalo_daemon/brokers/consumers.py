"""Who gets the next message of a queue, and the topics (pure: no I/O, clocks are arguments)."""

from __future__ import annotations

import heapq
import logging
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from zocalo_daemon.brokers.base import Publication, Source

# What a topic keeps for a consumer without credit, and for those that ask for its latest messages.
BACKLOG_MESSAGES, BACKLOG_BYTES = 500, 4 * 1024 * 1024
RETAINED_MESSAGES, RETAINED_BYTES = 50, 256 * 1024
MAX_DELAYED = 10_000
MAX_TOPICS = 500  # topics without consumers whose latest messages are kept

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Consumer:
    """A consumer and how many deliveries it may still have."""

    number: int
    source: Source
    place: Any  # its Queue or Topic
    credit: int = 0


class Consumers:
    """The consumers of one queue.

    Those with credit stand in a ring for each priority, the one that has waited longest first. If any is
    exclusive, the first of the exclusive ones gets everything.
    """

    def __init__(self) -> None:
        self._all: list[Consumer] = []
        self._exclusive: list[Consumer] = []
        self._rings: dict[int, deque[Consumer]] = {}  # highest priority first

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Any:
        return iter(list(self._all))

    def add(self, consumer: Consumer) -> None:
        """Take in a consumer that has no credit."""
        self._all.append(consumer)
        if consumer.source.exclusive:
            self._exclusive.append(consumer)
        if consumer.source.priority not in self._rings:
            self._rings[consumer.source.priority] = deque()
            self._rings = dict(sorted(self._rings.items(), reverse=True))

    def remove(self, consumer: Consumer) -> None:
        """Let go of a consumer."""
        self.credit(consumer, -consumer.credit)
        self._all.remove(consumer)
        if consumer.source.exclusive:
            self._exclusive.remove(consumer)

    def credit(self, consumer: Consumer, count: int) -> None:
        """Change the credit of a consumer; it does not fall below 0."""
        before, consumer.credit = consumer.credit, max(0, consumer.credit + count)
        ring = self._rings[consumer.source.priority]
        if consumer.credit and not before:
            ring.append(consumer)
        elif before and not consumer.credit:
            ring.remove(consumer)

    def next(self) -> Consumer | None:
        """Return the consumer that gets the next message, or None; `served` must follow."""
        if self._exclusive:
            first = self._exclusive[0]
            return first if first.credit else None
        for ring in self._rings.values():
            if ring:
                return ring[0]
        return None

    def served(self, consumer: Consumer) -> None:
        """Take one from the credit of a consumer and put it behind its equals."""
        consumer.credit -= 1
        ring = self._rings[consumer.source.priority]
        if ring[0] is consumer:
            if consumer.credit:
                ring.rotate(-1)
            else:
                ring.popleft()
        elif not consumer.credit:  # an exclusive consumer is served wherever it stands
            ring.remove(consumer)


@dataclass(slots=True)
class Notice:
    """A message of a topic; `expires` in seconds of the broker's clock."""

    headers: dict[str, Any]
    body: bytes
    expires: float | None

    @property
    def size(self) -> int:
        """Bytes that it counts for; headers are taken as 32 bytes each."""
        return len(self.body) + 32 * len(self.headers)


class Backlog:
    """Notices in order, the oldest of them dropped when there are too many."""

    def __init__(self, count: int, size: int) -> None:
        self._limits = (count, size)
        self._notices: deque[Notice] = deque()
        self._bytes = 0
        self.dropped = 0

    def append(self, notice: Notice) -> None:
        """Add a notice."""
        self._notices.append(notice)
        self._bytes += notice.size
        count, size = self._limits
        while len(self._notices) > count or (self._bytes > size and len(self._notices) > 1):
            self._bytes -= self._notices.popleft().size
            self.dropped += 1

    def take(self, now: float) -> Notice | None:
        """Remove and return the first notice that has not expired."""
        while self._notices:
            notice = self._notices.popleft()
            self._bytes -= notice.size
            if notice.expires is None or notice.expires > now:
                return notice
        return None

    def all(self) -> list[Notice]:
        """Return what is kept, oldest first."""
        return list(self._notices)


@dataclass(slots=True, eq=False)
class Topic:
    """A topic: everything goes to whoever listens now."""

    name: str
    backlogs: dict[Consumer, Backlog] = field(default_factory=dict)
    retained: Backlog = field(default_factory=lambda: Backlog(RETAINED_MESSAGES, RETAINED_BYTES))

    def add(self, consumer: Consumer) -> None:
        """Take in a consumer, with the latest messages if it asks for them."""
        backlog = self.backlogs[consumer] = Backlog(BACKLOG_MESSAGES, BACKLOG_BYTES)
        if consumer.source.retroactive:
            for notice in self.retained.all():
                backlog.append(notice)

    def remove(self, consumer: Consumer) -> None:
        """Let go of a consumer."""
        self._report(consumer, self.backlogs.pop(consumer))

    def serve(self, now: float) -> Iterator[tuple[Consumer, Notice]]:
        """Yield what consumers with credit get now."""
        for consumer, backlog in self.backlogs.items():
            while consumer.credit and (notice := backlog.take(now)):
                consumer.credit -= 1
                yield consumer, notice
            if consumer.credit:
                self._report(consumer, backlog)

    def _report(self, consumer: Consumer, backlog: Backlog) -> None:
        if backlog.dropped:
            log.warning("consumer %d of %s missed %d broadcasts", consumer.number, self.name, backlog.dropped)
            backlog.dropped = 0


class Topics:
    """The topics by name; the least recently used ones without consumers are forgotten."""

    def __init__(self) -> None:
        self._topics: OrderedDict[str, Topic] = OrderedDict()
        self._delayed: list[tuple[float, int, str, Notice]] = []  # a heap
        self._serial = 0
        self.hot: dict[Topic, None] = {}  # topics in which something may have become deliverable

    def get(self, name: str) -> Topic:
        """Return the topic of that name, new if there is none."""
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(name)
            self._forget()
        self._topics.move_to_end(name)
        return topic

    def publish(self, name: str, notice: Notice) -> None:
        """Hand a notice to every consumer of a topic."""
        topic = self.get(name)
        topic.retained.append(notice)
        for backlog in topic.backlogs.values():
            backlog.append(notice)
        self.hot[topic] = None

    def delay(self, name: str, notice: Notice, due: float) -> None:
        """Publish a notice later, if the daemon still runs then; beyond MAX_DELAYED the last is dropped."""
        self._serial += 1
        heapq.heappush(self._delayed, (due, self._serial, name, notice))
        if len(self._delayed) > MAX_DELAYED:
            log.warning("more than %d delayed broadcasts: one to %s was dropped", MAX_DELAYED, name)
            self._delayed.remove(max(self._delayed))
            heapq.heapify(self._delayed)

    @property
    def next_due(self) -> float | None:
        """When the next delay is over."""
        return self._delayed[0][0] if self._delayed else None

    def publish_due(self, now: float) -> None:
        """Publish the notices whose delay is over."""
        while self._delayed and self._delayed[0][0] <= now:
            _, _, name, notice = heapq.heappop(self._delayed)
            self.publish(name, notice)

    def _forget(self) -> None:
        if len(self._topics) > MAX_TOPICS:
            unused = next((n for n, t in self._topics.items() if not t.backlogs), None)
            if unused is not None:
                del self._topics[unused]


def notice_of(publication: Publication, now: float) -> Notice:
    """Return what a publication to a topic becomes at the time `now`."""
    expires = None if publication.expiration is None else now + publication.expiration
    return Notice(publication.headers, publication.body, expires)
