"""A real relay process for every driver that needs nothing installed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.relaykit import RelayProcess
from tests.waiting import wait_until
from zocalo_daemon.worker.transport import RelayTransport

DRIVERS = ["memory", "embedded"]


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
    relay = RelayProcess(Path(tmp_path_factory.mktemp("relay")), request.param)
    yield relay
    relay.close()


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
def queue(request: pytest.FixtureRequest) -> str:
    """The name of a queue that no other test uses."""
    return "queue." + re.sub(r"\W+", "-", request.node.name)  # no brackets: they mean something in patterns


@pytest.fixture
def take(transport: RelayTransport) -> Callable[..., Inbox]:
    """Subscribe with the transport; returns what arrives."""

    def subscribe(name: str, of: RelayTransport = transport, **options: object) -> Inbox:
        inbox = Inbox()
        inbox.number = of.subscribe(name, inbox, **options)
        return inbox

    return subscribe
