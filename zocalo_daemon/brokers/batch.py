"""One transaction of the embedded broker: what it writes, and what follows once it is on disk.

Planning fills a batch and changes nothing that is shared but the counter of ids and the table of queues;
`write` puts it on disk; only then `apply` makes it true in memory. A batch that fails is thrown away, and
memory still tells what the disk says.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from zocalo_daemon.brokers.base import Event
from zocalo_daemon.brokers.consumers import Topics
from zocalo_daemon.brokers.store import Store
from zocalo_daemon.brokers.waiting import Lease, Message, Queue

_SENDERS = 2000  # clients whose last sequence number is kept in memory
TEMPORARY_NAME = re.compile(r"transient\..*[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.DOTALL)


@dataclass
class Batch:
    """One transaction; times are seconds of the broker's clock.

    Args:
        now: when it is planned.
        follow: calls to make afterwards, in their order; True marks those to make even if it fails.
        refused: a publication was refused, so no settlement that was called after it may succeed.
    """

    now: float
    # What is written
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    deletes: list[tuple[int]] = field(default_factory=list)
    marks: list[tuple[int, int]] = field(default_factory=list)
    requeues: list[tuple[int, int, float | None, int]] = field(default_factory=list)
    moves: list[tuple[int, int, bytes, int]] = field(default_factory=list)
    due: list[tuple[int, int]] = field(default_factory=list)
    queues: list[Queue] = field(default_factory=list)
    drops: list[Queue] = field(default_factory=list)
    senders: dict[str, int] = field(default_factory=dict)
    forget_senders: float | None = None
    # What follows
    tokens: list[int] = field(default_factory=list)
    settled: dict[int, Lease] = field(default_factory=dict)
    ready: list[tuple[Queue, int, int, Message | None]] = field(default_factory=list)
    back: list[tuple[Queue, int, int]] = field(default_factory=list)
    delayed: list[tuple[Queue, int, float]] = field(default_factory=list)  # change of the count, time
    marked: list[Lease] = field(default_factory=list)
    follow: list[tuple[bool, Callable[[], object]]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    refused: bool = False

    @property
    def writes(self) -> bool:
        """Whether there is anything to write."""
        return bool(
            self.rows or self.deletes or self.marks or self.requeues or self.moves or self.due
            or self.queues or self.drops or self.senders or self.forget_senders is not None
        )  # fmt: skip

    def write(self, store: Store) -> None:
        """Put it on disk.

        Raises:
            sqlite3.Error: nothing of it is there.
        """
        with store.transaction():
            for queue in self.queues:
                store.add_queue(queue.number, queue.name, queue.temporary)
            store.insert(self.rows)
            store.mark(self.marks)
            store.requeue(self.requeues)
            store.move(self.moves)
            store.make_ready(self.due)
            store.delete(self.deletes)
            store.record_senders((client, n, self.now) for client, n in self.senders.items())
            for queue in self.drops:
                store.drop_queue(queue.number)
            if self.forget_senders is not None:
                store.forget_senders(self.forget_senders)


class State:
    """What the embedded broker knows in memory; the disk has the rest."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.numbers: dict[int, Queue] = {}
        self.leases: dict[int, Lease] = {}
        self.topics = Topics()
        self.hot: dict[Queue, None] = {}  # queues in which something may have become deliverable
        self.next_id = 1
        self.next_due: float | None = None
        self.next_expiry: float | None = None
        self.full = ""  # why nothing can be stored
        self._next_number = 1
        self._senders: OrderedDict[str, int] = OrderedDict()

    def load(self, store: Store) -> None:
        """Learn the queues and counts from the disk."""
        for number, name in store.queues():
            self.queues[name] = self.numbers[number] = Queue(number, name)
            self._next_number = max(self._next_number, number + 1)
        for number, rank, delayed, count in store.counts():
            queue = self.numbers[number]
            if delayed:
                queue.delayed += count
            else:
                queue.lane(rank).behind = count
        self.next_id = store.last_id() + 1
        self.next_due = store.next_due()
        self.next_expiry = store.next_expiry()

    def new_id(self) -> int:
        """Return the id of the next message; ids give the order of a queue."""
        number = self.next_id
        self.next_id += 1
        return number

    def queue(self, name: str, batch: Batch, temporary: bool = False) -> Queue | None:
        """Return a queue, new if need be; None for a temporary queue that is gone."""
        queue = self.queues.get(name)
        if queue is None and (temporary or not TEMPORARY_NAME.fullmatch(name)):
            queue = Queue(self._next_number, name, temporary)
            self._next_number += 1
            self.queues[name] = self.numbers[queue.number] = queue
            batch.queues.append(queue)
        return queue

    def forget_queue(self, queue: Queue) -> None:
        """Forget a queue that was never stored, or whose consumer is gone."""
        queue.gone = True
        self.queues.pop(queue.name, None)
        self.numbers.pop(queue.number, None)
        self.hot.pop(queue, None)

    def last_sequence(self, client: str, store: Store) -> int | None:
        """Return the last sequence number that is recorded for a client."""
        if client not in self._senders:
            recorded = store.sequence(client)
            if recorded is None:
                return None
            self.remember_sender(client, recorded)
        return self._senders[client]

    def remember_sender(self, client: str, sequence: int) -> None:
        """Take note of a recorded sequence number."""
        self._senders[client] = sequence
        self._senders.move_to_end(client)
        if len(self._senders) > _SENDERS:
            self._senders.popitem(last=False)

    def apply(self, batch: Batch) -> None:
        """Make a batch that is on disk true in memory."""
        for tag, lease in batch.settled.items():
            del self.leases[tag]
            lease.queue.out.discard(lease.id)
        for lease in batch.marked:
            lease.marked = True
        for queue, change, due in batch.delayed:
            queue.delayed += change
            if change > 0:
                self.next_due = due if self.next_due is None else min(self.next_due, due)
        for queue, rank, number in batch.back:
            queue.give_back(rank, number)
            self.hot[queue] = None
        for queue, rank, number, message in batch.ready:
            queue.admit(rank, number, message)
            self.hot[queue] = None
        for client, sequence in batch.senders.items():
            self.remember_sender(client, sequence)
        for queue in batch.drops:
            self.numbers.pop(queue.number, None)
