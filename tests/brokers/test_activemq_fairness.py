"""Two daemons on one queue of ActiveMQ: nothing waits behind a busy worker of one while the other is idle."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.brokers.activemq import ActiveServer
from tests.brokers.stompdriver import StompDriver
from tests.controlkit import Direct
from zocalo_daemon.brokers.base import Confirmed, Delivered

QUEUE = "fair-stomp"
MANY = 400  # more than a worker of short callbacks has in its buffer


class Two:
    """The daemons `a` and `b`, each with a worker on the queue, and messages for them."""

    def __init__(self, directory: Path, active: ActiveServer) -> None:
        broker = {"driver": "activemq", "hosts": [active.address], "username": "guest", "password": "guest"}
        self.daemons: dict[str, Direct] = {}
        for name in ("a", "b"):
            services = {QUEUE: {"class": "sharing:Sharer", "environment": {"name": name, "queue": QUEUE}}}
            (directory / name).mkdir()
            self.daemons[name] = Direct(
                directory / name, services, default_transport="active", transports={"active": broker}
            )
        self.driver = StompDriver(active.settings())
        self.driver.connected()
        self.driver.subscribe(1, f"{QUEUE}.done", credit=100)

    def ask(self, command: str, name: str) -> None:
        """Stop or start the service of a daemon."""
        self.daemons[name].ask(command, targets=["all"], wait=True)

    def send(self, count: int, **message: Any) -> None:
        """Send messages, and wait until the broker has them."""
        driver, body = self.driver, json.dumps(message).encode()
        driver.events = [one for one in driver.events if type(one) is Delivered]
        for _ in range(count):
            driver.send(QUEUE, body)
        driver.until(lambda: len(driver.of(Confirmed)) == count, "confirmations")

    def done(self, count: int) -> Counter[str]:
        """Wait until so many messages are done; return how many by whom, and forget them."""
        found: Counter[str] = Counter()

        def all_of_them() -> bool:
            for delivery in self.driver.of(Delivered):
                found[json.loads(delivery.body)["by"]] += 1
                self.driver.settle(delivery)
                self.driver.broker.credit(1, 1)
            self.driver.events.clear()
            return found.total() >= count

        self.driver.until(all_of_them, f"{count} messages")
        return found


@pytest.fixture(scope="module")
def two(active: ActiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """Both daemons, ready."""
    two = Two(tmp_path_factory.mktemp("two"), active)
    try:
        for daemon in two.daemons.values():
            daemon.start()
        yield two
    finally:
        for daemon in two.daemons.values():
            daemon.close()
        two.driver.broker.close()


@pytest.fixture
def released(tmp_path: Path) -> Iterator[Path]:
    """A file that lets `a` go on; it is there after the test at the latest."""
    file = tmp_path / "go-on"
    yield file
    file.touch()


def test_a_busy_worker_has_one_message(two, released):
    two.send(20, slow="a", until=str(released))
    assert two.done(19) == {"b": 19}
    released.touch()
    assert two.done(1) == {"a": 1}


def test_what_waits_behind_a_callback_that_turns_out_long_goes_to_the_other_daemon(two, released):
    two.ask("stop", "b")
    two.send(MANY)
    assert two.done(MANY) == {"a": MANY}  # it has seen short callbacks, so it takes many ahead
    two.send(1, slow="a", until=str(released))
    two.send(MANY)
    two.ask("start", "b")
    assert two.done(MANY) == {"b": MANY}
    released.touch()
    assert two.done(1) == {"a": 1}
