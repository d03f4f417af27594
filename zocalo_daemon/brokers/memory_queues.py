"""What the memory broker is made of: messages, queues and their consumers (pure)."""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from zocalo_daemon.brokers.base import Delivered, Kind, Publication, Source
from zocalo_daemon.brokers.deadletters import PREFIX, headers_of, origin_of
from zocalo_daemon.brokers.inspector import DeadLetter


@dataclass(slots=True)
class Message:
    """A message; `expires` in seconds of the broker's clock, `dead_since` since the epoch."""

    number: int
    queue: str
    publication: Publication
    expires: float | None
    redelivered: bool = False
    requeues: int = 0
    reason: str = ""
    dead_since: float = 0.0

    @property
    def rank(self) -> tuple[int, int]:
        """What comes first has the lower rank."""
        return (self.publication.rank, self.number)


@dataclass(slots=True)
class Consumer:
    """A consumer and how many deliveries it may still have."""

    number: int
    source: Source
    queue: str
    credit: int = 0


@dataclass(slots=True)
class Queue:
    """A queue: what is ready, what waits for its time, who takes from it, and how many are out."""

    name: str
    temporary: bool = False
    ready: list[tuple[tuple[int, int], Message]] = field(default_factory=list)
    delayed: list[tuple[float, int, Message]] = field(default_factory=list)
    consumers: list[Consumer] = field(default_factory=list)
    out: int = 0

    def add(self, message: Message) -> None:
        """Make a message ready, in its place by rank."""
        heapq.heappush(self.ready, (message.rank, message))

    def delay(self, message: Message, due: float) -> None:
        """Make a message wait."""
        heapq.heappush(self.delayed, (due, message.number, message))

    def take_due(self, now: float) -> bool:
        """Make ready what has waited long enough; say whether there was any."""
        found = False
        while self.delayed and self.delayed[0][0] <= now:
            self.add(heapq.heappop(self.delayed)[2])
            found = True
        return found

    def pick(self, ids: Sequence[int] | None) -> list[Message]:
        """Take ready messages out by their numbers, all of them for None."""
        wanted = None if ids is None else set(ids)
        picked = [m for _, m in self.ready if wanted is None or m.number in wanted]
        gone = {m.number for m in picked}
        self.ready = [item for item in self.ready if item[1].number not in gone]
        heapq.heapify(self.ready)
        return picked


def is_temporary(name: str) -> bool:
    """Say whether a name is one that `temporary_name` has made."""
    return fnmatchcase(name, "transient.*.????????-????-????-????-????????????")


def temporary_name(hint: str) -> str:
    """Return a name that no other temporary queue has."""
    # A transport that comes back to a new relay asks for the name it had, because others answer to it.
    if is_temporary(hint):
        return hint
    return f"transient.{hint.removeprefix('transient.') or 'reply'}.{uuid.uuid4()}"


def next_consumer(queue: Queue) -> Consumer | None:
    """Return who gets the next message, or None.

    The consumer that is exclusive (the first of them) takes all; else the highest priority with credit, in
    turn among equals: whoever was served goes behind its equals.
    """
    exclusive = next((one for one in queue.consumers if one.source.exclusive), None)
    if exclusive is not None:
        return exclusive if exclusive.credit > 0 else None
    found = next((one for one in queue.consumers if one.credit > 0), None)
    if found is not None:
        queue.consumers.remove(found)
        queue.consumers.append(found)
        queue.consumers.sort(key=lambda one: -one.source.priority)
    return found


def delivered(consumer: Consumer, message: Message) -> Delivered:
    """Return the event of a delivery."""
    publication = message.publication
    return Delivered(
        consumer.number,
        message.number,
        publication.headers,
        publication.body,
        message.redelivered,
        "" if publication.kind is Kind.TOPIC else message.queue,
        publication.destination if publication.kind is Kind.TOPIC else "",
    )


def dead(publication: Publication, queue: str, when: float, reason: str) -> Publication:
    """Return what goes to the dead-letter queue of `queue`."""
    headers = headers_of(publication.headers, queue, reason, when)
    return Publication(Kind.QUEUE, PREFIX + queue, headers, publication.body)


def dead_letter(queue: str, message: Message) -> DeadLetter:
    """Return what operators see of a dead letter."""
    return DeadLetter(
        message.number,
        queue,
        origin_of(message.publication.headers, queue),
        message.reason,
        message.dead_since,
        message.publication.headers,
        message.publication.body,
    )
