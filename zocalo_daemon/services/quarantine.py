"""Quarantine: takes messages out of the queues that are delivered too often without being settled.

The relay counts, and hands them over, on every driver (zocalo_daemon/relay/quarantine.py): to the subscriber
of the queue `>` with the selector below. This service says what they are and rejects them. It replaces
zocalo's Schlockmeister, which needs ActiveMQ.
"""

from __future__ import annotations

from typing import Any

from workflows.services.common_service import CommonService

from zocalo_daemon.errors import ConfigError

EVERY_QUEUE = ">"
COUNT = "JMSXDeliveryCount"  # header: which delivery this is
MAX_DELIVERIES = 5  # as zocalo's
SHOWN = 1000  # characters


class Quarantine(CommonService):
    """Rejects what is delivered too often; see the module."""

    _service_name = "Quarantine"
    _logger_name = "zocalo.service.quarantine"

    def initializing(self) -> None:
        """Subscribe to all queues.

        Raises:
            ConfigError: max_deliveries of the service's environment is no number from 1.
        """
        limit = self._environment.get("max_deliveries", MAX_DELIVERIES)
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise ConfigError(f"environment: max_deliveries must be a whole number from 1, not {limit!r}")
        # As they are: what cannot be read may be why services die of it.
        self._transport.subscribe(
            EVERY_QUEUE,
            self.quarantine,
            acknowledgement=True,
            disable_mangling=True,
            selector=f"{COUNT}>{limit}",
        )

    def quarantine(self, header: dict[str, Any], message: Any) -> None:
        """Send a message to the dead letters of its queue; `routing_key` is that queue."""
        self.log.warning(
            "Quarantined a message of queue %s: delivered %d times and never settled\n"
            "header: %.*s\nmessage: %.*s",
            header.get("routing_key"),
            header.get(COUNT, 1) - 1,
            *(SHOWN, header),
            *(SHOWN, message[:SHOWN].decode(errors="replace") if isinstance(message, bytes) else message),
        )
        self._transport.nack(header)
