"""A short visit to the broker beside the relay's connections, for operators: pika's blocking connection.

What it does wrong, or waits for, concerns no message of a service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import pika
import pika.exceptions

from zocalo_daemon.brokers.peer import tls_context, with_password
from zocalo_daemon.brokers.rabbitmq_parameters import parameters_of
from zocalo_daemon.errors import Unavailable

PATIENCE = 5.0  # seconds to connect, and to wait for a broker that takes no messages
HEARTBEAT = 3.0  # seconds; a broker that hangs is noticed soon


class Visit:
    """A connection; to be used in a `with`.

    Args:
        hosts: HOST:PORT, tried in this order.

    Raises:
        Unavailable: no host takes it; or later, the broker does not answer.
    """

    def __init__(self, name: str, settings: Mapping[str, Any], hosts: Sequence[str]) -> None:
        known = {**with_password(settings), "heartbeat": HEARTBEAT}
        tls = tls_context(settings.get("tls"))
        each = [parameters_of(host, known, tls, f"zocalod {name} inspect") for host in hosts]
        for one in each:
            one.blocked_connection_timeout = one.socket_timeout = one.stack_timeout = PATIENCE
            one.connection_attempts = 1
        self._name = name
        try:
            self._connection = pika.BlockingConnection(each)
        except (pika.exceptions.AMQPError, OSError) as e:
            raise self._unavailable(e) from None
        self._channel: Any = None

    def __enter__(self) -> Visit:
        """Begin."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _where: TracebackType | None
    ) -> None:
        """End it; what was looked at and not removed goes back to where it was."""
        if self._connection.is_open:
            self._connection.close()
        if isinstance(error, pika.exceptions.AMQPError):
            raise self._unavailable(error) from None

    def _unavailable(self, error: BaseException) -> Unavailable:
        text = str(error) or type(error).__name__
        return Unavailable(
            f"{self._name}: the broker does not answer ({text}); see the transports in 'zocaloctl status'"
        )

    @property
    def channel(self) -> Any:
        """A channel, another one if the broker has ended the last."""
        if self._channel is None or not self._channel.is_open:
            self._channel = self._connection.channel()
            self._channel.confirm_delivery()
        return self._channel

    def count(self, queue: str) -> tuple[int, int] | None:
        """Return how many messages are ready and how many consumers there are; None without such a queue."""
        try:
            answer = self.channel.queue_declare(queue, passive=True).method
        except pika.exceptions.ChannelClosedByBroker:
            return None
        return int(answer.message_count), int(answer.consumer_count)

    def get(self, queue: str) -> tuple[int, Any, bytes] | None:
        """Take a message out for the time of the visit: tag, properties, body; None without any."""
        method, properties, body = self.channel.basic_get(queue)
        return None if method is None else (method.delivery_tag, properties, body)

    def remove(self, tag: int) -> None:
        """Delete a message that `get` has returned."""
        self.channel.basic_ack(tag)

    def give_back(self, tags: Sequence[int]) -> None:
        """Put back what `get` has returned, to where it was."""
        for tag in tags:
            self.channel.basic_nack(tag, requeue=True)

    def put(self, queue: str, properties: Any, headers: dict[str, Any], body: bytes) -> bool:
        """Send a message with the properties of another; return whether it is safe in the queue."""
        properties.headers = headers
        properties.user_id = None  # the broker takes no other than ours
        properties.delivery_mode = properties.delivery_mode or 2
        try:
            self.channel.basic_publish("", queue, body, properties, mandatory=True)
        except (pika.exceptions.UnroutableError, pika.exceptions.NackError):
            return False
        return True

    def purge(self, queue: str) -> int:
        """Delete everything that is ready; return how much that was."""
        try:
            return int(self.channel.queue_purge(queue).method.message_count)
        except pika.exceptions.ChannelClosedByBroker:
            return 0
