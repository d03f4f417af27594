"""A raw connection to a control socket, for those who ask often: zocaloctl takes its time to start."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.daemonkit import Daemon
from tests.waiting import wait_until
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
        """Ask for what is new from now on; return what yields it."""
        self._number += 1
        request = control.request(self._number, op, {"follow": True, "lines": 0, **args})
        self._socket.sendall(framing.encode(request))
        return (frame["chunk"] for frame in self._frames if "chunk" in frame)

    def close(self) -> None:
        """Leave."""
        self._socket.close()


class Direct(Daemon):
    """A daemon that is asked without zocaloctl."""

    def ask(self, op: str, **args: Any) -> Any:
        """Return the answer to a request, over a connection of its own."""
        with contextlib.closing(Control(self.socket)) as control:
            return control.ask(op, **args)

    def answers(self) -> bool:
        """Whether the control socket is served; a stale one is there, and is not."""
        assert self.process
        assert self.process.poll() is None, self.stderr()[-2000:]
        try:
            self.ask("version")
        except OSError:
            return False
        return True

    def status(self) -> dict[str, Any]:
        """Return the status document, which is what `zocaloctl --json status` prints."""
        found: dict[str, Any] = self.ask("status")
        return found

    def wait_ready(self) -> None:
        """Wait until every wanted instance is ready."""
        wait_until(self.answers, "the control socket")
        self.ask("start", targets=["all"], wait=True)

    def send(self, queue: str, body: str) -> None:
        """Have a message safe in a queue."""
        self.ask("send", queue=queue, body=body.encode())

    def logs(self, target: str) -> str:
        """Return the latest log lines of a service."""
        return self._lines("logs", target)

    def events(self, target: str) -> str:
        """Return the latest events of a service, one line each: its name and its text."""
        return self._lines("events", target)

    def _lines(self, op: str, target: str) -> str:
        with contextlib.closing(Control(self.socket)) as control:
            items = control.items(op, targets=[target], lines=500)
        return "\n".join(" ".join((item.get("event", ""), item["text"])).strip() for item in items)
