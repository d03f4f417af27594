"""Submissions while a real ActiveMQ is away: by zocaloctl, by a timer, and with deaths in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.brokers.activemq import ActiveServer, require_server
from tests.brokers.outage import TICKER, check, outage
from tests.brokers.stompdriver import StompDriver
from tests.daemonkit import Daemon
from zocalo_daemon.brokers.base import Delivered


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ActiveServer]:
    """An ActiveMQ of its own, because it is killed."""
    require_server()
    directory = tmp_path / "active"
    directory.mkdir()
    server = ActiveServer(directory)
    yield server
    server.close()


@pytest.fixture
def daemon(tmp_path: Path, broker: ActiveServer) -> Iterator[Daemon]:
    settings = {key: value for key, value in broker.settings().items() if key not in ("name", "vhost")}
    daemon = Daemon(tmp_path, TICKER, transports={"active": settings})
    yield daemon.start()
    daemon.close()


def taken(broker: ActiveServer, queue: str) -> list[Any]:
    """Take everything out of a queue, in its order: an exclusive consumer is one subscription."""
    driver = StompDriver(broker.settings())
    try:
        driver.connected()
        driver.answer(driver.send(queue, b"end"))
        driver.subscribe(1, queue, credit=10_000, exclusive=True)
        found: list[bytes] = []

        def work() -> bool:
            for delivery in driver.of(Delivered)[len(found) :]:
                found.append(delivery.body)
                driver.settle(delivery)
            return b"end" in found

        driver.until(work, f"the end of {queue}", timeout=60.0)
        return [json.loads(body) for body in found[: found.index(b"end")]]
    finally:
        driver.broker.close()


def test_a_thousand_submissions_while_the_broker_is_away(daemon, broker):
    outage(daemon, broker, {"headers": {"expires": "soon"}})
    reason = "the header 'expires' must be a whole number, not 'soon'"
    check(daemon, lambda queue: taken(broker, queue), reason)
    daemon.ctl("dlq", "purge", "jobs")
