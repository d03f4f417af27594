"""A service that keeps a message in hand until a file is there."""

from __future__ import annotations

import json
import time
from pathlib import Path

from workflows.services.common_service import CommonService


class Holder(CommonService):
    """Notes each message in `file`, and acknowledges it once the file `until` is there."""

    _service_name = "Holder"

    def initializing(self):
        self.transport.subscribe(self._environment["queue"], self.hold, acknowledgement=True)

    def hold(self, header, message):
        with Path(self._environment["file"]).open("a") as file:
            file.write(json.dumps([message, bool(header.get("redelivered"))]) + "\n")
        while not Path(self._environment["until"]).exists():
            time.sleep(0.005)
        self.transport.ack(header)


class Collecting(CommonService):
    """Writes and acknowledges what it has collected when it is idle for two seconds."""

    _service_name = "Collecting"

    def initializing(self):
        self.headers = []
        options = {"acknowledgement": True, "prefetch_count": 65535}
        self.transport.subscribe("collecting", lambda header, _: self.headers.append(header), **options)
        self._register_idle(2, self.write)

    def write(self):
        with Path(self._environment["file"]).open("a") as file:
            file.write(f"{len(self.headers)}\n")
        for header in self.headers:
            self.transport.ack(header)
        self.headers.clear()
