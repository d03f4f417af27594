"""The end of a service manager: a datagram socket that hears what a daemon tells (sd_notify(3))."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.waiting import wait_until


class Hearer:
    """Listens at a path; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def __enter__(self) -> Hearer:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def environment(self, watchdog: float | None = None) -> dict[str, str]:
        """Return the variables of a daemon that is to tell it something; `watchdog` in seconds."""
        env = {"NOTIFY_SOCKET": str(self.path)}
        return env if watchdog is None else {**env, "WATCHDOG_USEC": str(int(watchdog * 1e6))}

    def listen(self) -> list[dict[str, str]]:
        """Return every message so far."""
        try:
            while True:
                text = self._socket.recv(65536).decode()
                self.heard.append(dict(line.split("=", 1) for line in text.splitlines()))
        except BlockingIOError:
            return self.heard

    def wait(self, field: str, after: int = 0, timeout: float = 30.0) -> dict[str, str]:
        """Return the first message with a field, of those after the first `after`."""
        found = wait_until(
            lambda: [one for one in self.listen()[after:] if field in one], field, timeout, every=0.02
        )
        return found[0]

    def statuses(self) -> list[str]:
        """Return the status texts so far."""
        return [one["STATUS"] for one in self.listen() if "STATUS" in one]
