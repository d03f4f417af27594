"""The embedded broker: durable queues in SQLite, for one machine and one process.

Everything that was called since the last `poll` becomes one transaction, so that all of it shares the cost
of one fsync (group commit). A thread would gain little: with 30 messages in a commit it is 10 to 30 µs each.

`ordered`: a batch that fails, fails wholly. A publication that is refused by itself (to a temporary queue
that is gone, say) fails the settlements and units of the batch that were called after it, so that none of
them outlives it; their deliveries are still out and can be settled again.

Times that must survive a restart are stored as seconds since the epoch: the wall clock when the broker was
opened plus the monotonic clock since. A jump of the wall clock changes nothing while the broker runs.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from zocalo_daemon.brokers.base import (
    Broker,
    BrokerStatus,
    Confirmed,
    Event,
    Outstanding,
    Publication,
    Refused,
    Settlement,
    SettlementFailed,
    Source,
    SubscriptionFailed,
)
from zocalo_daemon.brokers.batch import Batch, State
from zocalo_daemon.brokers.browse import Browser
from zocalo_daemon.brokers.database import is_full
from zocalo_daemon.brokers.deliveries import Deliveries
from zocalo_daemon.brokers.housekeeping import Housekeeping
from zocalo_daemon.brokers.inspector import DeadLetter, QueueInfo, Route
from zocalo_daemon.brokers.planning import Planner
from zocalo_daemon.brokers.store import Store
from zocalo_daemon.errors import Unavailable, ZocaloError

RESERVE = 20 * 1024 * 1024  # bytes set aside for settlements on a full disk
PROBE_INTERVAL = 1.0  # seconds between attempts after a failure

log = logging.getLogger(__name__)


class EmbeddedBroker(Broker):
    """Durable queues, topics and temporary queues.

    Args:
        name: of the transport, for logs.
        directory: where the database is; made if need be. One process at a time may use it.
        clock: monotonic seconds.
        wall: seconds since the epoch, read once, by `open`.
        reserve: bytes of disk set aside so that settlements go on when the disk is full.
    """

    driver = "embedded"
    ordered = True

    def __init__(
        self,
        name: str,
        directory: Path,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        reserve: int = RESERVE,
    ) -> None:
        self.name = name
        self._directory = directory
        self._clock = clock
        self._wall = wall
        self._offset = 0.0
        self._store = Store(directory, reserve)
        self._state = State()
        self._planner = Planner(self._state, self._store)
        self._browser = Browser(self._state, self._store, self._planner)
        self._housekeeping = Housekeeping(self._state, self._store)
        self._calls: list[tuple[Any, ...]] = []  # (method of the same name with an underscore, arguments)
        self._events: list[Event] = []
        self._deliveries = Deliveries(self._state, self._store, self._housekeeping, self._events)
        self._failure = ""  # of the last transaction
        self._retry_at = 0.0  # no housekeeping before

    # -- Life

    def open(self) -> None:
        """Open the database and learn what waits in it.

        Raises:
            ZocaloError: the directory or the database cannot be used.
        """
        self._store.open()
        self._offset = self._wall() - self._clock()
        try:
            self._state.load(self._store)
        except sqlite3.Error as e:
            self._store.close()
            raise ZocaloError(self._store.explain(e)) from None
        if not self._store.take_reserve():
            self._state.full = f"the disk with {self._directory} is full"

    def close(self) -> None:
        """Finish what was called, take back what is out as if it had never left, and close the database."""
        self._carry_out()
        batch = Batch(self._now())
        batch.marks = [(x.deliveries - 1, x.id) for x in self._state.leases.values() if x.marked]
        try:
            batch.write(self._store)
        except sqlite3.Error as e:
            log.warning("%s: deliveries that were out will come back as redelivered: %s", self.name, e)
        self._store.close()

    def timeout(self) -> float | None:
        """Return the seconds until something is due."""
        if self._calls or self._events:
            return 0.0
        now = self._now()
        if self._state.full or self._failure:
            return max(0.0, self._retry_at - now)
        if self._deliveries.doomed or self._state.hot or self._state.topics.hot:
            return 0.0
        due = self._housekeeping.next()
        # A millisecond late rather than a hair's breadth too early, and again at once.
        return None if due is None else max(0.0, due - now + 0.001)

    def poll(self) -> list[Event]:
        """Commit what was called, hand out what can be, and return what has happened."""
        self._carry_out()
        try:
            self._deliveries.dispatch(self._now())
        except sqlite3.Error as e:
            self._note_failure(e)
        events, self._events[:] = list(self._events), []
        return events

    def _now(self) -> float:
        return self._clock() + self._offset

    # -- Calls

    def subscribe(self, consumer: int, source: Source) -> None:
        """Set up a consumer; the queue is made on first use."""
        self._calls.append((self._deliveries.subscribe, consumer, source))

    def cancel(self, consumer: int) -> None:
        """End a consumer; its temporary queue ends with it."""
        self._calls.append((self._deliveries.follow, self._deliveries.cancel, consumer))

    def credit(self, consumer: int, count: int) -> None:
        """Change how many deliveries a consumer may still have."""
        self._calls.append((self._deliveries.follow, self._deliveries.credit, consumer, count))

    def publish(self, token: int, publication: Publication) -> None:
        """Store a message, or broadcast it."""
        self._calls.append((self._planner.publish, token, publication))

    def settle(self, settlement: Settlement) -> None:
        """Settle a delivery."""
        self._calls.append((self._planner.settle, settlement))

    def commit(
        self, token: int, publications: Sequence[Publication], settlements: Sequence[Settlement]
    ) -> None:
        """Send and settle all of it or nothing."""
        self._calls.append((self._planner.commit, token, publications, settlements))

    def peek(self, tag: int) -> Outstanding | None:
        """Return the message of a delivery that is out, from the disk."""
        return self._deliveries.peek(tag)

    # -- One batch

    def _carry_out(self) -> None:
        calls, self._calls = self._calls, []
        now = self._now()
        idle = bool(self._state.full or self._failure) and now < self._retry_at
        if not calls and idle:
            return
        if not idle:
            self._probe(now)
        batch = Batch(now)
        try:
            for call, *arguments in calls:
                call(batch, *arguments)
            if not idle:
                batch.drops = list(self._deliveries.doomed)
                self._housekeeping.add(batch)
            if batch.writes:
                batch.write(self._store)
        except sqlite3.Error as e:
            self._fail(calls, batch, e)
        else:
            self._succeed(batch)

    def _succeed(self, batch: Batch) -> None:
        self._state.apply(batch)
        del self._deliveries.doomed[: len(batch.drops)]
        self._events += [*batch.events, *map(Confirmed, batch.tokens)]
        for _, follow in batch.follow:
            follow()

    def _fail(self, calls: list[tuple[Any, ...]], batch: Batch, e: sqlite3.Error) -> None:
        self._note_failure(e)
        code = "full" if self._state.full else "failed"
        for queue in batch.queues:
            self._state.forget_queue(queue)
        for call, *arguments in calls:
            if call == self._planner.settle:
                self._events.append(SettlementFailed(arguments[0].tag, self._failure))
            elif call == self._deliveries.subscribe:
                self._events.append(SubscriptionFailed(arguments[0], self._failure))
            elif call == self._deliveries.follow:
                arguments[0](*arguments[1:])
            else:
                self._events.append(Refused(arguments[0], code, self._failure))

    def _note_failure(self, e: sqlite3.Error) -> None:
        before = self._failure
        now = self._now()
        if self._retry_at <= now:  # further failures must not put the next attempt off for ever
            self._retry_at = now + PROBE_INTERVAL
        if is_full(e):
            self._failure = f"the disk with {self._directory} is full or fails ({e})"
            if not self._state.full:
                self._store.give_reserve()
            self._state.full = self._failure
        else:
            self._failure = f"the queues in {self._directory} cannot be written: {e}"
        if not before:
            log.error("%s: %s; trying again every second", self.name, self._failure)

    def _probe(self, now: float) -> None:
        if not (self._state.full or self._failure):
            return
        self._retry_at = now + PROBE_INTERVAL
        if self._state.full and not self._store.take_reserve():
            return
        try:
            self._store.probe()
        except sqlite3.Error as e:
            self._note_failure(e)
            return
        log.warning("%s: messages can be stored again in %s", self.name, self._directory)
        self._state.full = self._failure = ""

    # -- For people

    def status(self) -> BrokerStatus:
        """Return "connected", "full" or "failed"."""
        state = "full" if self._state.full else "failed" if self._failure else "connected"
        return BrokerStatus(state, str(self._directory), self._state.full or self._failure)

    def queues(self) -> list[QueueInfo]:
        """Return every queue by name, from counts in memory."""
        return [
            QueueInfo(name, q.ready, q.delayed, len(q.out), len(q.consumers), q.dead_letters)
            for name, q in sorted(self._state.queues.items())
        ]

    def walk(self, queue: str, after: int = 0) -> Generator[DeadLetter]:
        """Yield dead letters, oldest first; raises ZocaloError as `Browser.walk` does."""
        self._carry_out()
        return self._browser.walk(queue, after)

    def purge(self, queue: str, ids: Sequence[int] | None) -> int:
        """Delete dead letters that are not out with a consumer; raises ZocaloError as `reinject` does."""
        self._carry_out()
        return self._carry_out_all(self._browser.purge(queue, ids, self._now()))

    def reinject(self, queue: str, ids: Sequence[int] | None, destination: str | None) -> int:
        """Move dead letters that are not out with a consumer, up to 10,000 in one transaction.

        Raises ZocaloError: `queue` is no dead-letter queue, or the database cannot be written.
        """
        self._carry_out()
        return self._carry_out_all(self._browser.reinject(queue, ids, destination, self._now()))

    def drain(self, queue: str, route: Route) -> DeadLetter | None:
        """Move the oldest message of a queue; raises ZocaloError if the database cannot be written."""
        self._carry_out()
        found = self._browser.drain(queue, route, self._now())
        return found[0] if found and self._carry_out_all(iter([(found[1], 1)])) else None

    def _carry_out_all(self, batches: Iterator[tuple[Batch, int]]) -> int:
        total = 0
        try:
            for batch, count in batches:
                batch.write(self._store)
                self._succeed(batch)
                total += count
        except sqlite3.Error as e:
            self._note_failure(e)
            raise Unavailable(f"stopped after {total} messages: {self._failure}") from None
        return total
