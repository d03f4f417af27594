"""Services to measure with: ordinary CommonServices with default settings."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import workflows.recipe
from workflows.services.common_service import CommonService

from zocalo_daemon.worker.board import SILENT


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


class Unwatched(Pipethrough):
    """The same, without a note of its progress on the supervisor's board."""

    def initializing(self) -> None:
        """Take the notes away before the first message."""
        self.transport._inbox.around.notes = SILENT
        super().initializing()


class Step(CommonService):
    """A node of a recipe: consumes, sends on, acknowledges."""

    _service_name = "Step"

    def initializing(self) -> None:
        """Subscribe as services of recipes do."""
        workflows.recipe.wrap_subscribe(self.transport, "step", self.work, acknowledgement=True)

    def work(self, wrapper: Any, header: dict[str, object], message: object) -> None:
        """Handle one message."""
        wrapper.send(message)
        self.transport.ack(header)


class Hang(CommonService):
    """Never comes back from its first message; says when (monotonic) that began."""

    _service_name = "Hang"

    def initializing(self) -> None:
        """Subscribe."""
        self.transport.subscribe("hang", self.work, acknowledgement=True)

    def work(self, _header: dict[str, object], _message: object) -> None:
        """Hang."""
        Path(self._environment["begun"]).write_text(str(time.monotonic()))
        while True:
            time.sleep(60)


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
