"""The tally: what a worker counts on the board, for the metrics of the supervisor (pure).

The tallies stand behind the entries of the board (see `board`), one for each, and have the same number. All
of it only grows, in native order, by the worker alone: calls of its transport in
the order of COUNTS, then how many nanoseconds its callbacks have taken, then how many callbacks took no
longer than each of BOUNDS and longer than the one before it, and in the last number those above all.

A board that an older version has made has no tallies: nothing is counted there.
"""

from __future__ import annotations

import struct

from zocalo_daemon.protocol import board, worker

COUNTS = (
    *("subscriptions", "broadcast_subscriptions", "temporary_subscriptions", "unsubscribed"),
    *("ack", "nack", "send", "broadcast"),
    *("transaction_begin", "transaction_abort", "transaction_commit"),
)
UNSUBSCRIBED, ACK, NACK, SEND, BROADCAST, BEGIN, ABORT, COMMIT = range(3, 11)
SUBSCRIBED = {worker.QUEUE: 0, worker.TOPIC: 1, worker.TEMPORARY: 2}
SENT = {worker.QUEUE: SEND, worker.TOPIC: BROADCAST}

# Seconds; those of prometheus_client, which the dashboards of sites know.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
NANOSECONDS = len(COUNTS)
BUCKETS = NANOSECONDS + 1
LENGTH = BUCKETS + len(BOUNDS) + 1  # numbers

SIZE = 256  # bytes of a tally
FILE_SIZE = board.SIZE + board.ENTRIES * SIZE  # bytes of a board with its tallies
_NUMBERS = struct.Struct(f"@{LENGTH}Q")

NOTHING = (0,) * LENGTH


def start(number: int) -> int:
    """Return where a tally begins, in bytes."""
    return board.SIZE + number * SIZE


def read(memory: memoryview, number: int) -> tuple[int, ...]:
    """Return the tally of a worker; zeros if the board has none."""
    return _NUMBERS.unpack_from(memory, start(number)) if len(memory) >= FILE_SIZE else NOTHING


def clear(memory: memoryview, number: int) -> None:
    """Make a tally ready for the next worker."""
    if len(memory) >= FILE_SIZE:
        memory[start(number) : start(number) + SIZE] = bytes(SIZE)
