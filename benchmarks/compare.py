"""Our transport against workflows' own: the same services under zocalod and under zocalo.service.

    python -m benchmarks.compare [--rounds 5] [--only ROW] [--json]

Each round runs both sides, one after the other, on a private broker; medians of the rounds are compared.
Bodies are JSON of 1 kB, queues durable, messages persistent; theirs without confirms, ours with. Services are
stopped while their queues are filled. CPU is that of all processes of a side, also of our supervisor. Exit
status 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pika

from benchmarks.figures import BODY
from benchmarks.sides import SIDES, Side
from tests.brokers.rabbit import RabbitServer
from tests.waiting import wait_until

PATIENCE = 60.0  # seconds
LONE = 60  # messages of a round, with a
PAUSE = 0.02  # seconds between them
COMMANDS = 7  # of a round
# With headers: workflows 3.3 ends for ever at a message without.
PERSISTENT = pika.BasicProperties(delivery_mode=2, headers={})

Figures = dict[str, float]  # by the row


@dataclass(frozen=True)
class Row:
    """What is compared.

    Args:
        target, stretch: for the ratio, ours to theirs; of connections for ours alone.
        lower: the lower the better.
    """

    what: str
    unit: str
    target: float
    stretch: float
    lower: bool = False


ROWS = {
    "ack": Row("consume, ack; default settings", "msg/s", 1.5, 2.5),
    "send": Row("consume, send on, ack; default settings", "msg/s", 1.5, 3),
    "transaction": Row("the same in a transaction", "msg/s", 4, 8),
    "prefetch": Row("the same with prefetch_count=100", "msg/s", 1, 2),
    "services": Row("50 services: consume, send on, ack", "msg/s", 1, 2),
    "connections": Row("broker connections of 50 services", "", 2, 2, True),
    "cpu": Row("CPU for a message: consume, send on, ack", "µs", 1, 0.6, True),
    "lone": Row("a lone message through two services", "ms", 1.3, 0.9, True),
    "go": Row("zocaloctl go, whole command, to zocalo.go", "ms", 0.25, 0.15, True),
}


@dataclass(frozen=True)
class Found:
    """The figures of a row: one for each round; CPU in µs for each message, 0 where that makes no sense."""

    key: str
    ours: list[float]
    theirs: list[float]
    our_cpu: float = 0.0
    their_cpu: float = 0.0

    @property
    def ratio(self) -> float:
        """Return ours, as a multiple of theirs."""
        return statistics.median(self.ours) / statistics.median(self.theirs)

    def reaches(self, limit: float) -> bool:
        """Say whether it is at least as good as that."""
        value = statistics.median(self.ours) if self.key == "connections" else self.ratio
        return value <= limit if ROWS[self.key].lower else value >= limit

    @property
    def verdict(self) -> str:
        """Return which limit it reaches."""
        row = ROWS[self.key]
        if self.reaches(row.stretch):
            return "stretch"
        return "met" if self.reaches(row.target) else "MISSED"

    def document(self) -> dict[str, Any]:
        """Return it for --json."""
        cpu = {"our_cpu_us": self.our_cpu, "their_cpu_us": self.their_cpu} if self.our_cpu else {}
        figures = {"ours": self.ours, "theirs": self.theirs, "ratio": self.ratio, **cpu}
        return {"row": self.key, **vars(ROWS[self.key]), **figures, "verdict": self.verdict}

    def __str__(self) -> str:
        row = ROWS[self.key]
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        sign, spread = "≤" if row.lower else "≥", (max(self.ours) - min(self.ours)) / ours * 100
        cpu = f"  {self.our_cpu:6.0f} {self.their_cpu:6.0f} µs" if self.our_cpu else ""
        return (
            f"{row.what:<42} {ours:8.4g} {theirs:8.4g} {row.unit:<6} ±{spread / 2:3.0f} %  "
            f"{self.ratio:6.2f}  {sign} {row.target:<5g}({row.stretch:g})  {self.verdict:<8}{cpu}"
        )


class Queues:
    """Durable queues, and what waits in them."""

    def __init__(self, channel: Any, names: Sequence[str]) -> None:
        self._channel, self._names = channel, names
        for name in names:
            channel.queue_delete(name)
            channel.queue_declare(name, durable=True)

    def fill(self, count: int) -> None:
        """Put so many messages into each."""
        for _ in range(count):
            for name in self._names:
                self._channel.basic_publish("", name, BODY, PERSISTENT)

    def _look(self) -> Iterator[Any]:
        return (self._channel.queue_declare(name, passive=True).method for name in self._names)

    def depth(self) -> int:
        """Return how many messages wait in all of them."""
        return sum(int(one.message_count) for one in self._look())

    def consumed(self) -> bool:
        """Say whether each has a consumer."""
        return all(one.consumer_count for one in self._look())


def throughput(row: str, classes: Sequence[str], count: int, side: Side) -> Figures:
    """Return messages a second and CPU of services with `count` messages for each of them."""
    numbers = [one.removeprefix("Pipe") for one in classes] if len(classes) > 1 else [""]
    with side.broker.channel() as channel:
        inputs = Queues(channel, [f"in{number}" for number in numbers])
        outputs = Queues(channel, [f"out{number}" for number in numbers])
        total = count * len(numbers)

        def done() -> int:
            return total - inputs.depth() if row == "ack" else outputs.depth()

        with side.running(classes):
            wait_until(inputs.consumed, "the services", PATIENCE)
            with side.stopped():
                inputs.fill(count)
            wait_until(lambda: done() > total * 0.15, "the first messages", PATIENCE, 0.01)
            first, cpu, began = done(), side.cpu(), time.perf_counter()
            wait_until(lambda: done() > total * 0.8, "the last messages", PATIENCE, 0.05)
            last, took, cpu = done(), time.perf_counter() - began, side.cpu() - cpu
            figures = {row: (last - first) / took, "cpu": cpu / (last - first) * 1e6}
            if row == "services":
                figures["connections"] = side.connections()
    return figures


def lone(side: Side) -> Figures:
    """Return the milliseconds that a message takes through two services that have nothing else to do."""
    with side.broker.channel() as channel:
        Queues(channel, ["in", "between", "out"])
        arrived: list[float] = []
        channel.basic_consume("out", lambda *_: arrived.append(time.perf_counter()), auto_ack=True)
        times = []
        with side.running(["First", "Second"]):
            for number in range(LONE + 5):
                time.sleep(PAUSE)
                began = time.perf_counter()
                channel.basic_publish("", "in", BODY, PERSISTENT)
                end = began + PATIENCE
                while len(arrived) <= number and time.perf_counter() < end:
                    channel.connection.process_data_events(PATIENCE)
                times.append((arrived[number] - began) * 1000)
    return {"lone": statistics.median(times[5:])}  # without those that waited for the services


def go(side: Side) -> Figures:
    """Return the milliseconds of the whole command that submits a recipe."""
    with side.running(["Ack"]):
        times = []
        for _ in range(COMMANDS):
            began = time.perf_counter()
            subprocess.run(side.go(), check=True, capture_output=True, timeout=PATIENCE)
            times.append((time.perf_counter() - began) * 1000)
    return {"go": statistics.median(times)}


FIFTY = [f"Pipe{number}" for number in range(50)]
# What to run for which rows; the CPU of `send` is the row `cpu`.
MEASURES: list[tuple[tuple[str, ...], Callable[[Side], Figures]]] = [
    (("ack",), partial(throughput, "ack", ["Ack"], 40_000)),
    (("send", "cpu"), partial(throughput, "send", ["Pipe"], 20_000)),
    (("transaction",), partial(throughput, "transaction", ["Transaction"], 15_000)),
    (("prefetch",), partial(throughput, "prefetch", ["Wide"], 30_000)),
    (("services", "connections"), partial(throughput, "services", FIFTY, 600)),
    (("lone",), lone),
    (("go",), go),
]


def compare(
    broker: RabbitServer, measure: Callable[[Side], Figures], rows: Sequence[str], rounds: int
) -> Iterator[Found]:
    """Run both sides alternately and yield the rows."""
    sides = [made(broker) for made in SIDES]
    found: dict[Side, list[Figures]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides if number % 2 else reversed(sides):
            found[side].append(measure(side))
    for key in rows:
        ours, theirs = ([one[key] for one in found[side]] for side in sides)
        cpu = [statistics.median(one.get("cpu", 0.0) for one in found[side]) for side in sides]
        shown = cpu if ROWS[key].unit == "msg/s" else [0.0, 0.0]
        yield Found(key, ours, theirs, *shown)


@contextlib.contextmanager
def rabbit() -> Iterator[RabbitServer]:
    """A broker with what both sides need."""
    with tempfile.TemporaryDirectory(prefix="zocalo-compare-") as directory:
        server = RabbitServer(Path(directory))
        try:
            with server.channel() as channel:
                for exchange in ("transient.status", "command"):
                    channel.exchange_declare(exchange, "fanout", durable=True)
                channel.queue_declare("processing_recipe", durable=True)
            yield server
        finally:
            server.close()


def main() -> None:
    """Run the rows that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=ROWS, metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=5, help="of each row (default: 5)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    args = parser.parse_args()
    found = []
    if not args.json:
        load = os.getloadavg()[0]
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f} before the run")
        print(
            f"{'':<42} {'ours':>8} {'theirs':>8} {'':<14} {'ratio':>7}  target(stretch)    CPU: ours, theirs"
        )
    with rabbit() as broker:
        for keys, measure in MEASURES:
            wanted = [key for key in keys if not args.only or key in args.only]
            for one in compare(broker, measure, wanted, args.rounds) if wanted else ():
                found.append(one)
                if not args.json:
                    print(one, flush=True)
    if args.json:
        print(json.dumps([one.document() for one in found], indent=2))
    sys.exit(not all(one.reaches(ROWS[one.key].target) for one in found))


if __name__ == "__main__":
    main()
