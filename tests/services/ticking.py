"""A service that sends by its timer, with no delivery in hand."""

from __future__ import annotations

import os

from workflows.services.common_service import CommonService


class Ticker(CommonService):
    """Sends its pid and a number, counting up, to a queue."""

    _service_name = "Ticker"
    _logger_name = "trial.ticker"

    def initializing(self):
        self.number = 0
        self._register_idle(0.02, self.tick)

    def tick(self):
        self.transport.send("ticks", [os.getpid(), self.number])
        self.number += 1
