"""A consumer of RabbitMQ and what it has out; and what to do when the broker ends its channel (pure)."""

from __future__ import annotations

import enum
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from zocalo_daemon.brokers.base import Kind, Source
from zocalo_daemon.brokers.loop import Timer
from zocalo_daemon.brokers.rabbitmq import Channel, Problem
from zocalo_daemon.brokers.rabbitmq_window import Acks, Prefetch
from zocalo_daemon.brokers.rabbitmq_wire import Arrival

OFFSET = "x-stream-offset"
STATIC = 256  # prefetch of a consumer that cannot be started anew without losing its queue or its place
MISSING, REFUSED, LOCKED = 404, 403, 405
ATTEMPTS = 20  # for a temporary queue whose former connection the broker has not missed yet


class Verdict(enum.Enum):
    """What becomes of a consumer whose channel was ended."""

    FAIL = "fail"
    RETRY = "retry"
    STAND_BY = "stand by"


@dataclass(slots=True, eq=False)
class Consumer:
    """A consumer.

    Args:
        name: of its queue, or of its topic.
        channel: that it has now; None without a connection.
        tag: by which the broker knows it; "" while it takes nothing.
        ready: its queue is there.
        starting: the broker has not said yet that it stands.
        announced: the relay knows that it stands.
        cancelled: it only settles what it still has out.
        buffer: what came without credit, each with the time of its coming (seconds).
        parked: how many deliveries wait to be put back.
        seen: something has arrived, so it is known whether its queue is a stream.
        offset: in a stream, the next one to read; None elsewhere.
        stands: called when the broker has taken it on.
    """

    number: int
    source: Source
    prefetch: Prefetch
    name: str
    channel: Channel | None = None
    tag: str = ""
    serial: int = 0
    ready: bool = False
    starting: bool = False
    announced: bool = False
    cancelled: bool = False
    attempts: int = 0
    timer: Timer | None = None
    acks: Acks = field(default_factory=Acks)
    buffer: deque[tuple[float, Arrival]] = field(default_factory=deque)
    parked: int = 0
    seen: bool = False
    offset: int | None = None
    stands: Callable[[], None] = lambda: None

    @property
    def is_static(self) -> bool:
        """Whether its broker's side must not be ended and started again."""
        return self.source.kind is not Kind.QUEUE or self.source.exclusive

    @property
    def may_restart(self) -> bool:
        """Whether it can be started anew without losing its place."""
        return self.seen and not self.is_static

    @property
    def is_shared(self) -> bool:
        """Whether what it does not need should go back to others."""
        return not self.prefetch.fixed and self.offset is None

    def may_take_over(self, other: Consumer) -> bool:
        """Whether it can have a delivery that another one had for nothing.

        One that has seen nothing yet may be a second consumer of a queue that serves one at a time, and a
        fixed prefetch counts at the broker, which does not know who has what.
        """
        return (
            self is not other
            and self.source.kind is other.source.kind is Kind.QUEUE
            and self.name == other.name
            and self.offset is other.offset is None  # of a stream each gets everything
            and self.seen
            and self.prefetch.allowed > 0
            and not (self.cancelled or self.source.exclusive or self.prefetch.fixed)
            and (other.cancelled or not other.prefetch.fixed)
        )

    def is_repeated(self, arrival: Arrival) -> bool:
        """Say whether a message of a stream was here before.

        Two consumers overlap when one replaces the other.
        """
        offset = arrival.headers.get(OFFSET)
        if not isinstance(offset, int):
            return False
        if self.offset is not None and offset < self.offset:
            return True
        self.offset = offset + 1
        return False

    def rewind(self, lost: Sequence[Arrival]) -> None:
        """Go back in a stream to the first of the messages that were not settled."""
        if self.offset is not None:
            self.offset = min([self.offset, *(int(one.headers[OFFSET]) for one in lost)])

    @property
    def is_queue(self) -> bool:
        """Whether `name` is that of a queue."""
        return self.source.kind is not Kind.TOPIC

    def reset(self) -> None:
        """Its channel is gone, and with it what was out."""
        self.channel, self.tag, self.ready, self.starting = None, "", False, False
        self.acks = Acks()
        self.buffer.clear()
        self.parked = 0
        self.prefetch.out = self.prefetch.size = 0

    def arguments(self) -> dict[str, object]:
        """Return the arguments with which it starts."""
        made: dict[str, object] = {}
        if self.source.priority:
            made["x-priority"] = self.source.priority
        if self.offset is not None:
            made[OFFSET] = self.offset
        return made


@dataclass(slots=True, frozen=True)
class Held:
    """A delivery that is out: the consumer that the broker gave it to, and the channel that settles it."""

    consumer: Consumer
    channel: Channel
    arrival: Arrival


def make(number: int, source: Source) -> Consumer:
    """Return a consumer."""
    name = source.name
    if source.kind is Kind.TEMPORARY:
        name = temporary_name(name)
    made = Consumer(number, source, Prefetch(source.prefetch), name)
    if made.is_static and not source.prefetch:
        made.prefetch.fixed = STATIC
    return made


def temporary_name(hint: str) -> str:
    """Return a name that no other temporary queue has.

    A hint that has one comes from a transport that had this queue before: others answer to that name.
    """
    try:
        uuid.UUID(hint[-36:])
    except ValueError:
        return f"transient.{hint.removeprefix('transient.') or 'reply'}.{uuid.uuid4()}"
    return hint


def verdict(consumer: Consumer, problem: Problem) -> Verdict:
    """Return what to do about a channel that the broker has ended.

    A consumer that has stood before comes back as soon as its queue does (somebody may just be declaring it
    anew); one that is new fails at once, so that a wrong name is noticed where it stands.
    """
    code, text = problem
    if code == REFUSED and consumer.source.exclusive and "exclusive" in text:
        return Verdict.STAND_BY
    if code == LOCKED and consumer.source.kind is Kind.TEMPORARY and consumer.attempts < ATTEMPTS:
        return Verdict.RETRY
    return Verdict.RETRY if consumer.announced else Verdict.FAIL


def explain(consumer: Consumer, problem: Problem) -> str:
    """Return why a subscription does not work, for people."""
    code, text = problem
    kind = "exchange" if consumer.source.kind is Kind.TOPIC else "queue"
    if code == MISSING and f"no {kind}" in text:
        advice = "declare it as fanout" if kind == "exchange" else "declare it"
        return f"there is no {kind} '{consumer.name}' on the broker; {advice}, or check the name"
    if code == REFUSED:
        return f"no access to {kind} '{consumer.name}': {text}; check the permissions of that user"
    return f"{kind} '{consumer.name}': {text}"
