"""A real daemon to measure, and a raw connection to its control socket."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from tests import daemonkit
from zocalo_daemon.protocol import control, framing

SERVICES = Path(__file__).parent / "services"
PATIENCE = 120.0


class Control:
    """One connection to the control socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.settimeout(PATIENCE)
        self._decoder = framing.Decoder()
        self._number = 0
        self._socket.sendall(framing.encode(control.client_hello("bench")))
        self._frames = self._receive()
        next(self._frames)

    def _receive(self) -> Iterator[framing.Frame]:
        while data := self._socket.recv(65536):
            yield from self._decoder.feed(data)
        raise ConnectionError("the daemon closed the control connection")

    def ask(self, op: str, **args: Any) -> Any:
        """Return the answer to a request."""
        self._number += 1
        self._socket.sendall(framing.encode(control.request(self._number, op, args)))
        for frame in self._frames:
            if "error" in frame:
                raise RuntimeError(frame["error"]["message"])
            if "ok" in frame:
                return frame["ok"]
        raise AssertionError

    def follow(self, op: str, **args: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of a follower."""
        self._number += 1
        request = control.request(self._number, op, {"follow": True, "lines": 0, **args})
        self._socket.sendall(framing.encode(request))
        for frame in self._frames:
            if "chunk" in frame:
                yield frame["chunk"]

    def close(self) -> None:
        """Leave."""
        self._socket.close()


class Daemon(daemonkit.Daemon):
    """zocalod with the given services in a directory of its own; a context manager."""

    def __init__(self, directory: Path, services: dict[str, Any]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(directory, services, runtimes={"default": {"python_path": [str(SERVICES)]}})

    def __enter__(self) -> Daemon:
        self.start(ready=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Return the supervisor's pid."""
        assert self.process
        return self.process.pid

    def control(self) -> Control:
        """Return a new connection."""
        return Control(self.socket)

    def family(self) -> list[psutil.Process]:
        """Return every process of the daemon, the supervisor first."""
        supervisor = psutil.Process(self.pid)
        return [supervisor, *supervisor.children(recursive=True)]


def context_switches(pids: list[int]) -> int:
    """Return how often these processes have gone to sleep and woken up (proc(5))."""
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))


def pss(processes: list[psutil.Process]) -> float:
    """Return the proportional set size of some processes in MiB."""
    return sum(process.memory_full_info().pss for process in processes) / 2**20


def timed(command: list[Any]) -> float:
    """Return the seconds that a command takes."""
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, env=os.environ)
    return time.perf_counter() - began
