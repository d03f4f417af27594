"""One of the two connections of a transport to a STOMP broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zocalo_daemon.brokers.activemq import Connection
from zocalo_daemon.brokers.activemq_frames import Frame
from zocalo_daemon.brokers.peer import Peer


class StompPeer(Peer[Connection]):
    """A peer that sends frames, and hands on those that come to `on_frame`."""

    on_frame: Callable[[Frame], None]

    @property
    def is_native(self) -> bool:
        """Whether the broker is ActiveMQ, not one that merely speaks STOMP."""
        return self._line is None or not self._line.server.startswith("RabbitMQ")

    def send(self, command: str, headers: Mapping[str, object], body: bytes = b"") -> None:
        """Send a frame; nothing happens without a connection."""
        if self.up and self._line is not None:
            self._line.send(command, headers, body)

    def drop(self, reason: str) -> None:
        """End the connection, for a new one."""
        if self._line is not None:
            self._line.abandon()
            self.lost(reason)

    def _make(self, settings: Mapping[str, Any]) -> Connection:
        return Connection(
            self._loop,
            self.host,
            settings,
            self._tls,
            on_up=self.opened,
            on_down=self.lost,
            on_frame=self.on_frame,
        )
