"""A request of a client, as the operations see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from zocalo_daemon.control.roles import Rights
from zocalo_daemon.errors import ZocaloError
from zocalo_daemon.protocol import control
from zocalo_daemon.protocol.framing import Frame
from zocalo_daemon.values import Value


class Answering(Protocol):
    """What a request needs of the connection that it came from."""

    peer: Peer
    rights: Rights
    pieces: list[Any]

    def send_final(self, request: Request, frame: Frame) -> None:
        """Send the answer."""

    def send_chunk(self, request: Request, value: Any) -> bool:
        """Send an item; return False if it was dropped."""


class Peer(Value):
    """Who is at the other end, as the kernel knows it (unix(7): SO_PEERCRED and SO_PEERGROUPS)."""

    uid: int
    gid: int
    pid: int
    groups: tuple[int, ...] = ()
    command: str = ""

    @property
    def who(self) -> str:
        """Return it for people; by number, for the name of a user may have to be asked of a slow service."""
        return f"{f'uid {self.uid}' if self.uid else 'root'} ({self.command or '?'}, pid {self.pid})"


class Request:
    """One request of a client; answer it with exactly one `ok` or `error`, now or later.

    Args:
        op, args: as in protocol.control; the operation exists and the role suffices.
        pieces: origin and size of what the client has sent of a body so far; empty if it has not.

    Attributes:
        closed: set this to be called, once, if the client cancels or goes away before the answer.
        resume: set this to plain data by which newer code can go on with it (Operations.resume); without it
            the client is told to ask again.
        done: it was answered, cancelled or its client is gone; whatever is said now is dropped.
    """

    __slots__ = (
        "_connection",
        "args",
        "closed",
        "done",
        "missed",
        "number",
        "op",
        "peer",
        "pieces",
        "resume",
        "rights",
    )

    def __init__(self, connection: Answering, number: int, op: str, args: dict[str, Any]) -> None:
        self._connection = connection
        self.number = number
        self.op = op
        self.args = args
        self.rights = connection.rights
        self.peer = connection.peer
        self.pieces = connection.pieces
        self.closed: Callable[[], None] | None = None
        self.resume: dict[str, Any] | None = None
        self.done = False
        self.missed = 0

    def ok(self, value: Any = None) -> None:
        """Answer that it was done. A value that cannot be sent becomes an error."""
        self._finish(control.ok(self.number, value))

    def error(self, problem: ZocaloError) -> None:
        """Answer that it failed."""
        self._finish(control.error(self.number, problem))

    def chunk(self, value: Any) -> bool:
        """Send one item; return False if the client is too slow and it was dropped and counted."""
        return not self.done and self._connection.send_chunk(self, value)

    def hand_over(self) -> dict[str, Any]:
        """Return what newer code must know of it."""
        return {"number": self.number, "op": self.op, "missed": self.missed, "resume": self.resume}

    def abandon(self) -> None:
        """Nobody waits for the answer any more (the connection calls this)."""
        if not self.done:
            self.done = True
            if self.closed is not None:
                self.closed()

    def _finish(self, frame: Frame) -> None:
        if not self.done:
            self.done = True
            self._connection.send_final(self, frame)


def describe(op: str, args: dict[str, Any]) -> str:
    """Return an operation and its arguments as one short line, without bodies and headers."""
    parts = []
    for key, value in sorted(args.items()):
        if isinstance(value, bytes):
            parts.append(f"{key}=<{len(value)} bytes>")
        elif key in ("body", "headers"):
            parts.append(f"{key}=<hidden>")
        elif value is not None:
            parts.append(f"{key}={value!r:.200}")
    return f"{op} {' '.join(parts)}"[:1000].rstrip()
