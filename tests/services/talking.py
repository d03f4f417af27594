"""A service that logs what it is told, at the level that it is told."""

from __future__ import annotations

import logging
from pathlib import Path

from workflows.services.common_service import CommonService


class Talker(CommonService):
    """Takes {"level", "text", "logger", "times", "fail", "extra", "done"} from the queue `talk`."""

    _service_name = "Talker"
    _logger_name = "site.talker"

    def initializing(self):
        self.transport.subscribe("talk", self.talk, acknowledgement=True)

    def talk(self, header, message):
        log = logging.getLogger(message["logger"]) if "logger" in message else self.log
        with self.extend_log("recipe_ID", message.get("recipe", "r-1")):
            for _ in range(message.get("times", 1)):
                try:
                    if message.get("fail"):
                        raise KeyError(message["fail"])
                    log.log(message["level"], message["text"], extra=message.get("extra"))
                except KeyError:
                    log.exception(message["text"])
        self.transport.ack(header)
        if "done" in message:
            Path(message["done"]).touch()
