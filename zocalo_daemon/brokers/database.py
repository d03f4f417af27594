"""The database of the embedded broker: how it is opened, kept within the disk, and written to.

Write-ahead log with `synchronous=FULL`: a commit has been through fsync(2) when it returns
(https://sqlite.org/pragma.html#pragma_synchronous). `locking_mode=EXCLUSIVE` keeps the index of the log in
this process's memory instead of a shared file (https://sqlite.org/wal.html, "Use of WAL Without
Shared-Memory"), which is faster and cannot fail half-way on a full disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from zocalo_daemon.errors import ZocaloError

DATABASE = "queues.db"
RESERVE = "reserve"
SCHEMA_VERSION = 1
OLDEST_SQLITE = (3, 35, 0)  # RETURNING
_PAGE = 4096  # bytes, SQLite's default
_CACHE = 8192  # KiB of pages; with much waiting, messages come and go on pages far apart
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


def is_full(e: sqlite3.Error) -> bool:
    """Say whether an error is that of a disk that is full or does not write."""
    return getattr(e, "sqlite_errorname", "").startswith(("SQLITE_FULL", "SQLITE_IOERR"))


class Database:
    """The database of one directory.

    Args:
        reserve: bytes of disk set aside, given up when the disk is full so that settlements can go on.
    """

    def __init__(self, directory: Path, reserve: int) -> None:
        self.path = directory / DATABASE
        self._reserve_path = directory / RESERVE
        self._reserve = reserve
        # The log is copied into the database at a size that the reserve has room for, should the disk be
        # full. Rarely is better: pages that were written several times meanwhile are copied once.
        self._checkpoint_pages = max(100, reserve * 4 // 5 // _PAGE)
        self._lock = -1
        self._sql: sqlite3.Connection

    # -- Life

    def open(self) -> None:
        """Lock the directory and open the database.

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
            raise ZocaloError(self.explain(e)) from None
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
        self._sql.execute(f"PRAGMA wal_autocheckpoint = {self._checkpoint_pages}")
        self._sql.execute(f"PRAGMA cache_size = -{_CACHE}")
        self._sql.execute(f"PRAGMA journal_size_limit = {self._checkpoint_pages * _PAGE}")
        (version,) = self._sql.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise ZocaloError(
                f"{self.path} was written by a newer version of zocalo_daemon; upgrade, or move it away"
            )
        if version == 0:
            self._sql.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")
        self.recover()

    def recover(self) -> None:
        """Do what must be done before the database is used."""

    def explain(self, e: sqlite3.Error) -> str:
        """Return what is wrong with the database and what to do, in one line."""
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
            self._sql.execute(f"PRAGMA wal_autocheckpoint = {self._checkpoint_pages}")
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
        self._sql.execute(f"PRAGMA wal_autocheckpoint = {self._checkpoint_pages if possible else 0}")
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
