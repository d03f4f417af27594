"""One of the two connections of a transport to RabbitMQ."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from zocalo_daemon.brokers.peer import Peer
from zocalo_daemon.brokers.rabbitmq import Channel, Connection, Problem, parameters_of

log = logging.getLogger(__name__)


class RabbitPeer(Peer[Connection]):
    """A peer that may be `blocked`: why the broker takes no messages for now."""

    blocked = ""

    def open_channel(self, on_open: Callable[[Channel], None], on_end: Callable[[Problem], None]) -> None:
        """Open a channel; `on_end` is called with code 0 if the connection is lost."""
        if self.up and self._line is not None:
            self._line.open_channel(on_open, on_end)

    def lost(self, reason: str) -> None:
        """The connection is gone, and a new one has not been blocked."""
        self.blocked = ""
        super().lost(reason)

    def _make(self, settings: Mapping[str, Any]) -> Connection:
        return Connection(
            self._loop,
            parameters_of(self.host, settings, self._tls, f"zocalod {self._name} {self._purpose}"),
            on_up=self.opened,
            on_down=self.lost,
            on_blocked=self._set_blocked,
        )

    def _set_blocked(self, reason: str) -> None:
        if reason:
            log.warning("%s: %s takes no messages for now: %s", self._name, self.host, reason)
        else:
            log.info("%s: %s takes messages again", self._name, self.host)
        self.blocked = reason
