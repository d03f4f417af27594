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

from benchmarks.figures import BODY
from benchmarks.queues import PATIENCE, PERSISTENT, Amqp, Stomp
from benchmarks.sides import SIDES, Side
from tests.brokers.activemq import ActiveServer
from tests.brokers.rabbit import RabbitServer
from tests.waiting import wait_until

LONE = 60  # messages of a round, with a
PAUSE = 0.02  # seconds between them
COMMANDS = 7  # of a round
QUEUES: dict[str, Callable[[Any, Sequence[str]], Any]] = {"rabbitmq": Amqp, "activemq": Stomp}

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
    "stomp": Row("STOMP: consume, send on (receipt), ack", "msg/s", 1, 2),
    "stomp-transaction": Row("STOMP: the same in a transaction", "msg/s", 2, 10),
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


def throughput(row: str, classes: Sequence[str], count: int, side: Side) -> Figures:
    """Return messages a second and CPU of services with `count` messages for each of them."""
    numbers = [one.removeprefix("Pipe") for one in classes] if len(classes) > 1 else [""]
    total = count * len(numbers)
    with contextlib.closing(QUEUES[side.driver](side.broker, numbers)) as queues, side.running(classes):

        def done() -> int:
            found: int = total - queues.left() if row == "ack" else queues.passed()
            return found

        queues.wait_for_services()
        with side.stopped():
            queues.fill(count)
        wait_until(lambda: done() > total * 0.15, "the first messages", PATIENCE, 0.01)
        first, cpu, began = done(), side.cpu(), time.perf_counter()
        wait_until(lambda: done() > total * 0.8, "the last messages", PATIENCE, 0.05)
        last, took, cpu = done(), time.perf_counter() - began, side.cpu() - cpu
        figures = {row: (last - first) / took, "cpu": cpu / (last - first) * 1e6}
        if row == "services":
            figures["connections"] = side.connections()
        wait_until(lambda: done() >= total, "all messages", PATIENCE)
    return figures


def lone(side: Side) -> Figures:
    """Return the milliseconds that a message takes through two services that have nothing else to do."""
    with side.broker.channel() as channel:
        for name in ("in", "between", "out"):
            channel.queue_delete(name)
            channel.queue_declare(name, durable=True)
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
# The broker, and what to run for which rows; the CPU of `send` is the row `cpu`.
MEASURES: list[tuple[str, tuple[str, ...], Callable[[Side], Figures]]] = [
    ("rabbitmq", ("ack",), partial(throughput, "ack", ["Ack"], 40_000)),
    ("rabbitmq", ("send", "cpu"), partial(throughput, "send", ["Pipe"], 20_000)),
    ("rabbitmq", ("transaction",), partial(throughput, "transaction", ["Transaction"], 15_000)),
    ("rabbitmq", ("prefetch",), partial(throughput, "prefetch", ["Wide"], 30_000)),
    ("rabbitmq", ("services", "connections"), partial(throughput, "services", FIFTY, 600)),
    ("rabbitmq", ("lone",), lone),
    ("rabbitmq", ("go",), go),
    ("activemq", ("stomp",), partial(throughput, "stomp", ["Pipe"], 15_000)),
    ("activemq", ("stomp-transaction",), partial(throughput, "stomp-transaction", ["Transaction"], 3_000)),
]


def compare(
    broker: Any, driver: str, measure: Callable[[Side], Figures], rows: Sequence[str], rounds: int
) -> Iterator[Found]:
    """Run both sides alternately and yield the rows."""
    sides = [made(broker, driver) for made in SIDES]
    found: dict[Side, list[Figures]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides if number % 2 else reversed(sides):
            found[side].append(measure(side))
    for key in rows:
        ours, theirs = ([one[key] for one in found[side]] for side in sides)
        cpu = [statistics.median(one.get("cpu", 0.0) for one in found[side]) for side in sides]
        shown = cpu if ROWS[key].unit == "msg/s" else [0.0, 0.0]
        yield Found(key, ours, theirs, *shown)


class Rabbit(RabbitServer):
    """RabbitMQ with its own settings, not those of tests."""

    schedulers = ""


class Active(ActiveServer):
    """The same of ActiveMQ."""

    machine = ("-Xmx512m",)


@contextlib.contextmanager
def broker_of(driver: str) -> Iterator[Any]:
    """A broker with what both sides need."""
    with tempfile.TemporaryDirectory(prefix="zocalo-compare-") as directory:
        server = (Rabbit if driver == "rabbitmq" else Active)(Path(directory))
        with contextlib.closing(server):
            if isinstance(server, Rabbit):
                with server.channel() as channel:
                    for exchange in ("transient.status", "command"):
                        channel.exchange_declare(exchange, "fanout", durable=True)
                    channel.queue_declare("processing_recipe", durable=True)
            yield server


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
    for driver in QUEUES:
        asked = [
            ([key for key in keys if not args.only or key in args.only], measure)
            for where, keys, measure in MEASURES
            if where == driver
        ]
        if not any(keys for keys, _ in asked):
            continue
        with broker_of(driver) as broker:
            for keys, measure in asked:
                for one in compare(broker, driver, measure, keys, args.rounds) if keys else ():
                    found.append(one)
                    if not args.json:
                        print(one, flush=True)
    if args.json:
        print(json.dumps([one.document() for one in found], indent=2))
    sys.exit(not all(one.reaches(ROWS[one.key].target) for one in found))


if __name__ == "__main__":
    main()
