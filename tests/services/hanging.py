"""Services that do not go on, once each: the file `hang` says that it has not happened yet."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from workflows.services.common_service import CommonService


class Hanger(CommonService):
    """Hangs where the environment says: initializing, callback, idle, shutdown; `spawning` in the kernel.

    Messages are numbers of seconds, that handling them takes; with `steps`, in so many steps, each of them
    sent on. All that were handled stand in the file `handled`.
    """

    _service_name = "Hanger"
    _logger_name = "trial.hanger"

    def initializing(self):
        self.directory = Path(self._environment["directory"])
        self.where = self._environment["where"]
        if self._environment.get("deaf"):
            for number in (signal.SIGABRT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
        if self.where == "closing":
            os.closerange(0, 3)
        self.hang("initializing")
        self.transport.subscribe("hang", self.receive, acknowledgement=True)
        if self.where == "idle":
            self._register_idle(0.01, self.be_idle)

    def be_idle(self):
        self.hang("idle")

    def receive(self, header, message):
        self.hang("callback", "closing", "spawning")
        steps = self._environment.get("steps", 1)
        for _ in range(steps):
            time.sleep(float(message) / steps)
            self.transport.send("steps", message)
        with (self.directory / "handled").open("a") as file:
            file.write(f"{message} {self._environment['live']}\n")
        self.transport.ack(header)

    def in_shutdown(self):
        self.hang("shutdown")

    def hang(self, *places):
        if self.where not in places:
            return
        try:
            (self.directory / "hang").unlink()
        except FileNotFoundError:
            return
        (self.directory / "hanging").write_text(f"{time.time()}")
        if self.where == "spawning":
            # The child opens a fifo that nobody writes to, before its exec, and vfork(2) makes this process
            # wait for that: asleep in the kernel, where only SIGKILL wakes it.
            fifo = str(self.directory / "fifo")
            os.posix_spawn(
                "/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, fifo, os.O_RDONLY, 0)]
            )
        stuck_here(threading.Event())


def stuck_here(event):
    """Wait for ever; the name is what a traceback must show."""
    event.wait()


class Eater(CommonService):
    """Keeps `mebibytes` for each message; notes pid and message in the file `handled`, and that it starts."""

    _service_name = "Eater"
    _logger_name = "trial.eater"

    def initializing(self):
        self.kept = []
        self.notes = os.open(self._environment["file"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.transport.subscribe("eat", self.receive, acknowledgement=True, prefetch_count=4)

    def receive(self, header, message):
        self.kept.append(os.urandom(1) * (self._environment["mebibytes"] * 2**20))
        os.write(self.notes, f"{os.getpid()} {message}\n".encode())
        time.sleep(self._environment.get("seconds", 0))
        self.transport.ack(header)
