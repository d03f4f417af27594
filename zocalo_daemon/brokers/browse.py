"""Dead letters of the embedded broker: looked at, purged, put back."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import Any

import msgpack

from zocalo_daemon.brokers import deadletters
from zocalo_daemon.brokers.base import NORMAL_PRIORITY
from zocalo_daemon.brokers.batch import Batch, State
from zocalo_daemon.brokers.inspector import DeadLetter, Route
from zocalo_daemon.brokers.planning import Planner, Refusal
from zocalo_daemon.brokers.store import Store
from zocalo_daemon.brokers.waiting import Queue
from zocalo_daemon.errors import Unavailable, UsageError

PORTION = 10_000  # messages in one transaction, so that a dead-letter queue of any size takes little memory
_READ = 500  # ids in one query


class Browser:
    """Works on dead-letter queues; what is out with a consumer is never touched."""

    def __init__(self, state: State, store: Store, planner: Planner) -> None:
        self._state = state
        self._store = store
        self._planner = planner

    def walk(self, name: str, after: int) -> Generator[DeadLetter]:
        """Yield the messages with an id over `after`, oldest first; nothing may change meanwhile.

        Raises:
            ZocaloError: it is no dead-letter queue, or the database cannot be read.
        """
        queue = self._queue(name)
        if queue is None:
            return
        try:
            # Ids are unique, so nothing else is ever compared.
            for row, rank in heapq.merge(*(self._lane(queue, rank, after) for rank in list(queue.lanes))):
                priority = 9 - rank
                usual = priority == NORMAL_PRIORITY
                yield self._letter(name, row, {} if usual else {"priority": priority})
        except sqlite3.Error as e:
            raise Unavailable(self._store.explain(e)) from None

    def _lane(self, queue: Queue, rank: int, after: int) -> Iterator[tuple[tuple[Any, ...], int]]:
        for row in self._store.fetch(queue.number, rank, after, -1):  # no limit, in SQLite's words
            yield row, rank

    def letters(self, name: str, ids: Sequence[int]) -> list[DeadLetter]:
        """Return dead letters by their ids, up to 500 of them; raises sqlite3.Error."""
        return [self._letter(name, row) for row in self._store.load(ids)]

    def _letter(
        self, name: str, row: tuple[Any, ...], properties: dict[str, Any] | None = None
    ) -> DeadLetter:
        headers = _headers(row)
        return DeadLetter(
            id=row[0],
            queue=name,
            origin=deadletters.origin_of(headers, name),
            reason=deadletters.reason_of(headers),
            time=deadletters.time_of(headers),
            headers=headers,
            body=row[5],
            properties=properties or {},
        )

    def purge(self, name: str, ids: Sequence[int] | None, now: float) -> Iterator[tuple[Batch, int]]:
        """Yield batches that delete the messages, with how many; each must be carried out before the next."""
        queue = self._queue(name)
        for places in self._portions(queue, ids):
            batch = Batch(now)
            for rank, number in places:
                self._take_out(batch, queue, rank, number)
                batch.deletes.append((number,))
            yield batch, len(places)

    def reinject(
        self, name: str, ids: Sequence[int] | None, destination: str | None, now: float
    ) -> Iterator[tuple[Batch, int]]:
        """Yield batches that move the messages, with how many; each must be carried out before the next.

        Raises:
            UsageError: the destination is a temporary queue that is gone.
        """
        queue = self._queue(name)
        for places in self._portions(queue, ids):
            batch = Batch(now)
            for start in range(0, len(places), _READ):
                ranks = {number: rank for rank, number in places[start : start + _READ]}
                for row in self._store.load(list(ranks)):
                    self._reinject(batch, name, row, ranks[row[0]], destination)
                    self._take_out(batch, queue, ranks[row[0]], row[0])
            yield batch, len(batch.moves)

    def drain(self, name: str, route: Route, now: float) -> tuple[DeadLetter, Batch] | None:
        """Return the oldest message that is ready in a queue, and the batch that moves it.

        Raises:
            UsageError: the destination is a temporary queue that is gone; or whatever `route` raises.
        """
        queue = self._state.queues.get(name)
        first = next(((rank, number) for rank, number in self._all(queue)), None) if queue else None
        if first is None:
            return None
        (letter,) = self.letters(name, [first[1]])
        batch = Batch(now)
        try:
            self._planner.move(batch, letter.id, first[0], route(letter), letter.headers)
        except Refusal as e:
            raise UsageError(e.reason) from None
        self._take_out(batch, queue, *first)
        return letter, batch

    def _reinject(
        self, batch: Batch, name: str, row: tuple[Any, ...], rank: int, destination: str | None
    ) -> None:
        headers = _headers(row)
        target = destination or deadletters.origin_of(headers, name)
        headers[deadletters.REINJECTED] = True
        try:
            self._planner.move(batch, row[0], rank, target, headers)
        except Refusal as e:
            raise UsageError(e.reason) from None

    def _take_out(self, batch: Batch, queue: Queue | None, rank: int, number: int) -> None:
        assert queue is not None
        batch.follow.append((False, partial(queue.forget, rank, number)))

    def _queue(self, name: str) -> Queue | None:
        if not name.startswith(deadletters.PREFIX):
            raise UsageError(f"{name} is no dead-letter queue; their names begin with {deadletters.PREFIX}")
        return self._state.queues.get(name)

    def _portions(self, queue: Queue | None, ids: Sequence[int] | None) -> Iterator[list[tuple[int, int]]]:
        if queue is None:
            return
        places = self._all(queue) if ids is None else self._given(queue, ids)
        portion: list[tuple[int, int]] = []
        for place in places:
            portion.append(place)
            if len(portion) == PORTION:
                yield portion
                portion = []
        if portion:
            yield portion

    def _given(self, queue: Queue, ids: Sequence[int]) -> Iterator[tuple[int, int]]:
        unique = sorted(set(ids))
        for start in range(0, len(unique), _READ):
            for rank, number in self._store.places(queue.number, unique[start : start + _READ]):
                if number not in queue.out:
                    yield rank, number

    def _all(self, queue: Queue) -> Iterator[tuple[int, int]]:
        end = self._state.next_id  # what is put back into the same queue gets a higher id
        for rank in list(queue.lanes):
            after = 0
            while ids := self._store.ids(queue.number, rank, after, _READ):
                after = ids[-1]
                yield from ((rank, number) for number in ids if number not in queue.out and number < end)


def _headers(row: tuple[Any, ...]) -> dict[str, Any]:
    headers: dict[str, Any] = msgpack.unpackb(row[4], raw=False, strict_map_key=False)
    return headers
