"""The supervisor's side of the board: its memory, and who has which entry (protocol/board.py)."""

from __future__ import annotations

import heapq
import mmap
import os
from collections.abc import Mapping

from zocalo_daemon.protocol import board as layout
from zocalo_daemon.protocol import tally, trail
from zocalo_daemon.protocol.board import Entry
from zocalo_daemon.supervision import process


class Board:
    """Memory that every worker writes notes into.

    Args:
        descriptor: of the memory file that a former supervisor has made; None makes a new one.
        taken: the entries that workers have already, with their serials.
    """

    def __init__(self, descriptor: int | None = None, taken: Mapping[int, int] | None = None) -> None:
        if descriptor is None:
            descriptor = process.shared_memory(layout.FILE, trail.FILE_SIZE)
        self._descriptor = descriptor
        self._map = mmap.mmap(self._descriptor, 0)
        self._memory = memoryview(self._map)
        self.taken = dict(taken or {})
        # The lowest number first: entries side by side share a page of memory. 0 belongs to nobody.
        self._next = max(self.taken, default=0) + 1
        self._freed = [number for number in range(1, self._next) if number not in self.taken]

    def fileno(self) -> int:
        """Return the descriptor that forkservers inherit."""
        return self._descriptor

    def allocate(self, serial: int) -> int:
        """Return the number of an empty entry for a worker; 0, which notes nothing, when all are taken."""
        if self._freed:
            number = heapq.heappop(self._freed)
        elif self._next < layout.ENTRIES:
            number = self._next
            self._next += 1
        else:
            return 0
        layout.clear(self._memory, number)
        tally.clear(self._memory, number)
        self._empty_page(number)
        self.taken[number] = serial
        return number

    def _empty_page(self, number: int) -> None:
        page = trail.page(self._memory, number)
        if page is None:
            return
        try:
            # Not written to: each page of a worker would count as memory of the supervisor too.
            self._map.madvise(mmap.MADV_REMOVE, trail.place(number), trail.PAGE)
        except OSError:  # a machine with larger pages, or a kernel that cannot
            trail.clear(page)

    def read(self, number: int) -> Entry:
        """Return what the worker with an entry has noted."""
        return layout.read(self._memory, number) if number else Entry()

    def tally(self, number: int) -> tuple[int, ...]:
        """Return what the worker with an entry has counted; it stands there until the entry is given away."""
        return tally.read(self._memory, number) if number else tally.NOTHING

    def page(self, number: int) -> memoryview | None:
        """Return the page of a worker in the trail, if it has one; it stands as long as the tally."""
        return trail.page(self._memory, number)

    def free(self, number: int) -> None:
        """Take an entry back from a worker that has ended."""
        if self.taken.pop(number, None) is not None:
            layout.forget(self._memory, number)
            heapq.heappush(self._freed, number)

    def close(self) -> None:
        """Give the memory back."""
        self._memory.release()
        os.close(self._descriptor)
