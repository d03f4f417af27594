"""One function per figure; each takes a directory to work in and returns rows of the table."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import peers
from benchmarks.kit import Daemon, context_switches, cpu_time, pss, timed
from tests.controlkit import PATIENCE
from tests.daemonkit import COMMANDS
from tests.waiting import wait_until
from zocalo_daemon.brokers.base import Kind, Publication
from zocalo_daemon.brokers.embedded import EmbeddedBroker

KILLS = 40
IDLE = 60.0  # seconds
MESSAGES = 30_000  # in each round
SPARE = 4_000  # more, before the measurement begins and after it ends
ROUNDS = 9
WAITING = 1_000_000
BODY = b'{"payload": "' + b"x" * 985 + b'"}'


@dataclass(frozen=True)
class Row:
    """One figure: what was measured, what it must be, and what a peer reached in the same run."""

    figure: str
    value: float
    unit: str
    target: float
    lower_is_better: bool = True
    peer: float | None = None
    peer_name: str = ""

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.value <= self.target if self.lower_is_better else self.value >= self.target

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer."""
        if not self.peer or not self.value:
            return None
        return self.peer / self.value if self.lower_is_better else self.value / self.peer


def sample(count: int) -> dict[str, Any]:
    """Return the configuration of `count` sample services."""
    return {"sample": {"class": "SampleConsumer", "instances": count}}


def replacement(directory: Path) -> list[Row]:
    """kill -9 of a worker until its replacement is subscribed; each instance is killed once."""
    times = []
    with Daemon(directory / "d", sample(KILLS)) as daemon:
        control = daemon.control()
        control.ask("start", targets=["all"], wait=True)
        pids = {i["id"]: i["pid"] for s in control.ask("status")["services"] for i in s["instances"]}
        events = daemon.control().follow("events")
        time.sleep(0.5)
        for instance, pid in pids.items():
            began = time.time()
            os.kill(pid, signal.SIGKILL)
            for event in events:
                if event["event"] == "ready" and event["id"] == instance:
                    times.append((event["time"] - began) * 1000)
                    break
            time.sleep(0.05)
    peer = peers.supervisord_replacement(directory / "peer", 10)
    return [Row("kill -9 → replacement ready, median of 40", statistics.median(times), "ms", 15, True, *peer)]


def startup(directory: Path) -> list[Row]:
    """From the start of zocalod until all instances are ready; memory and wake-ups of the same daemon."""
    rows = []
    for count, limit in ((50, 0.6), (500, 5.0)):
        took = []
        for attempt in range(3 if count == 50 else 1):
            began = time.perf_counter()
            with Daemon(directory / f"{count}-{attempt}", sample(count)) as daemon:
                daemon.control().ask("start", targets=["all"], wait=True)
                took.append(time.perf_counter() - began)
                if attempt == 0:
                    rows += memory(daemon, count)
                    rows += status(daemon) if count == 500 else []
        peer = peers.zocalo_services(directory / f"peer-{count}", 10) if count == 50 else None
        per_service = (
            (peer.seconds * count / 10, "zocalo.service, 5 times the figure for 10") if peer else (None, "")
        )
        rows.append(
            Row(
                f"{count} instances ready after start",
                statistics.median(took),
                "s",
                limit,
                True,
                *per_service,
            )
        )
        if peer:
            rows = [
                replace(row, peer=peer.mebibytes, peer_name="zocalo.service")
                if row.figure.startswith("PSS of everything")
                else row
                for row in rows
            ]
    return rows


def memory(daemon: Daemon, count: int) -> list[Row]:
    """Memory and idle wake-ups of a running daemon."""
    time.sleep(3)
    family = daemon.family()
    if count == 50:
        return [Row("PSS of everything / instances, at 50", pss(family) / count, "MiB", 4.0)]
    servers = [p.pid for p in family if "forkserver" in " ".join(p.cmdline())]
    before = context_switches([daemon.pid, *servers])
    time.sleep(IDLE)
    after = context_switches([daemon.pid, *servers])
    return [
        Row("supervisor PSS at 500", pss(family[:1]), "MiB", 20),
        Row("wake-ups per minute, idle", (after - before) * 60 / IDLE, "", 6),
    ]


def status(daemon: Daemon) -> list[Row]:
    """The whole command, against an interpreter that does nothing; both alternate."""
    ours, nothing = [], []
    for _ in range(21):
        ours.append(timed([COMMANDS / "zocaloctl", "--socket", daemon.socket, "status"]))
        nothing.append(timed([sys.executable, "-c", "pass"]))
    ratio = statistics.median(ours) / statistics.median(nothing)
    return [Row("zocaloctl status at 500 / python3 -c pass", ratio, "times", 3.5)]


def throughput(directory: Path) -> list[Row]:
    """Consume, send on, acknowledge: one worker, default settings, 1 kB, durable; short and long queue."""
    fill(directory / "long", WAITING)
    short, long = [], []
    for attempt in range(ROUNDS):
        place = directory / f"short-{attempt}"
        fill(place, MESSAGES + SPARE)
        short.append(rate(place))
        long.append(rate(directory / "long"))
    return [
        Row("consume, send on, ack, embedded, default", statistics.median(short), "msg/s", 6000, False),
        Row(
            "the same with a million waiting, relative",
            max(long) / max(short),  # the best of each: whatever else the machine does only slows
            "times",
            0.95,
            False,
        ),
    ]


class Pace(NamedTuple):
    """How many messages a second a worker passes on, and the processor time of each, in microseconds."""

    rate: float
    cpu: float


def rate(directory: Path) -> float:
    """Return how many messages a second a worker passes on, once it is under way."""
    return pace(directory).rate


def pace(directory: Path, service: dict[str, Any] | None = None) -> Pace:
    """Measure a worker that passes messages on, once it is under way."""
    with Daemon(directory, {"pipe": service or {"class": "bench_services:Pipethrough"}}) as daemon:
        control = daemon.control()

        def sent() -> int:
            return next((q["ready"] for q in control.ask("queues") if q["name"] == "out"), 0)

        before = sent()
        wait_until(lambda: sent() > before + SPARE / 2, timeout=PATIENCE, every=0.01)
        family = daemon.family()
        first, began, before_cpu = sent(), time.perf_counter(), cpu_time(family)
        wait_until(lambda: sent() >= first + MESSAGES * 0.9, timeout=PATIENCE, every=0.02)
        last, ended, cpu = sent(), time.perf_counter(), cpu_time(family) - before_cpu
        return Pace((last - first) / (ended - began), cpu / (last - first) * 1e6)


def cpu_of(directory: Path, service: dict[str, Any]) -> float:
    """Return the processor time of a message of another service, over a short queue, in microseconds."""
    fill(directory, MESSAGES + SPARE)
    return pace(directory, service).cpu


def fill(directory: Path, count: int) -> None:
    """Put messages of 1 kB into the queue `in` of the embedded broker of a daemon that does not run."""
    queues = directory / "state" / "queues" / "embedded"
    queues.mkdir(parents=True)
    broker = EmbeddedBroker("embedded", queues)
    broker.open()
    for first in range(0, count, 5000):
        for token in range(first, min(first + 5000, count)):
            broker.publish(token, Publication(Kind.QUEUE, "in", {}, BODY))
        broker.poll()
    broker.close()
    os.sync()  # what the disk has still to write is not to be measured


def control_latency(directory: Path) -> list[Row]:
    """The control socket while a worker floods its log and another client never reads."""
    quiet = directory / "quiet"
    services = {
        "flood": {"class": "bench_services:Flood", "environment": {"quiet": str(quiet)}},
        **sample(20),
    }
    times = []
    with Daemon(directory / "d", services) as daemon:
        control = daemon.control()
        control.ask("start", targets=["all"], wait=True)
        deaf = daemon.control()
        deaf.follow("logs")
        time.sleep(1)
        for _ in range(300):
            began = time.perf_counter()
            control.ask("status")
            times.append((time.perf_counter() - began) * 1000)
            time.sleep(0.005)
        quiet.touch()
    return [Row("control answer under a log flood, p99", statistics.quantiles(times, n=100)[98], "ms", 100)]
