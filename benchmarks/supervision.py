"""What supervision takes and costs: ends, herds, a new supervisor in place, hangs, the share of a message."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks import peers
from benchmarks.figures import Row, cpu_of, sample
from benchmarks.kit import Daemon
from tests.controlkit import PATIENCE, Control
from zocalo_daemon.protocol import control as protocol

WORKERS = 100
HANG_TIMEOUT = 2  # seconds
ROUNDS = 12


def supervision(directory: Path) -> list[Row]:
    """All of it."""
    return [
        orphans(directory / "orphans"),
        *herd(directory / "herd"),
        *(reexec(directory / "reexec") if "reexec" in protocol.OPERATIONS else []),
        hang(directory / "hang"),
        cost(directory / "cost"),
    ]


@contextlib.contextmanager
def running(directory: Path, services: dict[str, Any]) -> Iterator[tuple[Daemon, Control]]:
    """A daemon whose services are ready, and a connection to it."""
    with Daemon(directory, services) as daemon:
        control = daemon.control()
        control.ask("start", targets=["all"], wait=True)
        yield daemon, control


def pids_of(control: Control) -> dict[str, int]:
    """Return the pid of each instance."""
    return {i["id"]: i["pid"] for s in control.ask("status")["services"] for i in s["instances"]}


def wait_for_end(processes: list[psutil.Process]) -> None:
    """Return once all of these have ended, whoever reaps them (pidfd_open(2))."""
    poll = select.poll()
    with contextlib.ExitStack() as stack:
        waiting = set()
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(process.pid)
                stack.callback(os.close, descriptor)
                poll.register(descriptor, select.POLLIN)
                waiting.add(descriptor)
        end = time.monotonic() + PATIENCE
        while waiting:
            for descriptor, _ in poll.poll(1000):
                poll.unregister(descriptor)
                waiting.discard(descriptor)
            assert time.monotonic() < end, "processes are left"


def orphans(directory: Path) -> Row:
    """SIGKILL of the supervisor until nothing that it had started is left."""
    with running(directory, sample(WORKERS)) as (daemon, _):
        family = daemon.family()
        assert len(family) >= WORKERS + 3
        began = time.perf_counter()
        os.kill(daemon.pid, signal.SIGKILL)
        wait_for_end(family[1:])
        took = (time.perf_counter() - began) * 1000
    return Row(f"SIGKILL of the supervisor of {WORKERS} → no process left", took, "ms", 200)


def herd(directory: Path) -> list[Row]:
    """All workers killed at once, until all are subscribed again: the median of three."""
    took = statistics.median(_herd(directory / str(attempt)) for attempt in range(3))
    figure = f"{WORKERS} workers killed at once → all ready again"
    others = (peers.supervisord_herd, peers.circus_herd)
    return [Row(figure, took, "s", 0.5, True, *peer(directory / peer.__name__, WORKERS)) for peer in others]


def _herd(directory: Path) -> float:
    with running(directory, sample(WORKERS)) as (daemon, control):
        pids = pids_of(control)
        events = daemon.control().follow("events")
        time.sleep(1)  # until nothing else happens
        missing = set(pids)
        began = time.perf_counter()
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        while missing:
            event = next(events)
            if event["event"] == "ready":
                missing.discard(event["id"])
        return time.perf_counter() - began


def reexec(directory: Path) -> list[Row]:
    """The longest time without an answer while the supervisor replaces itself, asked every 2 ms."""
    with running(directory, sample(WORKERS)) as (daemon, control):
        pids, done = pids_of(control), threading.Event()
        answered = [time.perf_counter()]

        def ask() -> None:
            while not done.wait(0.002):
                with contextlib.suppress(OSError), contextlib.closing(daemon.control()) as one:
                    one.ask("version")
                    answered.append(time.perf_counter())

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.2)
        daemon.ctl("reexec")
        time.sleep(1)
        done.set()
        asking.join()
        with contextlib.closing(daemon.control()) as now:
            assert pids_of(now) == pids
    gap = max(later - earlier for earlier, later in itertools.pairwise(answered)) * 1000
    return [Row(f"reexec with {WORKERS} workers: control socket away", gap, "ms", 150)]


def hang(directory: Path) -> Row:
    """From the moment at which a callback has hung for hang_timeout until the daemon says so."""
    service = {
        "class": "bench_services:Hang",
        "environment": {"begun": str(directory / "begun")},
        "hang_timeout": f"{HANG_TIMEOUT}s",
    }
    with running(directory, {"hang": service}) as (daemon, control):
        events = daemon.control().follow("events")
        control.ask("send", queue="hang", body=b"1")
        while next(events)["event"] != "hung":
            pass
        noticed = time.monotonic()
        late = noticed - float((directory / "begun").read_text()) - HANG_TIMEOUT
    return Row("hang noticed after hang_timeout", late, "s", 1.0)


def cost(directory: Path) -> Row:
    """A message's processor time with all that watches a worker, and without; rounds of both alternate.

    Not the throughput, which varies by a quarter from round to round with the machine's own pace.
    """
    watched = {"hang_timeout": "10m", "max_messages": 10**9, "max_age": "30d", "max_rss": "8GiB"}
    times: dict[str, list[float]] = {"Pipethrough": [], "Unwatched": []}
    for attempt in range(ROUNDS):
        for name, found in times.items():
            service = {"class": f"bench_services:{name}", **(watched if name == "Pipethrough" else {})}
            found.append(cpu_of(directory / f"{name}-{attempt}", service))
    more = (statistics.median(times["Pipethrough"]) / statistics.median(times["Unwatched"]) - 1) * 100
    return Row("processor time of a message that supervision costs", more, "%", 3)
