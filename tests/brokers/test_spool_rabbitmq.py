"""Submissions while a real RabbitMQ is away: by zocaloctl, by a timer, and with deaths in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.brokers.outage import BAD, TICKER, check, outage
from tests.brokers.rabbit import RabbitServer, require_server
from tests.daemonkit import Daemon
from tests.waiting import wait_until

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
    settings = {key: value for key, value in broker.settings().items() if key != "name"}
    daemon = Daemon(tmp_path, TICKER, transports={"rabbit": settings})
    yield daemon.start()
    daemon.close()


def taken(broker: RabbitServer, queue: str) -> list[Any]:
    """Take everything out of a queue."""
    found = []
    with broker.channel() as channel:
        while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
            found.append(json.loads(got[2]))
    return found


def test_a_thousand_submissions_while_the_broker_is_away(daemon, broker):
    outage(daemon, broker, {"queue": "nowhere"})
    check(daemon, lambda queue: taken(broker, queue), "there is no queue 'nowhere'")
    daemon.ctl("dlq", "reinject", "--destination", "jobs", "nowhere")
    wait_until(lambda: taken(broker, "jobs") == [BAD])
