"""What operators see of queues, and do with them, whatever the broker."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    """One message of a dead-letter queue, with where it came from and why."""

    id: int
    queue: str  # the dead-letter queue
    origin: str  # the queue that it was taken from
    reason: str
    time: float  # seconds since the epoch
    headers: dict[str, Any]
    body: bytes
    topic: bool = False  # whether `origin` is one


Route = Callable[[DeadLetter], str]  # raises ZocaloError to leave a message where it is


class Inspector(abc.ABC):
    """What operators see and do. One that is not the broker itself may take seconds, in a thread."""

    @abc.abstractmethod
    def queues(self) -> list[QueueInfo]:
        """Return every queue that is known, by name."""

    @abc.abstractmethod
    def dead_letters(self, queue: str, limit: int, after: int = 0) -> list[DeadLetter]:
        """Return up to `limit` messages of a dead-letter queue with an id over `after`, oldest first."""

    @abc.abstractmethod
    def purge(self, queue: str, ids: Sequence[int] | None) -> int:
        """Delete messages of a dead-letter queue, all of them for None; return how many."""

    @abc.abstractmethod
    def reinject(self, queue: str, ids: Sequence[int] | None, destination: str | None) -> int:
        """Move dead letters back to where they came from, or to `destination`; return how many."""

    @abc.abstractmethod
    def drain(self, queue: str, route: Route) -> DeadLetter | None:
        """Move the oldest message of any queue to the one that `route` returns; None if there is none."""
