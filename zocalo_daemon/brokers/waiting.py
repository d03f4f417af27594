"""A durable queue in memory: what is out, what is at hand, and how much more is on disk.

Ready messages of one rank (9 - priority) form a lane, in the order of their ids. The lane's cursor is the
highest id that has been brought into memory; what is beyond it on disk is only counted. So every ready
message is in exactly one place: in the window (at hand), in `returned` (it was out and came back), or
behind the cursor on disk; and a fetch from the cursor never meets one that is out.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from zocalo_daemon.brokers.consumers import Consumers

WINDOW_MESSAGES = 128
WINDOW_BYTES = 512 * 1024
_LOAD = 32  # returned messages that are read at once


class Reader(Protocol):
    """Where a queue reads its messages from."""

    def fetch(self, queue: int, rank: int, after: int, limit: int) -> Iterator[tuple[Any, ...]]:
        """Yield the parts of ready messages, in the order of Message's fields, by id."""

    def load(self, ids: Sequence[int]) -> list[tuple[Any, ...]]:
        """Return the same of the given ids."""


@dataclass(slots=True)
class Message:
    """A message at hand; `headers` is packed if it comes from the disk."""

    id: int
    deliveries: int
    requeues: int
    expires: float | None
    headers: bytes | dict[str, Any]
    body: bytes
    size: int = 0


@dataclass(slots=True)
class Lease:
    """A delivery that is out.

    Args:
        deliveries: how often it has been delivered, this time included.
        since: when it went out, seconds of the broker's clock.
        marked: whether the disk knows about this delivery.
    """

    id: int
    queue: Queue
    rank: int
    deliveries: int
    requeues: int
    expires: float | None
    since: float
    marked: bool = False


@dataclass(slots=True)
class Lane:
    """Ready messages of one rank."""

    cursor: int = 0
    behind: int = 0
    window: deque[Message] = field(default_factory=deque)
    returned: list[int] = field(default_factory=list)  # a heap


class Queue:
    """One durable or temporary queue."""

    def __init__(self, number: int, name: str, temporary: bool = False) -> None:
        self.number = number
        self.name = name
        self.temporary = temporary
        self.gone = False
        self.delayed = 0
        self.out: set[int] = set()
        self.consumers = Consumers()
        self.lanes: dict[int, Lane] = {}  # lowest rank first
        self._bytes = 0

    @property
    def ready(self) -> int:
        """Messages that a consumer could have now."""
        return sum(lane.behind + len(lane.window) + len(lane.returned) for lane in self.lanes.values())

    @property
    def dead_letters(self) -> bool:
        """Whether this is the dead-letter queue of another queue."""
        return self.name.startswith("dlq.")

    def lane(self, rank: int) -> Lane:
        """Return the lane of a rank."""
        lane = self.lanes.get(rank)
        if lane is None:
            lane = self.lanes[rank] = Lane()
            self.lanes = dict(sorted(self.lanes.items()))
        return lane

    # -- In: ids of one rank must come in their order

    def admit(self, rank: int, number: int, message: Message | None) -> None:
        """Take note of a message that has become ready at the end of its lane.

        Args:
            message: the message itself if it is in memory anyway; it is kept if there is a use for it soon.
        """
        lane = self.lane(rank)
        if (
            message is None
            or lane.behind
            or not len(self.consumers)
            or len(lane.window) >= WINDOW_MESSAGES
            or self._bytes + message.size > WINDOW_BYTES
        ):
            lane.behind += 1
            return
        lane.cursor = number
        lane.window.append(message)
        self._bytes += message.size

    def give_back(self, rank: int, number: int) -> None:
        """Take note of a message that is ready again, in its old place."""
        lane = self.lane(rank)
        if number > lane.cursor:
            lane.behind += 1
        else:
            heapq.heappush(lane.returned, number)

    # -- Out

    def take(self, reader: Reader) -> tuple[int, Message] | None:
        """Remove and return the first ready message with its rank, or None."""
        for rank, lane in self.lanes.items():
            if lane.returned and (not lane.window or lane.returned[0] < lane.window[0].id):
                self._load(lane, reader)
            if not lane.window and lane.behind:
                self._refill(rank, lane, reader)
            if lane.window:
                message = lane.window.popleft()
                self._bytes -= message.size
                return rank, message
        return None

    def _load(self, lane: Lane, reader: Reader) -> None:
        limit = lane.window[0].id if lane.window else lane.cursor + 1
        ids: list[int] = []
        while lane.returned and lane.returned[0] < limit and len(ids) < _LOAD:
            ids.append(heapq.heappop(lane.returned))
        try:
            rows = reader.load(ids)
        except BaseException:
            lane.returned = ids + lane.returned  # lowest first, so that it is still a heap
            raise
        for parts in reversed(rows):
            lane.window.appendleft(self._at_hand(parts))

    def _refill(self, rank: int, lane: Lane, reader: Reader) -> None:
        fetched = 0
        for parts in reader.fetch(self.number, rank, lane.cursor, WINDOW_MESSAGES):
            message = self._at_hand(parts)
            lane.window.append(message)
            lane.cursor = message.id
            fetched += 1
            if self._bytes >= WINDOW_BYTES:
                break
        # A count that promises more than there is would make every later look-up come here in vain.
        lane.behind = lane.behind - fetched if fetched else 0

    def _at_hand(self, parts: tuple[Any, ...]) -> Message:
        message = Message(*parts)
        message.size = len(message.headers) + len(message.body)
        self._bytes += message.size
        return message

    # -- Messages that vanish

    def forget(self, rank: int, number: int) -> bool:
        """Take a ready message out of the counts; return False if it is none (it is out, or gone)."""
        lane = self.lane(rank)
        if number > lane.cursor:
            lane.behind -= 1
            return True
        if number in lane.returned:
            lane.returned.remove(number)
            heapq.heapify(lane.returned)
            return True
        for message in lane.window:
            if message.id == number:
                lane.window.remove(message)
                self._bytes -= message.size
                return True
        return False
