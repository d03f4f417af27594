"""What a message costs in the embedded broker: consume, send on, ack, with nothing and with much waiting.

    python benchmarks/embedded_micro.py [--waiting 1000000] [--messages 20000] [--batch 30]

Prints microseconds of CPU and of wall time per message of 1 kB, in batches, and the ratio of the two cases.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

from zocalo_daemon.brokers.base import Delivered, Kind, Outcome, Publication, Settlement, Source
from zocalo_daemon.brokers.embedded import EmbeddedBroker

BODY = b"x" * 1000
HEADERS = {"workflows-recipe": "True", "message-id": "0123456789"}


def fill(broker: EmbeddedBroker, count: int) -> None:
    """Put messages into the queue."""
    for start in range(0, count, 5000):
        for number in range(min(5000, count - start)):
            broker.publish(number, Publication(Kind.QUEUE, "work", HEADERS, BODY))
        broker.poll()


def measure(broker: EmbeddedBroker, count: int, batch: int) -> tuple[float, float]:
    """Return (CPU, wall) in µs for each message that is taken, sent on to the same queue, acked."""
    fill(broker, batch)
    broker.subscribe(1, Source(Kind.QUEUE, "work"))
    broker.credit(1, batch)
    done, cpu, wall = 0, time.process_time(), time.perf_counter()
    while done < count:
        for event in broker.poll():
            if isinstance(event, Delivered):
                done += 1
                broker.publish(done, Publication(Kind.QUEUE, "work", event.headers, event.body))
                broker.settle(Settlement(event.tag, Outcome.ACCEPT))
                broker.credit(1, 1)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    broker.cancel(1)
    broker.poll()
    return cpu / done * 1e6, wall / done * 1e6


def main() -> None:
    """Measure both cases in one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=30)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        broker = EmbeddedBroker("bench", Path(directory) / "queues")
        broker.open()
        measure(broker, given.messages // 4, given.batch)  # warm up
        empty = measure(broker, given.messages, given.batch)
        print(f"empty queue:       {empty[0]:6.1f} µs CPU, {empty[1]:6.1f} µs wall")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        fill(broker, given.waiting)
        os.sync()  # what the filling left behind is not measured
        full = measure(broker, given.messages, given.batch)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"{given.waiting:9d} waiting: {full[0]:6.1f} µs CPU, {full[1]:6.1f} µs wall, {grown:+.0f} MiB")
        print(f"ratio: {full[0] / empty[0]:.2f} CPU, {full[1] / empty[1]:.2f} wall")
        broker.close()


if __name__ == "__main__":
    main()
