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
