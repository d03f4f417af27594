"""The SQL of the embedded broker, in one thread of one process.

A row of `messages` that waits until a time has `due` set and is in none of the queues' order; the partial
index `ready` holds the others by queue, rank (9 - priority) and id, so that a fetch reads only what it
returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from zocalo_daemon.brokers.database import Database

_COLUMNS = "id, deliveries, requeues, expires, headers, body"
FETCH = f"""SELECT {_COLUMNS} FROM messages
    WHERE due IS NULL AND queue = ? AND rank = ? AND id > ? ORDER BY id LIMIT ?"""  # noqa: S608 a constant
DUE = """SELECT id, queue, rank, requeues, due FROM messages
    WHERE due IS NOT NULL AND due <= ? ORDER BY due, id LIMIT ?"""
EXPIRED = """SELECT id, queue, rank, expires, due IS NOT NULL FROM messages
    WHERE expires IS NOT NULL AND (expires, id) > (?, ?) AND expires < ? ORDER BY expires, id LIMIT ?"""


class Store(Database):
    """The queues and messages of one directory."""

    def recover(self) -> None:
        """Forget the temporary queues of the last process."""
        temporary = self._sql.execute("SELECT id FROM queues WHERE temporary").fetchall()
        if temporary:
            with self.transaction():
                for (queue,) in temporary:
                    self.drop_queue(queue)

    # -- Writing: only within a transaction

    def add_queue(self, queue: int, name: str, temporary: bool) -> None:
        """Remember a queue."""
        self._sql.execute("INSERT INTO queues VALUES (?, ?, ?)", (queue, name, temporary))

    def drop_queue(self, queue: int) -> None:
        """Forget a temporary queue and its messages."""
        # Two statements, each with an index of its own to go by.
        self._sql.execute("DELETE FROM messages WHERE due IS NULL AND queue = ?", (queue,))
        self._sql.execute("DELETE FROM messages WHERE due IS NOT NULL AND queue = ?", (queue,))
        self._sql.execute("DELETE FROM queues WHERE id = ?", (queue,))

    def insert(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Store (id, queue, rank, due, expires, headers, body); times since the epoch, headers packed."""
        self._sql.executemany(
            "INSERT INTO messages (id, queue, rank, due, expires, headers, body) VALUES (?,?,?,?,?,?,?)", rows
        )

    def delete(self, ids: Iterable[tuple[int]]) -> None:
        """Forget messages; those that are not there are no error."""
        self._sql.executemany("DELETE FROM messages WHERE id = ?", ids)

    def mark(self, counts: Iterable[tuple[int, int]]) -> None:
        """Store (deliveries, id)."""
        self._sql.executemany("UPDATE messages SET deliveries = ? WHERE id = ?", counts)

    def requeue(self, rows: Iterable[tuple[int, int, float | None, int]]) -> None:
        """Store (deliveries, requeues, due, id)."""
        self._sql.executemany("UPDATE messages SET deliveries = ?, requeues = ?, due = ? WHERE id = ?", rows)

    def make_ready(self, ids: Iterable[tuple[int, int]]) -> None:
        """Put delayed messages into the order of their queue, as (new id, id)."""
        self._sql.executemany("UPDATE messages SET id = ?, due = NULL WHERE id = ?", ids)

    def move(self, rows: Iterable[tuple[int, int, bytes, int]]) -> None:
        """Put messages at the end of another queue, as new there: (new id, queue, headers, id)."""
        self._sql.executemany(
            """UPDATE messages SET id = ?, queue = ?, headers = ?, due = NULL, expires = NULL,
            deliveries = 0, requeues = 0 WHERE id = ?""",
            rows,
        )

    def record_senders(self, rows: Iterable[tuple[str, int, float]]) -> None:
        """Store (client, sequence, now)."""
        self._sql.executemany("INSERT OR REPLACE INTO senders VALUES (?, ?, ?)", rows)

    def forget_senders(self, before: float) -> None:
        """Forget the clients that have not been seen since."""
        self._sql.execute("DELETE FROM senders WHERE seen < ?", (before,))

    # -- Reading

    def queues(self) -> list[tuple[int, str]]:
        """Return (id, name) of every queue."""
        return self._sql.execute("SELECT id, name FROM queues").fetchall()

    def last_id(self) -> int:
        """Return the highest id of a message, 0 without any."""
        (last,) = self._sql.execute("SELECT ifnull(max(id), 0) FROM messages").fetchone()
        return int(last)

    def counts(self) -> list[tuple[int, int, bool, int]]:
        """Return (queue, rank, delayed, count); reads a whole index, for start-up only."""
        ready = self._sql.execute(
            "SELECT queue, rank, 0, count(*) FROM messages WHERE due IS NULL GROUP BY queue, rank"
        ).fetchall()
        return (
            ready
            + self._sql.execute(
                "SELECT queue, rank, 1, count(*) FROM messages WHERE due IS NOT NULL GROUP BY queue, rank"
            ).fetchall()
        )

    def totals(self, queue: int) -> tuple[int, int]:
        """Return count and bytes of the ready messages of a queue; reads them all, for start-up only."""
        query = "SELECT count(*), ifnull(sum(length(body)), 0) FROM messages WHERE due IS NULL AND queue = ?"
        count, size = self._sql.execute(query, (queue,)).fetchone()
        return int(count), int(size)

    def fetch(self, queue: int, rank: int, after: int, limit: int) -> Iterator[tuple[Any, ...]]:
        """Yield (id, deliveries, requeues, expires, headers, body) of ready messages in their order."""
        return self._sql.execute(FETCH, (queue, rank, after, limit))

    def load(self, ids: Sequence[int]) -> list[tuple[Any, ...]]:
        """Return the same of the given messages, by id."""
        marks = ",".join("?" * len(ids))
        query = f"SELECT {_COLUMNS} FROM messages WHERE id IN ({marks}) ORDER BY id"  # noqa: S608 only marks
        return self._sql.execute(query, ids).fetchall()

    def due(self, now: float, limit: int) -> list[tuple[int, int, int, int, float]]:
        """Return (id, queue, rank, requeues, due) of messages whose delay is over, earliest first."""
        return self._sql.execute(DUE, (now, limit)).fetchall()

    def expired(
        self, after: tuple[float, int], now: float, limit: int
    ) -> list[tuple[int, int, int, float, bool]]:
        """Return (id, queue, rank, expires, delayed) of messages that expired after (expires, id)."""
        return self._sql.execute(EXPIRED, (*after, now, limit)).fetchall()

    def next_due(self) -> float | None:
        """Return when the next delay is over."""
        row = self._sql.execute("SELECT min(due) FROM messages WHERE due IS NOT NULL").fetchone()
        due: float | None = row[0]
        return due

    def next_expiry(self, after: tuple[float, int] = (0.0, 0)) -> float | None:
        """Return when the next message expires, of those after (expires, id)."""
        query = """SELECT expires FROM messages
            WHERE expires IS NOT NULL AND (expires, id) > (?, ?) ORDER BY expires, id LIMIT 1"""
        row = self._sql.execute(query, after).fetchone()
        return row[0] if row else None

    def sequence(self, client: str) -> int | None:
        """Return the last sequence number recorded for a client."""
        row = self._sql.execute("SELECT sequence FROM senders WHERE client = ?", (client,)).fetchone()
        return row[0] if row else None

    def ids(self, queue: int, rank: int, after: int, limit: int) -> list[int]:
        """Return the ids of ready messages in their order."""
        query = """SELECT id FROM messages
            WHERE due IS NULL AND queue = ? AND rank = ? AND id > ? ORDER BY id LIMIT ?"""
        return [row[0] for row in self._sql.execute(query, (queue, rank, after, limit))]

    def places(self, queue: int, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Return (rank, id) of those of the ids that are ready in the queue."""
        marks = ",".join("?" * len(ids))
        query = (
            f"SELECT rank, id FROM messages WHERE id IN ({marks}) "  # noqa: S608 only marks
            "AND queue = ? AND due IS NULL"
        )
        return self._sql.execute(query, (*ids, queue)).fetchall()

    def plan(self, query: str, arguments: Sequence[Any]) -> str:
        """Return how SQLite would carry out a query."""
        rows = self._sql.execute("EXPLAIN QUERY PLAN " + query, arguments)
        return "; ".join(row[3] for row in rows)
