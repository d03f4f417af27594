"""A service that sends one message as it starts, with nothing in hand."""

from __future__ import annotations

import setproctitle
from workflows.services.common_service import CommonService


class Submitter(CommonService):
    """Sends its own name to `queue`."""

    _service_name = "Submitter"

    def initializing(self):
        name = setproctitle.getproctitle().removeprefix("zocalod: ")
        self.transport.send(self._environment["queue"], name)
