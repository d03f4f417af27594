"""What operators see of queues, and do with them, whatever the broker."""

from __future__ import annotations

import abc
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any


@dataclass(slots=True, frozen=True)
class QueueInfo:
    """One queue as `zocaloctl queues` shows it; counts in messages."""

    name: str
    ready: int
    delayed: int
    unsettled: int
    consumers: int
    dead_letters: bool = False


@dataclass(slots=True, frozen=True)
class DeadLetter:
    """One message of a dead-letter queue, with where it came from and why.

    Args:
        properties: what it carries besides headers, by the names of AMQP (basic.properties): priority,
            delivery_mode, content_type and so on; only what is not as usual.
    """

    id: int
    queue: str  # the dead-letter queue
    origin: str  # the queue that it was taken from
    reason: str
    time: float  # seconds since the epoch
    headers: dict[str, Any]
    body: bytes
    topic: bool = False  # whether `origin` is one
    properties: dict[str, Any] = field(default_factory=dict)


Route = Callable[[DeadLetter], str]  # raises ZocaloError to leave a message where it is


class Inspector(abc.ABC):
    """What operators see and do. One that is not the broker itself may take seconds, in a thread."""

    @abc.abstractmethod
    def queues(self) -> list[QueueInfo]:
        """Return every queue that is known, by name."""

    @abc.abstractmethod
    def walk(self, queue: str, after: int = 0) -> Generator[DeadLetter]:
        """Yield the messages of a dead-letter queue behind the one with the id `after`, oldest first.

        They may be large: whoever has seen enough closes it, and no more are read than were asked for.
        """

    def dead_letters(self, queue: str, limit: int, after: int = 0) -> list[DeadLetter]:
        """Return up to `limit` of them."""
        with closing(self.walk(queue, after)) as letters:
            return list(islice(letters, limit))

    @abc.abstractmethod
    def purge(self, queue: str, ids: Sequence[int] | None) -> int:
        """Delete messages of a dead-letter queue, all of them for None; return how many."""

    @abc.abstractmethod
    def reinject(self, queue: str, ids: Sequence[int] | None, destination: str | None) -> int:
        """Move dead letters back to where they came from, or to `destination`; return how many."""

    @abc.abstractmethod
    def drain(self, queue: str, route: Route) -> DeadLetter | None:
        """Move the oldest message of any queue to the one that `route` returns; None if there is none."""
