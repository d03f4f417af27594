"""The embedded broker as the store of a spool: one queue of entries, and the dead letters beside it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from zocalo_daemon.brokers.base import Kind, Publication, Source
from zocalo_daemon.brokers.batch import Batch
from zocalo_daemon.brokers.database import DATABASE
from zocalo_daemon.brokers.embedded import EmbeddedBroker
from zocalo_daemon.brokers.inspector import DeadLetter
from zocalo_daemon.errors import Unavailable

QUEUE = "spool"
CONSUMER = 1
RESERVE = 4 * 1024 * 1024  # bytes set aside, so that entries can be forgotten when the disk is full
_RANK = 5  # of the only priority, 4


class SpoolStore(EmbeddedBroker):
    """The entries of one transport, in the order of their submission.

    Args:
        name: of the transport, for logs.
        directory: where the database is; made if need be.
    """

    def __init__(self, name: str, directory: Path) -> None:
        super().__init__(f"the spool of {name}", directory, reserve=RESERVE)

    def open(self) -> None:
        """Open the database, with a consumer that has no credit yet.

        Raises:
            ZocaloError: the directory or the database cannot be used.
        """
        super().open()
        self.subscribe(CONSUMER, Source(Kind.QUEUE, QUEUE))

    def put(self, token: int, body: bytes, origin: tuple[str, int] | None) -> None:
        """Store an entry: Confirmed once it is on disk, or Refused. Its delivery bears the token."""
        self.publish(token, _entry(token, body, origin))

    def totals(self) -> tuple[int, int]:
        """Return the number of entries, and their bytes.

        Raises:
            sqlite3.Error: they cannot be read.
        """
        queue = self._state.queues.get(QUEUE)
        return self._store.totals(queue.number) if queue else (0, 0)

    def first(self) -> bytes | None:
        """Return the oldest entry, None if there is none or it cannot be read."""
        queue = self._state.queues.get(QUEUE)
        try:
            rows = list(self._store.fetch(queue.number, _RANK, 0, 1)) if queue else []
        except sqlite3.Error:
            return None
        return bytes(rows[0][5]) if rows else None

    def revive(
        self, queue: str, ids: Sequence[int], entry_of: Callable[[DeadLetter], tuple[int, bytes]]
    ) -> int:
        """Make entries of dead letters, all of them or none; return how many.

        Args:
            entry_of: returns the token and the body of the entry.

        Raises:
            Unavailable: they cannot be written.
        """
        self._carry_out()
        return self._carry_out_all(self._revival(queue, ids, entry_of))

    def _revival(
        self, queue: str, ids: Sequence[int], entry_of: Callable[[DeadLetter], tuple[int, bytes]]
    ) -> Iterator[tuple[Batch, int]]:
        for batch, count in self._browser.purge(queue, ids, self._now()):
            for letter in self._browser.letters(queue, [number for (number,) in batch.deletes]):
                token, body = entry_of(letter)
                self._planner.publish(batch, token, _entry(token, body, None))
            if batch.refused:
                raise Unavailable(self._state.full or "the dead letters cannot be sent back")
            yield batch, count

    def remove(self) -> None:
        """Close it, and remove the files if there is nothing left in them."""
        self._carry_out()
        left = any(queue.ready or queue.unsettled for queue in self.queues())
        self.close()
        if not left:
            shutil.rmtree(self._directory, ignore_errors=True)


def exists(directory: Path) -> bool:
    """Say whether there is a store in a directory."""
    return (directory / DATABASE).exists()


def strangers(directory: Path, known: Collection[str]) -> Iterator[tuple[str, int]]:
    """Yield the stores below a directory that have an unknown name, with the number of messages in each.

    Raises:
        ZocaloError: one of them cannot be read.
    """
    for place in sorted(directory.glob(f"*/{DATABASE}")):
        if place.parent.name not in known:
            store = SpoolStore(place.parent.name, place.parent)
            store.open()
            count = sum(queue.ready for queue in store.queues())
            store.remove()
            if count:
                yield place.parent.name, count


def _entry(token: int, body: bytes, origin: tuple[str, int] | None) -> Publication:
    return Publication(Kind.QUEUE, QUEUE, {"token": token}, body, origin=origin)
