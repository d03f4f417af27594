"""A service on two transports."""

from __future__ import annotations

import workflows.transport
from workflows.services.common_service import CommonService


class Bridge(CommonService):
    """Moves messages from the queue `near` of its own transport to a queue of another."""

    _service_name = "Bridge"
    _logger_name = "bridging.bridge"

    def initializing(self):
        self.far = workflows.transport.lookup("RelayTransport")(transport=self._environment["far"])
        self.far.connect()
        self.transport.subscribe("near", self.move, acknowledgement=True)

    def move(self, header, message):
        self.far.send(self._environment["queue"], message)
        self.transport.ack(header)


class BothWays(CommonService):
    """Answers what comes by the other transport on its own, in the same thread as everything else."""

    _service_name = "BothWays"
    _logger_name = "bridging.both"

    def initializing(self):
        self.far = workflows.transport.lookup("RelayTransport")(transport=self._environment["far"])
        self.far.connect()
        self.far.subscribe(self._environment["queue"], self.answer, acknowledgement=True)

    def answer(self, header, message):
        self.transport.send("answers", message)
        self.far.ack(header)
