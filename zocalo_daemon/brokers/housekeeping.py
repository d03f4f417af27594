"""What the embedded broker does because time has passed: delays, expiry, marks, old senders."""

from __future__ import annotations

import logging
from collections import Counter, deque
from functools import partial
from itertools import takewhile

from zocalo_daemon.brokers.batch import Batch, State
from zocalo_daemon.brokers.store import Store

PORTION = 500  # messages that one batch takes up, so that a flood of them does not hold up the others
MARK_AFTER = 0.05  # seconds; a delivery that is out for longer is known to the disk
_RETURNED = 4096  # messages of a lane that may come back to its head; more go to its end
_SENDER_AGE, _SENDER_INTERVAL = 86400.0, 3600.0  # seconds

log = logging.getLogger(__name__)


class Housekeeping:
    """Adds to a batch what is due; everything is seconds of the broker's clock."""

    def __init__(self, state: State, store: Store) -> None:
        self._state = state
        self._store = store
        self._swept = (0.0, 0)  # (expires, id) up to which expired messages have been dealt with
        self._unmarked: deque[tuple[float, int]] = deque()  # (since, tag)
        self._next_senders = 0.0
        self.expired: list[tuple[str, int]] = []  # (queue, id) found expired on the way to a consumer

    def went_out(self, tag: int, now: float) -> None:
        """Take note of a delivery."""
        self._unmarked.append((now, tag))

    def next(self) -> float | None:
        """Return when there is something to do."""
        while self._unmarked and self._unmarked[0][1] not in self._state.leases:
            self._unmarked.popleft()
        times = [self._state.next_due, self._state.next_expiry, self._state.topics.next_due]
        if self._unmarked:
            times.append(self._unmarked[0][0] + MARK_AFTER)
        if self.expired:
            times.append(0.0)
        return min((t for t in times if t is not None), default=None)

    def add(self, batch: Batch) -> None:
        """Plan what is due."""
        now = batch.now
        if self._state.next_expiry is not None and self._state.next_expiry < now:
            self._add_expired(batch)
        if self._state.next_due is not None and self._state.next_due <= now:
            self._add_due(batch)
        if self.expired:
            self._add_found(batch)
        self._add_marks(batch)
        if self._next_senders <= now and batch.writes:
            batch.forget_senders = now - _SENDER_AGE
            self._next_senders = now + _SENDER_INTERVAL

    def _add_expired(self, batch: Batch) -> None:
        rows = self._store.expired(self._swept, batch.now, PORTION)
        until = (rows[-1][3], rows[-1][0]) if len(rows) == PORTION else (batch.now, 0)
        counts: Counter[str] = Counter()
        for number, place, rank, expires, delayed in rows:
            queue = self._state.numbers.get(place)
            # What is out expires when it comes back; what is of a dropped queue goes with it.
            if queue is None or number in queue.out:
                continue
            batch.deletes.append((number,))
            counts[queue.name] += 1
            if delayed:
                batch.delayed.append((queue, -1, expires))
            else:
                batch.follow.append((False, partial(queue.forget, rank, number)))
        batch.follow.append((False, partial(self._after_sweep, until, counts)))

    def _after_sweep(self, until: tuple[float, int], counts: Counter[str]) -> None:
        self._swept = until
        self._state.next_expiry = self._store.next_expiry(until)
        _report(counts)

    def _add_due(self, batch: Batch) -> None:
        deleted = {number for (number,) in batch.deletes}
        for number, place, rank, requeues, due in self._store.due(batch.now, PORTION):
            queue = self._state.numbers.get(place)
            if queue is None or number in deleted:
                continue
            batch.delayed.append((queue, -1, due))
            if requeues and len(queue.lane(rank).returned) < _RETURNED:
                batch.due.append((number, number))
                batch.back.append((queue, rank, number))
            else:
                new = self._state.new_id()
                batch.due.append((new, number))
                batch.ready.append((queue, rank, new, None))
        batch.follow.append((False, self._find_next_due))

    def _find_next_due(self) -> None:
        self._state.next_due = self._store.next_due()

    def _add_found(self, batch: Batch) -> None:
        found = list(self.expired)
        batch.deletes += [(number,) for _, number in found]
        batch.follow.append((False, partial(self._after_found, len(found))))

    def _after_found(self, count: int) -> None:
        _report(Counter(name for name, _ in self.expired[:count]))
        del self.expired[:count]

    def _add_marks(self, batch: Batch) -> None:
        old = [tag for since, tag in takewhile(lambda u: u[0] <= batch.now - MARK_AFTER, self._unmarked)]
        for tag in old:
            lease = self._state.leases.get(tag)
            if lease is not None and tag not in batch.settled and not lease.queue.gone:
                batch.marks.append((lease.deliveries, lease.id))
                batch.marked.append(lease)
        if old:
            batch.follow.append((False, partial(self._after_marks, len(old))))

    def _after_marks(self, count: int) -> None:
        for _ in range(count):
            self._unmarked.popleft()


def _report(counts: Counter[str]) -> None:
    for queue, count in counts.items():
        log.info("%d messages of %s expired and were dropped", count, queue)
