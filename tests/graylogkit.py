"""A Graylog server for tests: on loopback, GELF by UDP or TCP, away and back when it is told."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import zlib
from typing import Any


class Graylog:
    """Takes records until it is stopped; `taken` has them in order.

    Args:
        protocol: "UDP" or "TCP".
    """

    def __init__(self, protocol: str = "UDP") -> None:
        self._tcp = protocol == "TCP"
        self.taken: list[dict[str, Any]] = []
        self.port = 0
        self._sockets: list[socket.socket] = []

    def start(self) -> None:
        """Listen: on the port of the time before, if there was one."""
        kind = socket.SOCK_STREAM if self._tcp else socket.SOCK_DGRAM
        listener = socket.socket(socket.AF_INET, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        if self._tcp:
            listener.listen()
        self._sockets = [listener]
        threading.Thread(target=self._accept if self._tcp else self._receive, daemon=True).start()

    def reserve(self) -> None:
        """Find a port where nobody listens."""
        self.start()
        self.stop()

    def stop(self) -> None:
        """Be away: connections end, nobody listens."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._sockets = []

    def texts(self) -> list[str]:
        """Return the message of each record."""
        return [record["short_message"] for record in self.taken]

    def _receive(self) -> None:
        parts: dict[bytes, dict[int, bytes]] = {}
        listener = self._sockets[0]
        while True:
            try:
                data = listener.recv(65536)
            except OSError:
                return
            if not data:
                return
            if data[:2] == b"\x1e\x0f":
                number, index, count = data[2:10], data[10], data[11]
                parts.setdefault(number, {})[index] = data[12:]
                if len(parts[number]) < count:
                    continue
                data = b"".join(part for _, part in sorted(parts.pop(number).items()))
            self.taken.append(json.loads(zlib.decompress(data)))

    def _accept(self) -> None:
        listener = self._sockets[0]
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._sockets.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        rest = b""
        while True:
            try:
                data = connection.recv(65536)
            except OSError:
                return
            if not data:
                return
            *records, rest = (rest + data).split(b"\0")
            self.taken += [json.loads(record) for record in records]
