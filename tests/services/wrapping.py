"""Jobs that the tests wrap, as a site would write them."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

from workflows.transport.common_transport import CommonTransport

from zocalo_daemon.wrapper.base import BaseWrapper


class Works(BaseWrapper):
    """Uses everything there is."""

    _logger_name = "zocalo.wrapper.Works"

    def run(self):
        parameters = self.recwrap.recipe_step.get("job_parameters", {})
        self.log.info("at work")
        self.update({"done": 0.5})
        self.record_result_individual_file({"file_name": "a.h5"})
        self.record_result_all_files([{"file_name": "a.h5"}])
        self.recwrap.send_to("custom", parameters.get("value"))
        self.status_thread.set_static_status_field("tag", "tagged")
        self.status_thread.taskname += " at its end"
        return parameters.get("result", True)


class Raises(BaseWrapper):
    def run(self):
        raise ValueError("no beam today")


class Leaves(BaseWrapper):
    def run(self):
        sys.exit(0)


class Waits(BaseWrapper):
    """Waits for the file that $WAITS_FOR names; says in $WAITS_AT that it waits."""

    def run(self):
        Path(os.environ["WAITS_AT"]).write_text(str(os.getpid()))
        while not Path(os.environ["WAITS_FOR"]).exists():
            time.sleep(0.01)
        return True


class Other(CommonTransport):
    """A transport of a site: notes in the file $SAYS where messages go."""

    def connect(self):
        return True

    def disconnect(self):
        self._send("disconnected", "")

    def _send(self, destination, message, **_options):
        with Path(os.environ["SAYS"]).open("a") as file:
            file.write(f"{destination}\n")

    def broadcast_status(self, status):
        pass


class Foreign:
    """What zocalo.wrapper.BaseWrapper is, for a site that inherits from that one: no class of ours."""

    def __init__(self, *args, **kwargs):
        self._environment = kwargs.get("environment", {})
        self.log = logging.LoggerAdapter(logging.getLogger("zocalo.wrapper"), extra={})

    def set_recipe_wrapper(self, recwrap):
        self.recwrap = recwrap

    def prepare(self, payload=""):
        self.recwrap.send_to("starting", payload)

    def done(self, payload=""):
        self.recwrap.send_to("completed", payload)

    def success(self, payload=""):
        self.recwrap.send_to("success", payload)

    def failure(self, payload=""):
        self.recwrap.send_to("failure", str(payload))

    def run(self):
        self.recwrap.send_to("custom", self._environment["config"].storage)
        return True
