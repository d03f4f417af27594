"""Nothing is lost: 20,000 messages on a real broker that dies and returns, as do relay and workers."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import workflows

from tests.brokers.rabbit import RabbitServer, require_server
from tests.controlkit import Direct
from tests.soakkit import QUEUES, Kill, arrivals, check_arrivals, kill, stages
from tests.waiting import wait_until
from zocalo_daemon.worker.transport import RelayTransport

MESSAGES = 20_000
BATCH = 100  # messages per transaction of the one who submits
ROUNDS = 20  # each kills the broker once, the relay once and two workers


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RabbitServer]:
    """A RabbitMQ of this test's own, with the queues of the services."""
    require_server()
    (tmp_path / "broker").mkdir()
    server = RabbitServer(tmp_path / "broker")
    with server.channel() as channel:
        for name in QUEUES:
            channel.queue_declare(name, durable=True)
            channel.queue_declare(f"dlq.{name}", durable=True)
    yield server
    server.close()


def submit(socket: Path, rounds: list[int], again: set[int]) -> None:
    """Send every number, in transactions; one that could not be saved is sent again."""
    transport = RelayTransport.for_worker(str(socket), "", "")
    transport.connect()
    for first in range(0, MESSAGES, BATCH):
        wait_until(lambda first=first: first / MESSAGES < (len(rounds) + 1) / ROUNDS, timeout=200)
        while not _committed(transport, range(first, first + BATCH)):
            again.update(range(first, first + BATCH))
    transport.disconnect()


def _committed(transport: RelayTransport, numbers: range) -> bool:
    with contextlib.suppress(workflows.Disconnected):
        transaction = transport.transaction_begin()
        for number in numbers:
            transport.send("one", number, transaction=transaction)
        transport.transaction_commit(transaction)
        return True
    return False


def left(broker: RabbitServer) -> dict[str, int]:
    """Return how many messages each queue has, its dead letters included."""
    with broker.channel() as channel:
        names = [*QUEUES, *(f"dlq.{name}" for name in QUEUES)]
        return {name: channel.queue_declare(name, passive=True).method.message_count for name in names}


def is_connected(daemon: Direct) -> bool:
    """Whether the relay has the broker back."""
    return [one["state"] for one in daemon.status()["transports"]] == ["connected"]


@pytest.mark.timeout(600)
def test_deaths_of_the_broker_lose_nothing(broker, tmp_path):
    chance = random.Random(20261122)
    transports = {"default": broker.settings()}
    del transports["default"]["name"]
    d = Direct(tmp_path, stages(tmp_path), relay={"clients": "user"}, transports=transports).start()
    kills: list[Kill] = []
    rounds: list[int] = []
    again: set[int] = set()  # whether the first attempt has been saved, nobody knows
    sender = threading.Thread(target=submit, args=(d.directory / "relay.sock", rounds, again))
    try:
        sender.start()
        for number in range(ROUNDS):
            time.sleep(chance.uniform(0.2, 0.6))  # some work between the deaths
            away = time.time()
            broker.kill()
            broker.start(wait=False)
            for what in chance.sample(["relay", "worker", "worker"], 3):
                kills.append(kill(d, what, chance))
                time.sleep(chance.uniform(0.05, 0.25))
            wait_until(lambda: is_connected(d), "the broker", timeout=60, every=0.1)
            kills.append(Kill("broker", 0, away, time.time()))
            rounds.append(number)
        sender.join(120)
        assert not sender.is_alive()
        wait_until(
            lambda: len(arrivals(tmp_path / "third")) == MESSAGES, "all results", timeout=200, every=0.5
        )
        assert d.stop() == 0
    finally:
        d.close()
    assert set(left(broker).values()) == {0}, left(broker)
    total = check_arrivals(tmp_path, MESSAGES, kills, again)
    print(f"{total} duplicates after {len(kills)} kills")
