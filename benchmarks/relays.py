"""Throughput of four workers over one relay and over two: python -m benchmarks.relays [ROUNDS].

Each consumes, sends on and acknowledges; RabbitMQ is private. Rounds alternate. What two relays bring depends
on the cores that broker, workers and relays share, so there is no target.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.kit import SERVICES
from benchmarks.queues import PATIENCE, Amqp
from benchmarks.sides import MODULE, Ours
from tests.brokers.rabbit import RabbitServer
from tests.controlkit import Direct
from tests.waiting import wait_until

MESSAGES = 10_000
WORKERS = 4


class Spread(Ours):
    """A zocalod with so many relays and one service of four instances."""

    def __init__(self, broker: RabbitServer, relays: int) -> None:
        super().__init__(broker, "rabbitmq")
        self.relays = relays

    def start(self, classes: Sequence[str]) -> None:
        """Start it."""
        services = {"it": {"class": f"{MODULE}:{classes[0]}", "instances": WORKERS}}
        transports = {"it": {"driver": "rabbitmq", "hosts": [self.broker.address]}}
        self._daemon = Direct(
            self.directory,
            services,
            runtimes={"default": {"python_path": [str(SERVICES)]}},
            transports=transports,
            default_transport="it",
            relay_processes=self.relays,
        )
        self._daemon.start()


def measure(broker: RabbitServer, relays: int) -> tuple[float, float]:
    """Return messages per second, and CPU microseconds of the daemon per message."""
    queues, side = Amqp(broker, [""]), Spread(broker, relays)
    with side.running(["Pipe"]):
        queues.wait_for_services()
        with side.stopped():
            queues.fill(MESSAGES)
            before, start = side.cpu(), time.monotonic()
        wait_until(lambda: queues.passed() >= MESSAGES, "all messages", PATIENCE)
        taken, cpu = time.monotonic() - start, side.cpu() - before
    queues.close()
    return MESSAGES / taken, cpu / MESSAGES * 1e6


def main() -> None:
    """Print a line for each run."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory(prefix="zocalo-bench-") as directory:
        broker = RabbitServer(Path(directory))
        try:
            for number in range(1, rounds + 1):
                for relays in (1, 2):
                    rate, cpu = measure(broker, relays)
                    print(
                        f"round {number}, relays {relays}: {rate:6.0f} messages/s, {cpu:4.0f} µs of CPU each"
                    )
        finally:
            broker.close()


if __name__ == "__main__":
    main()
