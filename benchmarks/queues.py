"""What services take their messages from and send them to, as a comparison fills and counts it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pika
import stomp

from benchmarks.figures import BODY
from tests.waiting import wait_until

PATIENCE = 180.0  # seconds
# With headers: workflows 3.3 ends for ever at a message without.
PERSISTENT = pika.BasicProperties(delivery_mode=2, headers={})


class Amqp:
    """Durable queues of RabbitMQ: `in` and `out`, each with these numbers; they are made anew."""

    def __init__(self, broker: Any, numbers: Sequence[str]) -> None:
        self._connection = broker.connect()
        self._channel = self._connection.channel()
        self._inputs, self._outputs = ([f"{way}{number}" for number in numbers] for way in ("in", "out"))
        for name in (*self._inputs, *self._outputs):
            self._channel.queue_delete(name)
            self._channel.queue_declare(name, durable=True)

    def wait_for_services(self) -> None:
        """Wait until each input has a consumer."""
        wait_until(lambda: all(one.consumer_count for one in self._look(self._inputs)), "", PATIENCE)

    def fill(self, count: int) -> None:
        """Put so many messages into each input."""
        for _ in range(count):
            for name in self._inputs:
                self._channel.basic_publish("", name, BODY, PERSISTENT)

    def left(self) -> int:
        """Return how many wait in the inputs."""
        return sum(int(one.message_count) for one in self._look(self._inputs))

    def passed(self) -> int:
        """Return how many have arrived in the outputs."""
        return sum(int(one.message_count) for one in self._look(self._outputs))

    def _look(self, names: Sequence[str]) -> Iterator[Any]:
        return (self._channel.queue_declare(name, passive=True).method for name in names)

    def close(self) -> None:
        """Leave."""
        self._connection.close()


class Stomp(stomp.ConnectionListener):
    """The queues `in` and `out` of a broker that speaks STOMP; STOMP cannot count, so it consumes."""

    def __init__(self, broker: Any, _numbers: Sequence[str]) -> None:
        self._arrived, self._extra = 0, 0
        self._line = stomp.Connection([("127.0.0.1", broker.port)])
        self._line.set_listener("", self)
        self._line.connect("guest", "guest", wait=True)
        self._line.subscribe("/queue/out", "out", headers={"activemq.prefetchSize": 1000})

    def on_message(self, _frame: Any) -> None:
        """Count."""
        self._arrived += 1

    def wait_for_services(self) -> None:
        """Wait until a message passes."""
        self.fill(1)
        wait_until(lambda: self._arrived, "a service that answers", PATIENCE)
        self._extra = self._arrived

    def fill(self, count: int) -> None:
        """Put messages into the input."""
        for _ in range(count):
            self._line.send("/queue/in", BODY, headers={"persistent": "true"})

    def passed(self) -> int:
        """Return how many have arrived in the output."""
        return self._arrived - self._extra

    def close(self) -> None:
        """Leave."""
        self._line.disconnect()
