"""The entries of a spool: on disk, on their way to the broker, or dead letters.

An entry is forgotten when the broker has confirmed it, so a death in between sends it once more. What the
broker refuses for good becomes a dead letter beside the entries, in one transaction with its end as an entry.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from zocalo_daemon.brokers import spool_store
from zocalo_daemon.brokers.base import (
    Confirmed,
    Delivered,
    Outcome,
    Refused,
    Settlement,
    SettlementFailed,
)
from zocalo_daemon.brokers.spool_store import CONSUMER, SpoolStore
from zocalo_daemon.errors import ZocaloError
from zocalo_daemon.relay import spooling
from zocalo_daemon.relay.accounts import PASSING
from zocalo_daemon.relay.spooling import Answer, Entry, Send

RETRY_AFTER = 1.0  # seconds until what the disk or the broker cannot take now is tried again

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Flight:
    """An entry that the driver had before it was stored: its tag when its turn comes, and how it ended."""

    tag: int = 0
    outcome: Confirmed | Refused | None = None


class Backlog:
    """What is stored for one transport.

    Args:
        name: of the transport, for logs.
        directory: where it is kept; made when something is put there.
        numbers: of entries, unique over all lives of the relay.
        now: seconds since the epoch.
    """

    def __init__(self, name: str, directory: Path, numbers: Iterator[int], now: Callable[[], float]) -> None:
        self._name, self._directory, self.now = name, directory, now
        self.tokens = numbers
        self.store: SpoolStore | None = None
        self._answers: dict[int, Answer] = {}  # by token: not on disk yet
        self._flights: dict[int, _Flight] = {}  # by token
        self._out: dict[int, tuple[Entry, int]] = {}  # by tag: entries whose turn has come, and their size
        self._burials: dict[int, tuple[int, str]] = {}  # token: tag and reason
        self._again: list[Callable[[], None]] = []
        self._retry_at: float | None = None
        self._granted = 0
        self._expired: Counter[str] = Counter()  # in this turn, by destination
        self.send: Send
        self.count = self.size = self.in_flight = 0  # entries, their bytes, and how many the driver has
        self.trouble = ""  # why there is no store

    # -- Life

    def open_if_there(self) -> None:
        """Open what an earlier life has left behind."""
        if self.store is None and spool_store.exists(self._directory):
            self._open()

    def _open(self) -> SpoolStore | None:
        store = SpoolStore(self._name, self._directory)
        try:
            store.open()
            self.count, self.size = store.totals()
        except (ZocaloError, sqlite3.Error) as e:
            reason = e.message if isinstance(e, ZocaloError) else str(e)
            if reason != self.trouble:
                log.error("%s: nothing can be spooled: %s", self._name, reason)
            self.trouble = reason
            return None
        self.store, self.trouble = store, ""
        return store

    def close(self) -> None:
        """Give the store free; what is in it waits for the next life."""
        if self.store is not None:
            self.store.remove()
            self.store = None

    @property
    def waiting(self) -> bool:
        """Whether there is an entry that the driver has not been given."""
        return self.count > self.in_flight

    def oldest(self) -> float | None:
        """Return when the oldest entry was submitted, in seconds since the epoch."""
        if self._out:
            return min(entry.submitted for entry, _ in self._out.values())
        data = self.store.first() if self.store is not None and self.count else None
        return spooling.unpack(data).submitted if data is not None else None

    # -- In

    def put(self, entry: Entry, data: bytes, answer: Answer, *, flying: bool = False) -> int:
        """Store an entry; `answer` is called once it is on disk, or refused.

        Args:
            data: the entry, packed.
            flying: the driver has it already: `resolve` is called with what comes of it.

        Returns:
            Its token, 0 if it is refused already.
        """
        token = next(self.tokens)
        store = self.store or self._open()
        if store is None:
            answer(Refused(token, "full", self.trouble))
            return 0
        self._answers[token] = partial(self._put, len(data), answer)
        if flying:
            self._flights[token] = _Flight()
        self.add(len(data))
        # A unit may have been sent in vain before what is here, so its number says nothing.
        origin = None if entry.unit else entry.publications[0].origin
        store.put(token, data, origin)
        return token

    def add(self, size: int) -> None:
        """Count an entry of `size` bytes."""
        self.count += 1
        self.size += size

    def _put(self, size: int, answer: Answer, event: Confirmed | Refused) -> None:
        if isinstance(event, Refused):
            self._flights.pop(event.token, None)
            self._count_off(size)
        answer(event)

    def resolve(self, token: int, outcome: Confirmed | Refused) -> None:
        """The driver says what came of an entry that it had before."""
        flight = self._flights.get(token)
        if flight is None:
            return
        if flight.tag:
            del self._flights[token]
            self._ended(flight.tag, outcome)
        else:
            flight.outcome = outcome

    # -- The loop

    def poll(self, now: float, *, forward: bool) -> None:
        """Commit what was put, and with `forward` send what is next."""
        store = self.store
        if store is None or not (self.count or self._again or store.timeout() == 0.0):
            return
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            again, self._again = self._again, []
            for call in again:
                call()
        wanted = spooling.in_flight(self.count, self.size) if forward and not self._again else 0
        change = max(0, wanted - len(self._out)) - self._granted
        if change:
            store.credit(CONSUMER, change)
            self._granted += change
        for event in store.poll():
            if isinstance(event, Delivered):
                self._next(event)
            elif isinstance(event, Confirmed | Refused):
                self._stored(event)
            elif isinstance(event, SettlementFailed):
                self._again.append(partial(store.settle, Settlement(event.tag, Outcome.ACCEPT)))
        if self._again and self._retry_at is None:
            self._retry_at = now + RETRY_AFTER
        self._tell_expired()

    def timeout(self, now: float) -> float | None:
        """Return the seconds until `poll` must be called again, or None."""
        times = [] if self._retry_at is None else [max(0.0, self._retry_at - now)]
        due = self.store.timeout() if self.store is not None else None
        return min(times if due is None else [*times, due], default=None)

    def _stored(self, event: Confirmed | Refused) -> None:
        if event.token in self._burials:
            tag, reason = self._burials.pop(event.token)
            if isinstance(event, Refused):
                self._again.append(partial(self._bury, tag, reason))
            else:
                self._leave(tag)
        elif event.token in self._answers:
            self._answers.pop(event.token)(event)

    # -- Out

    def _next(self, event: Delivered) -> None:
        self._granted -= 1
        assert self.store is not None
        try:
            entry = spooling.unpack(event.body)
        except ValueError as e:
            log.error("%s: an entry of the spool cannot be read: %s", self._name, e)
            self.store.settle(Settlement(event.tag, Outcome.REJECT, str(e)))
            self._count_off(len(event.body))
            return
        self._out[event.tag] = entry, len(event.body)
        token = event.headers.get("token", 0)
        flight = self._flights.get(token)
        if flight is None:
            self._forward(event.tag)
        elif flight.outcome is None:
            flight.tag = event.tag
            self.in_flight += 1
        else:
            del self._flights[token]
            self.in_flight += 1
            self._ended(event.tag, flight.outcome)

    def _forward(self, tag: int) -> None:
        entry, size = self._out[tag]
        alive = spooling.alive(entry, self.now())
        self._out[tag] = alive, size
        self._expired.update(one.destination for one in entry.publications)
        self._expired.subtract(one.destination for one in alive.publications)
        self.in_flight += 1
        if alive.publications:
            self.send(spooling.current(alive, self.now()), entry.unit, partial(self._ended, tag))
        else:
            self._ended(tag, Confirmed(0))

    def _ended(self, tag: int, event: Confirmed | Refused) -> None:
        self.in_flight -= 1
        assert self.store is not None
        if isinstance(event, Confirmed):
            self.store.settle(Settlement(tag, Outcome.ACCEPT))
            self._leave(tag)
        elif event.code in PASSING:
            self._again.append(partial(self._forward, tag))
        else:
            self._bury(tag, event.reason)

    def _bury(self, tag: int, reason: str) -> None:
        assert self.store is not None
        entry, _ = self._out[tag]
        log.error("%s: a spooled message is now a dead letter: %s", self._name, reason)
        token = next(self.tokens)
        self._burials[token] = tag, reason
        letters = [spooling.letter(one, reason, self.now()) for one in entry.publications]
        self.store.commit(token, letters, [Settlement(tag, Outcome.ACCEPT)])

    def _leave(self, tag: int) -> None:
        self._count_off(self._out.pop(tag)[1])

    def _count_off(self, size: int) -> None:
        self.count -= 1
        self.size -= size

    def _tell_expired(self) -> None:
        for destination, count in (+self._expired).items():
            log.warning(
                "%s: %d spooled messages for %s had expired and were dropped", self._name, count, destination
            )
        self._expired.clear()
