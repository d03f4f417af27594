"""A service that shares a queue with the same one of another daemon, and is as slow as a message says."""

from __future__ import annotations

import time
from pathlib import Path

from workflows.services.common_service import CommonService


class Sharer(CommonService):
    """Says who did it; `environment` has `name`, `queue`, and perhaps `prefetch_count`."""

    _service_name = "Sharer"

    def initializing(self):
        options = {key: self._environment[key] for key in ("prefetch_count",) if key in self._environment}
        self.transport.subscribe(self._environment["queue"], self.work, acknowledgement=True, **options)

    def work(self, header, message):
        name = self._environment["name"]
        if message.get("slow") == name:
            time.sleep(message.get("seconds", 0.0))
            while "until" in message and not Path(message["until"]).exists():
                time.sleep(0.005)
        self.transport.send(f"{self._environment['queue']}.done", {"by": name})
        self.transport.ack(header)
