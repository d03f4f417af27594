"""Services of a site that are under load while the daemon below them is replaced."""

from __future__ import annotations

import importlib
import json
import time
from pathlib import Path

from workflows.services.common_service import CommonService

STATE = Path("/var/lib/zocalo")


class Source(CommonService):
    """Sends numbers, counting up, 500 in a second, for as long as the file `flow` is there."""

    _service_name = "Source"
    _logger_name = "trial.source"

    def initializing(self):
        self.number = 0
        self.since = None
        self._register_idle(0.02, self.send)

    def send(self):
        if not (STATE / "flow").exists():
            return
        self.since = self.since or time.monotonic()
        due = int((time.monotonic() - self.since) * 500) - self.number
        transaction = self.transport.transaction_begin()
        for _ in range(min(due, 100)):
            self.transport.send("numbers", self.number, transaction=transaction)
            self.number += 1
        self.transport.transaction_commit(transaction)
        (STATE / "sent").write_text(str(self.number))


class Sink(CommonService):
    """Notes each number in a file of its own, before it acknowledges."""

    _service_name = "Sink"
    _logger_name = "trial.sink"

    def initializing(self):
        self.transport.subscribe("numbers", self.receive, acknowledgement=True, prefetch_count=20)

    def receive(self, header, message):
        with (STATE / "received").open("a") as file:
            file.write(f"{message}\n")
        self.transport.ack(header)


class Importer(CommonService):
    """Imports the module that a message names, and says where it was."""

    _service_name = "Importer"
    _logger_name = "trial.importer"

    def initializing(self):
        self.transport.subscribe(self._environment["queue"], self.receive, acknowledgement=True)

    def receive(self, header, message):
        module = importlib.import_module(message)
        (STATE / "imported").write_text(json.dumps({"file": module.__file__}))
        self.transport.ack(header)
