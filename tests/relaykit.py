"""A relay process for tests: started as the supervisor starts it, killed and replaced on one socket."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

from zocalo_daemon.protocol import framing, link
from zocalo_daemon.supervision import process
from zocalo_daemon.supervision.helpers import RELAY
from zocalo_daemon.worker.transport import RelayTransport


class RelayProcess:
    """One listening socket, and the relay that serves it."""

    def __init__(self, directory: Path, driver: str = "memory", **settings: Any) -> None:
        self.directory = directory
        self.driver = driver
        self.path = directory / "relay.sock"
        self.settings = {
            "parent": os.getpid(),
            "title": "zocalod",
            "secret": "",
            "state_dir": str(directory / "state"),
            "default_transport": "default",
            "transports": [{"name": "default", "driver": driver}],
            **settings,
        }
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(self.path))
        self.listener.listen(128)
        self.pid = 0
        self.reports: list[dict[str, Any]] = []
        self.answers: dict[int, dict[str, Any]] = {}
        self._requests = 0
        self.start()

    def start(self) -> None:
        """Start a relay and wait until it is ready."""
        mine, its = process.link_pair()
        settings = process.memory_file("settings", msgpack.packb(self.settings))
        descriptors = {3: its.fileno(), 4: settings, 5: self.listener.fileno()}
        self.pid, pidfd = process.start(RELAY, os.environ, descriptors, log=2)
        os.close(pidfd)
        os.close(settings)
        its.close()
        self.link = mine
        self._decoder = framing.Decoder(link.MAX_FRAME)
        self.reports.clear()
        self.read_until(lambda: any(r["report"] == "ready" for r in self.reports))

    def kill(self) -> None:
        """Kill the relay without warning and reap it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = 0
        self.link.close()

    def restart(self) -> None:
        """Kill the relay and start another one on the same socket."""
        self.kill()
        self.start()

    def stop(self) -> int:
        """End the relay and return its exit status."""
        if not self.pid:
            return 0
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Reap the relay and return its exit status."""
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        self.link.close()
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        """End everything."""
        self.stop()
        self.listener.close()

    def read_until(self, condition: Callable[[], Any], timeout: float = 20.0) -> None:
        """Read the link until a condition holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            self.link.settimeout(max(0.01, deadline - time.monotonic()))
            data = self.link.recv(1 << 20)
            assert data, "the relay closed its link"
            for frame in self._decoder.feed(data):
                if "report" in frame:
                    self.reports.append(frame)
                else:
                    self.answers[frame["id"]] = frame

    def request(self, op: str, **args: Any) -> Any:
        """Ask the relay and return its answer: {"ok": ...} or {"error": ...}."""
        self._requests += 1
        number = self._requests
        self.link.sendall(framing.encode({"id": number, "op": op, "args": args}))
        self.read_until(lambda: number in self.answers)
        return self.answers.pop(number)

    def queue(self, name: str) -> dict[str, Any]:
        """Return the figures of a queue."""
        empty = {"name": name, "ready": 0, "delayed": 0, "unsettled": 0, "consumers": 0}
        return next((q for q in self.request("queues")["ok"] if q["name"] == name), empty)

    def transport(self, worker: str = "", connect: bool = True) -> RelayTransport:
        """Return a transport to this relay."""
        transport = RelayTransport.for_worker(self.path, worker)
        if connect:
            assert transport.connect()
        return transport
