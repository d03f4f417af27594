"""A real relay process for every driver, and the broker that it needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.brokers.activemq import STATISTICS, USERS, ActiveServer
from tests.brokers.activemq import require_server as require_activemq
from tests.brokers.rabbit import RabbitServer, require_server
from tests.brokers.rabbitdriver import Driver
from tests.relaykit import RelayProcess
from tests.waiting import wait_until
from zocalo_daemon.worker.transport import RelayTransport

DRIVERS = ["memory", "embedded", "rabbitmq", "activemq"]
BROKERS = {"rabbitmq": "rabbit", "activemq": "active"}  # driver: fixture of its server
SUFFIXES = ("", ".in", ".out", ".1", ".2")  # of the queues that a test may use


class Inbox:
    """A callback that keeps what it gets."""

    def __init__(self) -> None:
        self.items: list[tuple[dict, object]] = []
        self.number = 0

    def __call__(self, header: dict, message: object) -> None:
        self.items.append((header, message))

    def wait(self, count: int) -> None:
        """Wait until so many messages have arrived."""
        wait_until(lambda: len(self.items) >= count, f"{count} messages")

    @property
    def messages(self) -> list[object]:
        return [message for _, message in self.items]

    @property
    def headers(self) -> list[dict]:
        return [header for header, _ in self.items]


@pytest.fixture(scope="module", params=DRIVERS)
def relay(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """One relay for the tests of a module; each test uses queues of its own."""
    settings = {}
    if request.param in BROKERS:
        settings["transports"] = [request.getfixturevalue(BROKERS[request.param]).settings()]
    relay = RelayProcess(Path(tmp_path_factory.mktemp("relay")), request.param, **settings)
    yield relay
    relay.close()


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """One RabbitMQ for all tests that need one."""
    require_server()
    server = RabbitServer(tmp_path_factory.mktemp("rabbit"), everything=True)
    with server.channel() as channel:
        channel.exchange_declare("transient.status", "fanout", durable=True)
    yield server
    server.close()


@pytest.fixture(scope="session")
def active(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ActiveServer]:
    """One ActiveMQ for all tests that need one."""
    require_activemq()
    server = ActiveServer(tmp_path_factory.mktemp("active"), USERS + STATISTICS)
    yield server
    server.close()


@pytest.fixture
def driver(rabbit: RabbitServer) -> Iterator[Driver]:
    """A connected driver of RabbitMQ, without a relay."""
    driver = Driver(rabbit.settings())
    driver.connected()
    yield driver
    driver.broker.close()
    if not rabbit.running:  # a test that killed it has failed; the others need it
        rabbit.start()


@pytest.fixture
def transport(relay: RelayProcess) -> Iterator[RelayTransport]:
    """A connected transport."""
    transport = relay.transport("tester/0")
    yield transport
    transport.disconnect()


@pytest.fixture
def other(relay: RelayProcess) -> Iterator[RelayTransport]:
    """Another connected transport."""
    transport = relay.transport("other/0")
    yield transport
    transport.disconnect()


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a queue that no other test uses.

    On RabbitMQ it is there, with some more of that name and suffixes, and an exchange for broadcasts.
    """
    name = "queue." + re.sub(r"\W+", "-", request.node.name)  # no brackets: they mean something in patterns
    callspec = getattr(request.node, "callspec", None)
    driver = callspec.params.get("relay") if callspec else None
    if driver != "rabbitmq" and "rabbit" not in request.fixturenames:
        yield name
        return
    names = [f"{name}{suffix}" for suffix in SUFFIXES] + [f"dlq.{name}"]
    server = request.getfixturevalue("rabbit")
    with server.channel() as channel:
        channel.exchange_declare(name, "fanout", durable=True)
        for one in names:
            channel.queue_declare(one, arguments={"x-max-priority": 9})
    yield name
    if server.running:
        with server.channel() as channel:
            channel.exchange_delete(name)
            for one in names:
                channel.queue_delete(one)


@pytest.fixture
def take(transport: RelayTransport) -> Callable[..., Inbox]:
    """Subscribe with the transport; returns what arrives."""

    def subscribe(name: str, of: RelayTransport = transport, **options: object) -> Inbox:
        inbox = Inbox()
        inbox.number = of.subscribe(name, inbox, **options)
        return inbox

    return subscribe
