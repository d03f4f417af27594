"""A raw connection to a control socket, for those who ask often: zocaloctl takes its time to start."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zocalo_daemon.protocol import control, framing

PATIENCE = 120.0  # seconds


class Refused(Exception):
    """The daemon's answer is an error; the message is its own."""


class Control:
    """One connection to the control socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._decoder = framing.Decoder()
        self._number = 0
        with contextlib.ExitStack() as undo:
            undo.callback(self._socket.close)
            self._socket.connect(str(path))
            self._socket.sendall(framing.encode(control.client_hello("a test")))
            self._frames = self._receive()
            self.hello = next(self._frames)
            undo.pop_all()

    def _receive(self) -> Iterator[framing.Frame]:
        while data := self._socket.recv(65536):
            yield from self._decoder.feed(data)
        raise ConnectionError("the daemon closed the control connection")

    def ask(self, op: str, **args: Any) -> Any:
        """Return the answer to a request.

        Raises:
            Refused: the answer is an error.
            ConnectionError: the daemon is gone.
        """
        return self._answered(op, args, [])

    def items(self, op: str, **args: Any) -> list[dict[str, Any]]:
        """Return the chunks of an answer, such as log lines."""
        chunks: list[dict[str, Any]] = []
        self._answered(op, args, chunks)
        return chunks

    def _answered(self, op: str, args: dict[str, Any], chunks: list[dict[str, Any]]) -> Any:
        self._number += 1
        self._socket.sendall(framing.encode(control.request(self._number, op, args)))
        for frame in self._frames:
            if "error" in frame:
                raise Refused(frame["error"]["message"])
            if "chunk" in frame:
                chunks.append(frame["chunk"])
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
