"""A daemon whose broker is killed while submissions go on, whatever the broker."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from tests.daemonkit import Daemon
from tests.waiting import wait_until
from zocalo_daemon.client.connection import Connection

TICKER = {"ticker": {"class": "ticking:Ticker"}}  # a service that sends by its timer
BAD = 500  # the submission that `submit` makes wrong


def transport(daemon: Daemon) -> dict[str, Any]:
    return daemon.status()["transports"][0]


def relay(daemon: Daemon) -> int:
    return int(daemon.status()["daemon"]["relay"]["pid"])


def once(items: list[Any]) -> list[Any]:
    """Return them without what came before: a death may send something twice."""
    return list(dict.fromkeys(map(json.dumps, items)))


def submit(daemon: Daemon, numbers: range, wrong: dict[str, Any]) -> None:
    """Send numbers over one control connection, one of them with arguments that the broker refuses."""
    with Connection(str(daemon.socket)) as connection:
        for number in numbers:
            arguments = {"queue": "jobs", "body": b"%d" % number, **(wrong if number == BAD else {})}
            answer = connection.call("send", arguments, timeout=30)
            assert answer["spooled"]


def outage(daemon: Daemon, broker: Any, wrong: dict[str, Any]) -> None:
    """Kill the broker, submit a thousand messages while relay and daemon are killed, and bring it back."""
    wait_until(lambda: transport(daemon)["state"] == "connected")
    assert daemon.ctl("send", "jobs", "-1").stdout == "sent to queue jobs\n"
    broker.kill()
    wait_until(lambda: transport(daemon)["state"] == "connecting")

    begin = time.monotonic()
    said = daemon.ctl("go", "-r", "example", "1").stdout
    assert time.monotonic() - begin < 4.0  # with an interpreter's start on a busy machine; without a spool, 5
    assert said.startswith(f"spooled for queue processing_recipe: broker {broker.address} away since 20")
    submit(daemon, range(300), wrong)
    os.kill(relay(daemon), signal.SIGKILL)
    submit(daemon, range(300, 600), wrong)
    daemon.process.kill()
    daemon.process.wait()
    daemon.start()
    submit(daemon, range(600, 1000), wrong)

    shown = wait_until(lambda: (shown := transport(daemon))["spooled"] > 1000 and shown)
    assert shown["spooled_bytes"] > 40_000
    text = daemon.ctl("status", check=False).stdout
    assert " spooled (" in text
    assert ", oldest " in text
    before = transport(daemon)["spooled"]
    broker.start()
    wait_until(lambda: transport(daemon)["spooled"] < before, timeout=60.0)
    os.kill(relay(daemon), signal.SIGKILL)
    wait_until(lambda: (t := transport(daemon))["state"] == "connected" and not t["spooled"], timeout=60.0)


def check(daemon: Daemon, taken: Callable[[str], list[Any]], reason: str) -> None:
    """Everything has arrived once, or more often, and in order; what was refused is a dead letter.

    Args:
        taken: takes everything out of a queue.
    """
    jobs = taken("jobs")
    assert once(jobs) == [str(number) for number in range(-1, 1000) if number != BAD]
    assert len(taken("processing_recipe")) == 1
    check_ticks(taken("ticks"))
    (letter,) = json.loads(daemon.ctl("--json", "dlq", "list").stdout)
    assert letter["reason"] == reason
    assert f"a spooled message is now a dead letter: {reason}" in daemon.stderr()


def check_ticks(ticks: list[list[int]]) -> None:
    """Each worker's numbers are all there and in order."""
    lives = {pid: [number for other, number in ticks if other == pid] for pid, _ in ticks}
    assert len(lives) == 2  # one before the death of the supervisor, one after it
    for numbers in lives.values():
        assert once(numbers) == [
            str(number) for number in itertools.islice(itertools.count(), len(once(numbers)))
        ]
        assert len(numbers) > 10
