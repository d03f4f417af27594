"""A healthy service, and others that do everything that a service must not do."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path

from workflows.services.common_service import CommonService


class Pulse(CommonService):
    """Notes each message with the time (monotonic) and its own pid."""

    _service_name = "Pulse"
    _logger_name = "misbehaving.pulse"

    def initializing(self):
        path = self._environment["file"]
        self.notes = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.transport.subscribe("pulse", self.receive, acknowledgement=True)

    def receive(self, header, message):
        os.write(self.notes, f"{message} {time.monotonic():.6f} {os.getpid()}\n".encode())
        self.transport.ack(header)


class Obedient(CommonService):
    """Does what the message says, if it can, the first time only: told again, it just acknowledges.

    The environment says `directory`; the queue is named like the instance's service.
    """

    _service_name = "Obedient"
    _logger_name = "misbehaving.obedient"

    def initializing(self):
        self.directory = Path(self._environment["directory"])
        self.queue = os.environ["ZOCALO_SERVICE_INSTANCE"].partition("/")[0]
        self.transport.subscribe(self.queue, self.receive, acknowledgement=True)

    def receive(self, header, message):
        marker = self.directory / f"{self.queue}.{message}"
        if not marker.exists():
            marker.touch()
            getattr(self, message, lambda: None)()
        else:
            self.log.info(f"told again to {message}")
        self.transport.ack(header)
        marker.with_name(f"{marker.name}.done").touch()

    def vanish(self):
        os._exit(7)

    def crash(self):
        ctypes.string_at(0)

    def fail(self):
        raise RuntimeError("there is a mistake in this service")

    def leave(self):
        sys.exit("enough of it")

    def suicide(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def close(self):
        os.closerange(3, 256)

    def close_and_hang(self):
        self.close()
        self.hang()

    def mute(self):
        sys.stdout.close()
        os.close(1)
        os.close(2)

    def linger(self):
        select.select([], [], [], 2)  # which libfaketime leaves alone; time.sleep() it does not

    def hang(self):
        while True:
            time.sleep(60)

    def threads(self):
        for number in range(5):
            threading.Thread(target=self.hang, name=f"endless-{number}").start()

    def deaf(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def deaf_and_hang(self):
        self.deaf()
        self.hang()

    def print_much(self):
        line = "x" * 999 + "\n"
        for _ in range(1000):
            sys.stdout.write(line * 100)

    def log_much(self):
        line = "y" * 9990
        for _ in range(10_000):
            self.log.info(line)

    def leave_children(self):
        for detach in (lambda: None, os.setsid):
            if os.fork() == 0:
                detach()
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                with (self.directory / "children").open("a") as file:
                    file.write(f"{os.getpid()}\n")
                self.hang()


class Looper(CommonService):
    """Fails in initializing() while the file `broken` exists."""

    _service_name = "Looper"

    def initializing(self):
        if Path(self._environment["broken"]).exists():
            raise RuntimeError("the detector is switched off")


class Sleeper(CommonService):
    """Does not come out of initializing() while the file `stuck` exists."""

    _service_name = "Sleeper"

    def initializing(self):
        while Path(self._environment["stuck"]).exists():
            time.sleep(0.05)
