"""What the notes on the board cost: nanoseconds for a message that is received, sent on and settled.

python -m benchmarks.board_micro
"""

from __future__ import annotations

import sys
import time

from zocalo_daemon.protocol import tally
from zocalo_daemon.worker.board import SILENT, Notes, Silent, scrap

MESSAGES = 10_000
ROUNDS = 100


def main() -> None:
    """Print the cost with a supervisor that reads the notes, and without one."""
    for name, notes in (("worker", Notes(scrap(), 0)), ("script", SILENT)):
        sys.stdout.write(f"{name}: {min(_cost(notes) for _ in range(ROUNDS)):.0f} ns\n")


def _cost(notes: Silent) -> float:
    started = time.perf_counter_ns()
    for number in range(MESSAGES):
        begun = notes.begin(number)
        notes.progress(tally.SEND)
        notes.progress(tally.ACK)  # which makes room for the next one
        notes.given()
        notes.end(None, begun)
    return (time.perf_counter_ns() - started) / MESSAGES


if __name__ == "__main__":
    main()
