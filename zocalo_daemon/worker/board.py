"""What a worker notes about itself on the board, while it handles messages (protocol/board.py).

Every message passes here several times, so each note is a few stores into shared memory: no system call.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator

from zocalo_daemon.protocol import board as layout
from zocalo_daemon.protocol import tally
from zocalo_daemon.worker.trail import UNTRACED, Untraced

_WORD = 8  # bytes of a number
_PROGRESS, _HANDED, _DELIVERY, _BEGUN, _ENDED, _GIVEN, _ASKING = (
    place // _WORD
    for place in (
        *(layout.PROGRESS, layout.HANDED, layout.DELIVERY),
        *(layout.BEGUN, layout.ENDED, layout.GIVEN, layout.ASKING),
    )
)

_now = time.monotonic_ns
_BOUNDS = tuple(int(bound * 1e9) for bound in tally.BOUNDS)
_SHORTEST = _BOUNDS[0]
_NANOSECONDS, _BUCKETS = tally.NANOSECONDS, tally.BUCKETS


def scrap() -> memoryview:
    """Return what a board is for one that nobody reads."""
    return memoryview(bytearray(layout.ENTRY_SIZE)).cast("Q")


def _scrap_tally() -> memoryview:
    return memoryview(bytearray(tally.SIZE)).cast("Q")


def open_board(descriptor: int) -> memoryview:
    """Map the board's memory file, for this process and all that it forks, and close the descriptor."""
    board = memoryview(mmap.mmap(descriptor, 0)).cast("Q")
    os.close(descriptor)
    return board


def workers_of(board: memoryview | None) -> dict[int, int]:
    """Return the workers that have not ended as the supervisor knows it: their entries by their pids."""
    entries = slice(layout.PID // _WORD, layout.SIZE // _WORD, layout.ENTRY_SIZE // _WORD)
    return {pid: number for number, pid in enumerate(board[entries]) if pid} if board else {}


class Silent:
    """Notes nothing: for a transport that no supervisor watches."""

    trail: Untraced = UNTRACED  # where it notes which nodes of recipes run

    def given(self) -> None:
        """A message is handed to the service."""

    def begin(self, delivery: int) -> int:  # noqa: ARG002
        """A callback begins; return when, in monotonic nanoseconds."""
        return 0

    def end(self, outer: int | None, begun: int) -> None:
        """A callback has returned or raised."""

    def progress(self, place: int | None = None) -> None:
        """The service calls its transport; `place` is where the tally counts that."""

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Have what is inside count as a wait for the relay."""
        yield


SILENT = Silent()


class Notes(Silent):
    """Writes one entry.

    Callbacks may run inside each other and, if a service arranges it so, in several threads at once: the two
    numbers that must agree are written with a lock held. Acquired by hand, which takes half the time of
    `with`; it is one that a thread may hold twice, so that a signal handler which raises in between cannot
    leave the service waiting for itself.

    Args:
        board: as `open_board` returns it.
        number: of the entry.

    `on_end` is called after each callback with how many have ended, and when (monotonic nanoseconds).
    """

    def __init__(self, board: memoryview, number: int) -> None:
        size = layout.ENTRY_SIZE // _WORD
        self._numbers = board[number * size : (number + 1) * size]
        start = tally.start(number) // _WORD
        self._tally = board[start : start + tally.LENGTH] or _scrap_tally()
        self._numbers[layout.PID // _WORD] = os.getpid()
        self._calls = [itertools.count(1) for _ in tally.COUNTS]
        self._counter = itertools.count(1)  # next() is one step for all threads
        self._given = self._begun = self._ended = self._asking = 0
        self.on_end: Callable[[int, int], None] | None = None
        self._unlock()

    def _unlock(self) -> None:
        lock = threading.RLock()
        self._acquire, self._release = lock.acquire, lock.release

    def detach(self) -> None:
        """Write elsewhere: what a service forks is not the worker, and may outlive it."""
        self._unlock()  # another thread may have held it when the fork happened
        self._numbers, self._tally = scrap(), _scrap_tally()
        self.on_end = None

    def given(self) -> None:
        """A message is handed to the service."""
        numbers = self._numbers
        if self._given == self._begun == self._ended:
            numbers[_HANDED] = _now()
        self._given = numbers[_GIVEN] = next(self._counter)

    def begin(self, delivery: int) -> int:
        """A callback begins; `delivery` is 0 for a message that nobody settles. Return when."""
        self._acquire()
        try:
            numbers = self._numbers
            now: int = _now()
            numbers[_PROGRESS] = now
            numbers[_DELIVERY] = delivery
            self._begun = numbers[_BEGUN] = self._begun + 1
            return now
        finally:
            self._release()

    def end(self, outer: int | None, begun: int) -> None:
        """A callback has returned or raised; `outer` is the delivery of the one that it ran inside."""
        self._acquire()
        try:
            numbers = self._numbers
            now = numbers[_PROGRESS] = _now()
            if outer is not None:
                numbers[_DELIVERY] = outer
            self._ended = ended = numbers[_ENDED] = self._ended + 1
            took = now - begun
            counts = self._tally
            counts[_NANOSECONDS] += took
            counts[_BUCKETS if took <= _SHORTEST else _BUCKETS + bisect_left(_BOUNDS, took)] += 1
        finally:
            self._release()
        if self.on_end is not None:
            self.on_end(ended, now)

    def progress(self, place: int | None = None) -> None:
        """The service calls its transport; `place` is where the tally counts that."""
        self._numbers[_PROGRESS] = _now()
        if place is not None:
            self._tally[place] = next(self._calls[place])

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Have what is inside count as a wait for the relay, and its end as progress."""
        self._count_asking(1)
        try:
            yield
        finally:
            self._numbers[_PROGRESS] = _now()
            self._count_asking(-1)

    def _count_asking(self, change: int) -> None:
        self._acquire()
        try:
            self._asking = self._numbers[_ASKING] = self._asking + change
        finally:
            self._release()
