"""Two daemons on one queue: nothing waits behind a busy worker of one while that of the other is idle."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

from tests.brokers.rabbit import RabbitServer
from tests.controlkit import Direct
from tests.waiting import wait_until

EXPLICIT = 10  # prefetch_count of the service on the queue of that name
QUEUES: dict[str, dict[str, int]] = {"fair": {}, "fair-explicit": {"prefetch_count": EXPLICIT}}
MANY = 400  # more than a worker of short callbacks has in its buffer


class Two:
    """The daemons `a` and `b`, each with a worker on every queue, and messages for them."""

    def __init__(self, directory: Path, rabbit: RabbitServer, channel: Any) -> None:
        self._channel = channel
        self.daemons: dict[str, Direct] = {}
        transports = {"rabbit": {"driver": "rabbitmq", "hosts": [rabbit.address]}}
        for name in ("a", "b"):
            services = {
                queue: {"class": "sharing:Sharer", "environment": {"name": name, "queue": queue, **options}}
                for queue, options in QUEUES.items()
            }
            (directory / name).mkdir()
            self.daemons[name] = Direct(
                directory / name, services, default_transport="rabbit", transports=transports
            )

    def stop(self, name: str) -> None:
        """Stop the services of a daemon."""
        self.daemons[name].ask("stop", targets=["all"], wait=True)

    def start(self, name: str) -> None:
        """Start them again."""
        self.daemons[name].ask("start", targets=["all"], wait=True)

    def send(self, queue: str, count: int, **message: Any) -> None:
        """Send messages."""
        properties = pika.BasicProperties(headers={})
        for _ in range(count):
            self._channel.basic_publish("", queue, json.dumps(message).encode(), properties)

    def waiting(self, queue: str) -> int:
        """Return how many messages are in a queue, without those that are out."""
        return int(self._channel.queue_declare(queue, passive=True).method.message_count)

    def done(self, queue: str, count: int) -> Counter[str]:
        """Wait until so many messages are done; return how many by whom, and forget them."""
        results = f"{queue}.done"
        wait_until(lambda: self.waiting(results) >= count, f"{count} messages of {queue}", every=0.02)
        found = [self._channel.basic_get(results, auto_ack=True)[2] for _ in range(count)]
        return Counter(json.loads(body)["by"] for body in found)


@pytest.fixture(scope="module")
def two(rabbit: RabbitServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """Both daemons, ready."""
    with rabbit.channel() as channel:
        for queue in QUEUES:
            for name in (queue, f"{queue}.done"):
                channel.queue_declare(name, durable=True)
        two = Two(tmp_path_factory.mktemp("two"), rabbit, channel)
        try:
            for daemon in two.daemons.values():
                daemon.start()
            yield two
        finally:
            for daemon in two.daemons.values():
                daemon.close()
            for queue in QUEUES:
                for name in (queue, f"{queue}.done"):
                    channel.queue_delete(name)


@pytest.fixture
def released(tmp_path: Path) -> Iterator[Path]:
    """A file that lets `a` go on; it is there after the test at the latest."""
    file = tmp_path / "go-on"
    yield file
    file.touch()


def test_a_busy_worker_has_one_message(two, released):
    two.send("fair", 20, slow="a", until=str(released))
    assert two.done("fair", 19) == {"b": 19}
    released.touch()
    assert two.done("fair", 1) == {"a": 1}


def test_what_waits_behind_a_callback_that_turns_out_long_goes_to_the_other_daemon(two, released):
    two.stop("b")
    two.send("fair", 2000)
    assert two.done("fair", 2000) == {"a": 2000}  # it has seen short callbacks, so it takes many ahead
    two.send("fair", 1, slow="a", until=str(released))
    two.send("fair", MANY)
    two.start("b")
    assert two.done("fair", MANY) == {"b": MANY}
    released.touch()
    assert two.done("fair", 1) == {"a": 1}


def test_a_worker_that_becomes_slow_keeps_no_more_than_a_moment_of_work(two):
    two.stop("b")
    two.send("fair", 2000)
    two.done("fair", 2000)
    two.send("fair", MANY, slow="a", seconds=0.02)
    two.start("b")
    done = two.done("fair", MANY)
    assert done["a"] < MANY / 8, done


def test_an_explicit_prefetch_is_kept(two, released):
    two.stop("b")
    two.send("fair-explicit", 3 * EXPLICIT, slow="a", until=str(released))
    wait_until(lambda: two.waiting("fair-explicit") == 2 * EXPLICIT, "what a takes")
    two.start("b")
    assert two.done("fair-explicit", 2 * EXPLICIT) == {"b": 2 * EXPLICIT}
    released.touch()
    assert two.done("fair-explicit", EXPLICIT) == {"a": EXPLICIT}
