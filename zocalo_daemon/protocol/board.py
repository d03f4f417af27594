"""The board: memory shared by supervisor and workers in which each worker notes what it is doing (pure).

Writing a note costs a worker a fraction of a microsecond, no system call and no wake-up, and what it has
written outlives it: so the supervisor can tell a long callback from a hang, and after a death which delivery
was being worked on, as against those that merely waited in the same process.

The board is one memory file (memfd_create(2)) of ENTRIES entries. The supervisor gives each worker the
number of one (`board` in the fork request, see `channel`), zeroed; the forkserver inherits the file as
descriptor 5 and maps it once, and its workers inherit the mapping. Times are CLOCK_MONOTONIC in nanoseconds,
the same clock in every process of a machine. Each number is written by one thread only, in native order and
aligned to its size, so that a reader sees the old or the new one; different numbers of an entry may be of
different moments.

progress    when the worker last began or ended a callback, or called its transport or was answered by it
handed      when a message was handed last to a service with nothing to do: what waits in the service's own
            queue waits since then, or since `progress`, when a callback has ended
delivery    number of the delivery whose callback runs, or began last; 0 before the first, and for a message
            of a topic, which nobody settles
begun       callbacks of messages that have begun, and
ended       those of them that have returned or raised: fewer than begun while one runs
given       messages handed to the service: more than begun while one waits in the service's own queue
asking      calls of the transport that wait for an answer of the relay: that wait is not the service's
pid         of the worker, which leads a session of this number; 0 before it does, and once it has ended

Entry 0 belongs to nobody: a worker with that number notes nothing.
"""

from __future__ import annotations

import struct

from zocalo_daemon.values import Value

FILE = "zocalod-board"  # the name of the memory file, in /proc/PID/fd
ENTRIES = 65536
ENTRY_SIZE = 64  # bytes: a cache line
SIZE = ENTRIES * ENTRY_SIZE
_NUMBERS = struct.Struct("@7Q")  # native: eight bytes in one store, unlike "="

# Where each number stands in an entry, in bytes.
PROGRESS, HANDED, DELIVERY, BEGUN, ENDED, GIVEN, ASKING, PID = range(0, 64, 8)


class Entry(Value):
    """What a worker has noted; see above for the meaning and the units."""

    progress: int = 0
    handed: int = 0
    delivery: int = 0
    begun: int = 0
    ended: int = 0
    given: int = 0
    asking: int = 0


def read(board: memoryview, number: int) -> Entry:
    """Return the entry of a worker."""
    return Entry(*_NUMBERS.unpack_from(board, number * ENTRY_SIZE))


def forget(board: memoryview, number: int) -> None:
    """Note that the worker has ended."""
    start = number * ENTRY_SIZE + PID
    board[start : start + 8] = bytes(8)


def clear(board: memoryview, number: int) -> None:
    """Make an entry ready for the next worker."""
    start = number * ENTRY_SIZE
    board[start : start + ENTRY_SIZE] = bytes(ENTRY_SIZE)
