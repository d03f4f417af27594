"""The SQL of the embedded broker: one SQLite database, used by one process and one thread.

Write-ahead log with `synchronous=FULL`: a commit has been through fsync(2) when it returns
(https://sqlite.org/pragma.html#pragma_synchronous). `locking_mode=EXCLUSIVE` keeps the index of the log in
this process's memory instead of a shared file (https://sqlite.org/wal.html, "Use of WAL Without
Shared-Memory"), which is faster and cannot fail half-way on a full disk.

A row of `messages` that waits until a time has `due` set and is in none of the queues' order; the partial
index `ready` holds the others by queue, rank (9 - priority) and id, so that a fetch reads only what it
returns.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from zocalo_daemon.errors import ZocaloError

DATABASE = "queues.db"
RESERVE = "reserve"
SCHEMA_VERSION = 1
OLDEST_SQLITE = (3, 35, 0)  # RETURNING
_CHECKPOINT = 1000  # pages of the log, 4 MB, before it is copied into the database
_LOG_LIMIT = 4 * 1024 * 1024  # bytes of the log that are kept between checkpoints
_SHRINK = 1000  # pages of the database that are given back at once when the disk is full

_SCHEMA = """
CREATE TABLE queues (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    temporary INTEGER NOT NULL
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    due REAL,
    expires REAL,
    deliveries INTEGER NOT NULL DEFAULT 0,
    requeues INTEGER NOT NULL DEFAULT 0,
    headers BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX ready ON messages (queue, rank, id) WHERE due IS NULL;
CREATE INDEX delayed ON messages (due, id, queue, rank) WHERE due IS NOT NULL;
CREATE INDEX expiring ON messages (expires, id) WHERE expires IS NOT NULL;
CREATE TABLE senders (
    client TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    seen REAL NOT NULL
) WITHOUT ROWID;
"""

_COLUMNS = "id, deliveries, requeues, expires, headers, body"
FETCH = f"""SELECT {_COLUMNS} FROM messages
    WHERE due IS NULL AND queue = ? AND rank = ? AND id > ? ORDER BY id LIMIT ?"""  # noqa: S608 a constant
DUE = """SELECT id, queue, rank, requeues, due FROM messages
    WHERE due IS NOT NULL AND due <= ? ORDER BY due, id LIMIT ?"""
EXPIRED = """SELECT id, queue, rank, expires, due IS NOT NULL FROM messages
    WHERE expires IS NOT NULL AND (expires, id) > (?, ?) AND expires < ? ORDER BY expires, id LIMIT ?"""


def is_full(e: sqlite3.Error) -> bool:
    """Say whether an error is that of a disk that is full or does not write."""
    return getattr(e, "sqlite_errorname", "").startswith(("SQLITE_FULL", "SQLITE_IOERR"))


class Store:
    """The database of one directory.

    Args:
        reserve: bytes of disk set aside, given up when the disk is full so that settlements can go on.
    """

    def __init__(self, directory: Path, reserve: int) -> None:
        self.path = directory / DATABASE
        self._reserve_path = directory / RESERVE
        self._reserve = reserve
        self._lock = -1
        self._sql: sqlite3.Connection

    # -- Life

    def open(self) -> None:
        """Lock the directory, open the database and forget temporary queues.

        Raises:
            ZocaloError: the directory cannot be used, or belongs to another process; the file is no database
                of this program; SQLite is too old.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise ZocaloError(
                f"the embedded broker needs SQLite 3.35 or later, this Python has {sqlite3.sqlite_version}"
            )
        try:
            self._take_directory()
        except OSError as e:
            raise ZocaloError(f"cannot keep queues in {self.path.parent}: {e.strerror}") from None
        try:
            self._open_database()
        except sqlite3.Error as e:
            self.close()
            raise ZocaloError(self._explain(e)) from None
        except ZocaloError:
            self.close()
            raise

    def close(self) -> None:
        """Close the database and give the directory free."""
        if hasattr(self, "_sql"):
            self._sql.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_directory(self) -> None:
        directory = self.path.parent
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = -1
            raise ZocaloError(
                f"the queues in {directory} are in use by another process; stop that daemon, "
                "or give this one a state_dir of its own"
            ) from None
        directory.chmod(0o700)
        # Made here, because SQLite would use the umask; its log takes over the mode of the database.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.path.chmod(0o600)

    def _open_database(self) -> None:
        self._sql = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        # Only takes effect before the first table: lets `give_reserve` shrink the file.
        self._sql.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._sql.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._sql.execute("PRAGMA journal_mode = WAL")
        self._sql.execute("PRAGMA synchronous = FULL")
        self._sql.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
        self._sql.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
        (version,) = self._sql.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise ZocaloError(
                f"{self.path} was written by a newer version of zocalo_daemon; upgrade, or move it away"
            )
        if version == 0:
            self._sql.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")
        temporary = self._sql.execute("SELECT id FROM queues WHERE temporary").fetchall()
        if temporary:
            with self.transaction():
                for (queue,) in temporary:
                    self.drop_queue(queue)

    def _explain(self, e: sqlite3.Error) -> str:
        name = getattr(e, "sqlite_errorname", "")
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return (
                f"{self.path} is damaged or no queue database ({e}); move it away to begin with empty "
                "queues, or restore it from a backup"
            )
        return f"cannot use the queue database {self.path}: {e}"

    # -- Disk space

    def take_reserve(self) -> bool:
        """Set the reserve aside; return False if the disk is too full for it."""
        try:
            with self._reserve_path.open("ab") as file:
                os.fchmod(file.fileno(), 0o600)
                if self._reserve:
                    os.posix_fallocate(file.fileno(), 0, self._reserve)
        except OSError:
            self.give_reserve()
            return False
        with contextlib.suppress(sqlite3.Error):
            self._sql.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
        return True

    def give_reserve(self) -> None:
        """Free the reserve, the log and what is unused in the database, as far as that is possible."""
        with contextlib.suppress(OSError):
            self._reserve_path.unlink()
        with contextlib.suppress(sqlite3.Error):
            if self._checkpoint():
                # A step gives one page back and returns no row, at which execute() stops.
                self._sql.executescript(f"PRAGMA incremental_vacuum({_SHRINK})")
                self._checkpoint()

    def _checkpoint(self) -> bool:
        """Empty the log if the disk has room for what that adds to the database.

        A checkpoint that fails half-way would take the space that settlements need, and so would those that
        SQLite does by itself.
        """
        disk = os.statvfs(self.path.parent)
        (pages,) = self._sql.execute("PRAGMA page_count").fetchone()  # with those that are only in the log
        (size,) = self._sql.execute("PRAGMA page_size").fetchone()
        possible: bool = pages * size - self.path.stat().st_size < disk.f_bavail * disk.f_frsize
        self._sql.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT if possible else 0}")
        if possible:
            self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return possible

    def probe(self) -> None:
        """Write something.

        Raises:
            sqlite3.Error: that is not possible.
        """
        with self.transaction():
            self._sql.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    # -- Writing: only within a transaction

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done within, durably, or nothing of it.

        Raises:
            sqlite3.Error: nothing was done.
        """
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._sql.execute("COMMIT")
        except BaseException:
            if self._sql.in_transaction:
                self._sql.execute("ROLLBACK")
            raise

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
        return row[0]  # type: ignore[no-any-return]

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
        query = f"SELECT rank, id FROM messages WHERE id IN ({marks}) AND queue = ? AND due IS NULL"  # noqa: S608
        return self._sql.execute(query, (*ids, queue)).fetchall()

    def plan(self, query: str, arguments: Sequence[Any]) -> str:
        """Return how SQLite would carry out a query."""
        rows = self._sql.execute("EXPLAIN QUERY PLAN " + query, arguments)
        return "; ".join(row[3] for row in rows)
