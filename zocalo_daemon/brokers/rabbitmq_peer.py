"""One of the two connections of a transport to RabbitMQ."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zocalo_daemon.brokers.base import BrokerStatus
from zocalo_daemon.brokers.hosts import Troubles
from zocalo_daemon.brokers.peer import Peer
from zocalo_daemon.brokers.rabbitmq import Channel, Connection, Problem
from zocalo_daemon.brokers.rabbitmq_parameters import parameters_of

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


def status_of(peers: Sequence[RabbitPeer], troubles: Troubles) -> BrokerStatus:
    """Return the state of the transport that these connections make."""
    count = sum(peer.up for peer in peers)
    worst = next((peer for peer in peers if not peer.up), peers[-1])
    if not worst.up:
        return BrokerStatus("connecting", worst.host, troubles.line(), count, next_attempt=worst.next_attempt)
    blocked = next((peer.blocked for peer in peers if peer.blocked), "")
    detail = f"the broker takes no messages for now: {blocked}" if blocked else ""
    return BrokerStatus("blocked" if blocked else "connected", worst.host, detail, count)
