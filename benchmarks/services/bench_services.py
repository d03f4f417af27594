"""Services to measure with: ordinary CommonServices with default settings."""

from __future__ import annotations

import sys
from pathlib import Path

from workflows.services.common_service import CommonService


class Pipethrough(CommonService):
    """Consumes, sends on, acknowledges."""

    _service_name = "Pipethrough"

    def initializing(self) -> None:
        """Subscribe as most services do."""
        self.transport.subscribe("in", self.work, acknowledgement=True)

    def work(self, header: dict[str, object], message: object) -> None:
        """Handle one message."""
        self.transport.send("out", message)
        self.transport.ack(header)


class Flood(CommonService):
    """Writes to its standard output as fast as it can, until a file appears."""

    _service_name = "Flood"

    def initializing(self) -> None:
        """Start soon."""
        self._register_idle(0.001, self.flood)

    def flood(self) -> None:
        """Write."""
        text = ("x" * 120 + "\n") * 100
        while not Path(self._environment["quiet"]).exists():
            sys.stdout.write(text)
