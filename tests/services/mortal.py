"""Services that die in every way that there is, of a message that says how."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

from workflows.services.common_service import CommonService


class Mortal(CommonService):
    """Does what a message says; `environment` may have `prefetch`."""

    _service_name = "Mortal"
    _logger_name = "trial.mortal"

    def initializing(self):
        options = {key: self._environment[key] for key in ("prefetch_count",) if key in self._environment}
        queue = self._environment.get("queue", "mortal")
        self.transport.subscribe(queue, self.receive, acknowledgement=True, **options)

    def receive(self, header, message):
        self.log.info("about to do %s", message)
        getattr(self, "do_" + str(message).partition(" ")[0])(message)
        self.transport.ack(header)

    def do_live(self, message):
        """Nothing happens."""

    def do_raise(self, message):
        raise KeyError("no such spot")

    def do_sysexit(self, message):
        sys.exit(3)

    def do_osexit(self, message):
        os._exit(int(message.partition(" ")[2] or 5))

    def do_segfault(self, message):
        ctypes.string_at(0)

    def do_kill(self, message):
        os.kill(os.getpid(), signal.SIGKILL)

    def do_usr2(self, message):
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGUSR2)

    def do_sleep(self, message):
        time.sleep(3600)

    def do_eat(self, message):
        """Take memory until there is none."""
        eaten = []
        while True:
            eaten.append(b"x" * (8 << 20))
