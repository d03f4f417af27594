"""The dead letters of a spool: what a broker has refused for good when it was forwarded."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from zocalo_daemon.brokers.inspector import DeadLetter, Inspector, QueueInfo, Route
from zocalo_daemon.relay import spooling
from zocalo_daemon.relay.backlog import Backlog
from zocalo_daemon.relay.spooling import Entry

_PORTION = 100  # dead letters that are sent back in one transaction


class Letters(Inspector):
    """What operators do with them, in the words of a broker."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog

    def queues(self) -> list[QueueInfo]:
        """Return the dead-letter queues that have any."""
        store = self._backlog.store
        return [one for one in store.queues() if one.dead_letters and one.ready] if store else []

    def walk(self, queue: str, after: int = 0) -> Generator[DeadLetter]:
        """Yield them, oldest first."""
        if store := self._backlog.store:
            yield from store.walk(queue, after)

    def purge(self, queue: str, ids: Sequence[int] | None) -> int:
        """Delete them, all for None; return how many."""
        store = self._backlog.store
        return store.purge(queue, ids) if store else 0

    def reinject(self, queue: str, ids: Sequence[int] | None, destination: str | None) -> int:
        """Put them at the end of the spool, for where they were going or for `destination`; return how many.

        Raises:
            Unavailable: the disk is full, say.
        """
        total = after = 0
        while letters := self.dead_letters(queue, _PORTION, after):
            after = letters[-1].id
            total += self._revive(
                queue, [one.id for one in letters if ids is None or one.id in ids], destination
            )
        return total

    def drain(self, queue: str, route: Route) -> DeadLetter | None:
        """Do nothing: a spool keeps its own order."""

    def _revive(self, queue: str, ids: Sequence[int], destination: str | None) -> int:
        backlog, sizes = self._backlog, list[int]()

        def entry_of(dead: DeadLetter) -> tuple[int, bytes]:
            data = spooling.pack(Entry([spooling.revived(dead, destination)], False, backlog.now()))
            sizes.append(len(data))
            return next(backlog.tokens), data

        count = backlog.store.revive(queue, ids, entry_of) if backlog.store else 0
        for size in sizes:
            backlog.add(size)
        return count
