"""Submissions while a real RabbitMQ is away: by zocaloctl, by a timer, and with deaths in the middle."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.brokers.rabbit import RabbitServer, require_server
from tests.daemonkit import Daemon
from tests.waiting import wait_until
from zocalo_daemon.client.connection import Connection

QUEUES = ("jobs", "ticks", "processing_recipe")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RabbitServer]:
    """A RabbitMQ of its own, because it is killed."""
    require_server()
    directory = tmp_path / "rabbit"
    directory.mkdir()
    server = RabbitServer(directory)
    with server.channel() as channel:
        for queue in QUEUES:
            channel.queue_declare(queue, durable=True)
    yield server
    server.close()


@pytest.fixture
def daemon(tmp_path: Path, broker: RabbitServer) -> Iterator[Daemon]:
    """A daemon with a service that sends by its timer."""
    settings = {key: value for key, value in broker.settings().items() if key != "name"}
    daemon = Daemon(
        tmp_path,
        {"ticker": {"class": "ticking:Ticker"}},
        transports={"rabbit": settings},
    )
    yield daemon
    daemon.close()


def transport(daemon: Daemon) -> dict[str, Any]:
    return daemon.status()["transports"][0]


def relay(daemon: Daemon) -> int:
    return int(daemon.status()["daemon"]["relay"]["pid"])


def taken(broker: RabbitServer, queue: str) -> list[Any]:
    """Take everything out of a queue."""
    found = []
    with broker.channel() as channel:
        while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
            found.append(json.loads(got[2]))
    return found


def once(items: list[Any]) -> list[Any]:
    """Return them without what came before: a death may send something twice."""
    return list(dict.fromkeys(map(json.dumps, items)))


def submit(daemon: Daemon, numbers: range) -> None:
    """Send numbers over one control connection, one of them to a queue that is not there."""
    with Connection(str(daemon.socket)) as connection:
        for number in numbers:
            queue = "nowhere" if number == 500 else "jobs"
            answer = connection.call("send", {"queue": queue, "body": b"%d" % number}, timeout=30)
            assert answer["spooled"]


def test_a_thousand_submissions_while_the_broker_is_away(daemon, broker):
    daemon.start()
    wait_until(lambda: transport(daemon)["state"] == "connected")
    assert daemon.ctl("send", "jobs", "-1").stdout == "sent to queue jobs\n"
    broker.kill()
    wait_until(lambda: transport(daemon)["state"] == "connecting")

    begin = time.monotonic()
    said = daemon.ctl("go", "-r", "example", "1").stdout
    assert time.monotonic() - begin < 2.0  # with an interpreter's start, on a busy machine
    assert said.startswith(f"spooled for queue processing_recipe: broker {broker.address} away since 20")
    submit(daemon, range(300))
    os.kill(relay(daemon), signal.SIGKILL)
    submit(daemon, range(300, 600))
    daemon.process.kill()
    daemon.process.wait()
    daemon.start()
    submit(daemon, range(600, 1000))

    assert (
        wait_until(lambda: (shown := transport(daemon))["spooled"] > 1000 and shown)["spooled_bytes"] > 40_000
    )
    text = daemon.ctl("status", check=False).stdout
    assert " spooled (" in text
    assert ", oldest " in text
    before = transport(daemon)["spooled"]
    broker.start()
    wait_until(lambda: transport(daemon)["spooled"] < before, timeout=60.0)
    os.kill(relay(daemon), signal.SIGKILL)
    wait_until(lambda: (t := transport(daemon))["state"] == "connected" and not t["spooled"], timeout=60.0)

    jobs = taken(broker, "jobs")
    assert once(jobs) == [str(number) for number in range(-1, 1000) if number != 500]
    assert len(taken(broker, "processing_recipe")) == 1
    check_ticks(taken(broker, "ticks"))
    (letter,) = json.loads(daemon.ctl("--json", "dlq", "list").stdout)
    assert (letter["queue"], letter["reason"]) == ("dlq.nowhere", "there is no queue 'nowhere'")
    assert "a spooled message is now a dead letter: there is no queue 'nowhere'" in daemon.stderr()
    daemon.ctl("dlq", "reinject", "--destination", "jobs", "nowhere")
    wait_until(lambda: taken(broker, "jobs") == [500])


def check_ticks(ticks: list[list[int]]) -> None:
    """Each worker's numbers are all there and in order."""
    lives = {pid: [number for other, number in ticks if other == pid] for pid, _ in ticks}
    assert len(lives) == 2  # one before the death of the supervisor, one after it
    for numbers in lives.values():
        assert once(numbers) == [
            str(number) for number in itertools.islice(itertools.count(), len(once(numbers)))
        ]
        assert len(numbers) > 10
