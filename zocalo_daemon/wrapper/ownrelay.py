"""A relay of one job, where no daemon lets it in: what it sends is confirmed, and outlives an outage.

The transports of workflows promise neither: to them, what RabbitMQ cannot route is sent, and after one
broadcast to an exchange that is missing they send nothing more.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack

from zocalo_daemon.errors import ProtocolError
from zocalo_daemon.protocol import framing, link
from zocalo_daemon.supervision import process
from zocalo_daemon.supervision.helpers import RELAY
from zocalo_daemon.wrapper.outcome import Unreachable

CONNECT = 30.0  # seconds for the first connection to the broker
FAREWELL = 5.0  # seconds for the relay to end
AGAIN = 0.5  # seconds between the death of a relay and the next one
LONGEST = 90  # bytes of the path of a socket's directory; the whole path may have 107 (unix(7))

log = logging.getLogger("zocalo.wrap")


class OwnRelay:
    """The relay: started at once, and again whenever it ends, as a scheduler signals all processes of a job.

    Its thread starts the process, because the kernel ends that together with the thread that has started it
    (PR_SET_PDEATHSIG).

    Args:
        transport: settings of its one transport, as `site.broker` makes them.
    """

    def __init__(self, transport: Mapping[str, Any]) -> None:
        self._transport = transport
        self._directory = Path(_directory())
        self.socket = self._directory / "relay.sock"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.socket))
        self._listener.listen(8)
        self._line: socket.socket | None = None
        self._closing = threading.Event()
        self._connected = threading.Event()
        self._detail = "the relay does not start"
        self._thread = threading.Thread(target=self._run, name="own relay", daemon=True)
        self._thread.start()

    def wait_connected(self) -> None:
        """Wait until its broker is reached.

        Raises:
            Unreachable: that takes too long.
        """
        if not self._connected.wait(CONNECT):
            where = f"{self._transport['driver']} at {', '.join(self._transport['hosts'])}"
            raise Unreachable(f"no connection to {where} within {CONNECT:g} s: {self._detail}")

    def close(self) -> None:
        """End it."""
        self._closing.set()
        if (line := self._line) is not None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_WR)  # what a relay whose supervisor is gone does: it ends
        self._thread.join(FAREWELL)
        self._listener.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _run(self) -> None:
        while not self._closing.is_set():
            pid = 0
            try:
                pid = self._start()
                self._listen()
            except (OSError, ProtocolError) as e:
                self._detail = str(e)
            if self._line is not None:
                self._line.close()
            if pid:
                _reap(pid)
            if not self._closing.wait(AGAIN):
                log.warning("The relay of this job has ended: starting another one")

    def _start(self) -> int:
        settings = {
            "parent": os.getpid(),
            "title": "zocalo wrap",
            "secret": "",
            "state_dir": str(self._directory / "state"),
            "default_transport": self._transport["name"],
            "transports": [dict(self._transport)],
        }
        self._line, theirs = process.link_pair()
        self._line.setblocking(True)
        memory = process.memory_file(process.SETTINGS, msgpack.packb(settings))
        try:
            descriptors = {3: theirs.fileno(), 4: memory, 5: self._listener.fileno()}
            pid, pidfd = process.start(RELAY, os.environ, descriptors, log=2)
        finally:
            theirs.close()
            os.close(memory)
        os.close(pidfd)
        return pid

    def _listen(self) -> None:
        """Read what the relay reports, until it ends."""
        assert self._line is not None
        decoder = framing.Decoder(link.MAX_FRAME)
        while data := self._line.recv(1 << 16):
            for frame in decoder.feed(data):
                self._heard(frame)

    def _heard(self, frame: framing.Frame) -> None:
        if frame.get("report") == "log":
            logging.getLogger(frame["logger"]).log(frame["level"], "%s", frame["message"])
        elif frame.get("report") == "figures":
            one = frame["transports"][0]
            self._detail = str(one["detail"] or one["state"])
            if one["state"] == "connected":
                self._connected.set()


def _directory() -> str:
    """Make a directory that has room for the path of a socket."""
    made = tempfile.gettempdir()
    short = made if len(os.fsencode(made)) <= LONGEST - 30 else "/tmp"  # noqa: S108 - mkdtemp makes a new one
    return tempfile.mkdtemp(prefix="zocalo-wrap-", dir=short)


def _reap(pid: int) -> None:
    deadline = time.monotonic() + FAREWELL
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        time.sleep(0.01)
